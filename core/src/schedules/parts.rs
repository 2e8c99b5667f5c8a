//! Resolution of the slugs in a schedule's request to ids, so that a schedule never runs what another user later stores
//! under a slug that became free.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Result, auth::CurrentUser, benchmarks::find_benchmark, library::find_prompt, runs::SubmitRun,
};

/// The request with the ids of its benchmark and its prompts in place of their slugs, as its owner sees them now.
///
/// # Errors
/// [`crate::Error::NotFound`].
pub(super) async fn by_ids(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
) -> Result<SubmitRun> {
    let (name, version) = split(&request.benchmark);
    let benchmark = find_benchmark(tx, Some(owner), name).await?.id;
    let benchmark = format!("{benchmark}{version}");
    let mut prompts = Vec::with_capacity(request.prompts.len());
    for reference in &request.prompts {
        let (name, version) = split(reference);
        let prompt = find_prompt(tx, Some(owner), name).await?.id;
        prompts.push(format!("{prompt}{version}"));
    }
    Ok(SubmitRun {
        benchmark,
        prompts,
        ..request.clone()
    })
}

/// Replaces ids in requests by current slugs, if the viewer may read what they name; the other ids stay.
///
/// # Errors
/// The database does not respond.
pub(super) async fn name_parts<'a>(
    conn: &mut PgConnection,
    viewer: &CurrentUser,
    requests: impl Iterator<Item = &'a mut SubmitRun>,
) -> Result<()> {
    let references = requests.flat_map(|request| {
        let SubmitRun {
            benchmark, prompts, ..
        } = request;
        std::iter::once(benchmark).chain(prompts)
    });
    let references: Vec<&mut String> = references.collect();
    let ids: Vec<Uuid> = references.iter().filter_map(|it| id_of(it)).collect();
    let rows = sqlx::query!(
        r#"-- parts::name_parts
        select id as "id!", slug as "slug!" from benchmarks
        where id = any($1) and deleted_at is null and can_see(visibility, owner_id, $2, $3)
        union all
        select id, slug from prompts
        where id = any($1) and deleted_at is null and can_see(visibility, owner_id, $2, $3)"#,
        &ids,
        viewer.id,
        viewer.is_admin()
    )
    .fetch_all(conn)
    .await?;
    let slugs: HashMap<Uuid, String> = rows.into_iter().map(|row| (row.id, row.slug)).collect();
    for reference in references {
        if let Some(slug) = id_of(reference).and_then(|id| slugs.get(&id)) {
            *reference = format!("{slug}{}", split(reference).1);
        }
    }
    Ok(())
}

/// A message about a request with slugs in place of ids, also for deleted prompts and benchmarks, since their owner
/// knew the slugs.
///
/// # Errors
/// The database does not respond.
pub(super) async fn with_slugs(
    conn: &mut PgConnection,
    request: &SubmitRun,
    message: String,
) -> Result<String> {
    let references = request.prompts.iter().chain([&request.benchmark]);
    let ids: Vec<Uuid> = references.filter_map(|it| id_of(it)).collect();
    let known = sqlx::query!(
        r#"-- parts::with_slugs
        select id as "id!", slug as "slug!" from benchmarks where id = any($1)
        union all
        select id, slug from prompts where id = any($1)"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(known.into_iter().fold(message, |message, part| {
        message.replace(&part.id.to_string(), &part.slug)
    }))
}

/// Splits a reference into its name, and its version with the `@`, which is empty if there is none.
fn split(reference: &str) -> (&str, &str) {
    reference.split_at(reference.find('@').unwrap_or(reference.len()))
}

fn id_of(reference: &str) -> Option<Uuid> {
    Uuid::try_parse(split(reference).0).ok()
}
