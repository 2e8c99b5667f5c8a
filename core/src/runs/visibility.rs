//! Visibility of runs: a run is never wider than the narrowest of its benchmark and its prompts.
//!
//! When a run is created or changed, a wider visibility is refused here; when it is read, `can_see_run` in the database
//! checks every part again, since parts can be narrowed or deleted later.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
};

/// A benchmark or a prompt of a run, with its current visibility.
struct Part {
    kind: String,
    name: String,
    visibility: Visibility,
}

/// The parts of a run that bound its visibility.
pub(super) struct Parts(Vec<Part>);

impl Parts {
    /// The narrowest visibility of the parts.
    pub(super) fn narrowest(&self) -> Visibility {
        let all = self.0.iter().map(|part| part.visibility);
        all.min().unwrap_or_default()
    }

    /// Returns an error that names the narrowest part if this visibility is wider.
    pub(super) fn allow(&self, wanted: Visibility) -> Result<()> {
        match self.0.iter().min_by_key(|part| part.visibility) {
            Some(part) if part.visibility < wanted => Err(Error::invalid(
                "visibility",
                format!(
                    "is wider than the {} `{}`, which is {}; use `{}`, or change that first",
                    part.kind,
                    part.name,
                    word(part.visibility),
                    word(part.visibility)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The name of a prompt that is narrower than this visibility, if any.
    pub(super) fn prompt_narrower_than(&self, visibility: Visibility) -> Option<&str> {
        let is_narrower = |part: &&Part| part.kind == "prompt" && part.visibility < visibility;
        self.0
            .iter()
            .find(is_narrower)
            .map(|part| part.name.as_str())
    }

    /// The visibility of a new run: the requested one, or `default` narrowed to the narrowest part.
    pub(super) fn choose(
        &self,
        wanted: Option<Visibility>,
        default: Visibility,
    ) -> Result<Visibility> {
        match wanted {
            Some(wanted) => self.allow(wanted).map(|()| wanted),
            None => Ok(default.min(self.narrowest())),
        }
    }
}

/// Loads the benchmark version and these prompt versions; deleted or withdrawn ones count as private.
pub(super) async fn load_parts(
    tx: &mut PgConnection,
    viewer: &CurrentUser,
    benchmark_version_id: Uuid,
    prompt_version_ids: &[Uuid],
) -> Result<Parts> {
    let parts = sqlx::query_as!(
        Part,
        r#"-- visibility::load_parts
        select 'benchmark' as "kind!",
               case when can_see_part(benchmarks.visibility, benchmarks.owner_id, benchmarks.deleted_at is not null,
                                      benchmark_versions.withdrawn_at is not null, $3, $3, $4)
                    then benchmarks.slug else '(hidden)' end as "name!",
               case when benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null
                    then 'private' else benchmarks.visibility end as "visibility!: Visibility"
        from benchmark_versions
        join benchmarks on benchmarks.id = benchmark_id
        where benchmark_versions.id = $1
        union all
        select 'prompt',
               case when can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                      prompt_versions.withdrawn_at is not null, $3, $3, $4)
                    then prompts.slug else '(hidden)' end,
               case when prompts.deleted_at is not null or prompt_versions.withdrawn_at is not null
                    then 'private' else prompts.visibility end
        from prompt_versions
        join prompts on prompts.id = prompt_id
        where prompt_versions.id = any($2)"#,
        benchmark_version_id,
        prompt_version_ids,
        viewer.id,
        viewer.is_admin()
    )
    .fetch_all(tx)
    .await?;
    Ok(Parts(parts))
}

/// Loads the parts of an existing run.
pub(super) async fn load_parts_of(
    tx: &mut PgConnection,
    viewer: &CurrentUser,
    run_id: Uuid,
) -> Result<Parts> {
    let run = sqlx::query!(
        r#"-- visibility::load_parts_of
        select benchmark_version_id,
               array(select prompt_version_id from run_prompts where run_id = runs.id) as "prompt_version_ids!"
        from runs where id = $1"#,
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    load_parts(
        tx,
        viewer,
        run.benchmark_version_id,
        &run.prompt_version_ids,
    )
    .await
}

/// Sets the visibility of a run. The caller has locked the run and checked permission.
pub(super) async fn set_visibility(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    visibility: Visibility,
) -> Result<()> {
    load_parts_of(tx, user, run_id).await?.allow(visibility)?;
    let is_foreign = sqlx::query_scalar!(
        "-- visibility::set_visibility
        select foreign_answers from runs where id = $1",
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_foreign && visibility > Visibility::Private {
        return Err(foreign_answers());
    }
    sqlx::query!(
        "-- visibility::set_visibility
        update runs set visibility = $2 where id = $1",
        run_id,
        visibility as Visibility
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The error for a run that rescores another user's responses and must stay private: they may be narrowed or deleted at
/// any time, and then no copy may remain visible to others.
pub(super) fn foreign_answers() -> Error {
    let message = "must be `private`: the responses are from another user's run";
    Error::invalid("visibility", message)
}

/// The value in JSON.
fn word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Unlisted => "unlisted",
        Visibility::Public => "public",
    }
}
