//! What the request of a schedule names: by ids, so that a schedule never runs what somebody else has put under a slug
//! that became free.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Result, auth::CurrentUser, benchmarks::find_benchmark, library::find_prompt, runs::SubmitRun,
};

/// The request with the ids of its benchmark and its prompts in the place of their slugs, as its owner sees them now.
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

/// Puts the slugs of today into requests, as far as the viewer may see what they name; the rest keeps its ids.
///
/// # Errors
/// The database does not answer.
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

/// A message about a request, with slugs in the place of ids: also of what is gone, whose slug its owner knew.
///
/// # Errors
/// The database does not answer.
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

/// A reference without its version, and the version with its `@`, empty if there is none.
fn split(reference: &str) -> (&str, &str) {
    reference.split_at(reference.find('@').unwrap_or(reference.len()))
}

fn id_of(reference: &str) -> Option<Uuid> {
    Uuid::try_parse(split(reference).0).ok()
}
