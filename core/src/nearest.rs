//! Resolution of names, and suggestions for misspelt ones.
//!
//! A suggestion only names what the caller may find anyway.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser};

/// Maximum length of a name that is compared with others.
const LONGEST: usize = 200;

/// A resource of the caller with this or a similar name.
pub(crate) struct Named {
    pub(crate) id: Uuid,
    pub(crate) name: String,
}

/// The resource with exactly this name, from candidates sorted by similarity.
///
/// # Errors
/// [`Error::NotFound`] with the most similar name.
pub(crate) fn pick(found: &[Named], kind: &str, name: &str) -> Result<Uuid> {
    if let Some(exact) = found.iter().find(|named| named.name == name) {
        return Ok(exact.id);
    }
    let nearest = found.first().map(|named| named.name.as_str());
    Err(Error::NotFound(format!(
        "the {kind} `{name}`{}",
        hint(nearest)
    )))
}

/// ` (did you mean …?)` for the slug of a prompt, or an empty text.
pub(crate) async fn prompt_hint(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    slug: &str,
) -> Result<String> {
    if slug.len() > LONGEST {
        return Ok(String::new());
    }
    let nearest = sqlx::query_scalar!(
        "-- nearest::prompt_hint
        select slug
        from prompts
        where slug % $1 and deleted_at is null and archived_at is null
          and is_listed(visibility, owner_id, $2)
        order by similarity(slug, $1) desc, slug
        limit 1",
        slug,
        viewer.map(|user| user.id)
    )
    .fetch_optional(conn)
    .await?;
    Ok(hint(nearest.as_deref()))
}

/// ` (did you mean …?)` for the slug of a benchmark, or an empty text.
pub(crate) async fn benchmark_hint(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    slug: &str,
) -> Result<String> {
    if slug.len() > LONGEST {
        return Ok(String::new());
    }
    let nearest = sqlx::query_scalar!(
        "-- nearest::benchmark_hint
        select slug
        from benchmarks
        where slug % $1 and deleted_at is null and is_listed(visibility, owner_id, $2)
        order by similarity(slug, $1) desc, slug
        limit 1",
        slug,
        viewer.map(|user| user.id)
    )
    .fetch_optional(conn)
    .await?;
    Ok(hint(nearest.as_deref()))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_thing() {
        let named = |id: u128, name: &str| Named {
            id: Uuid::from_u128(id),
            name: name.to_owned(),
        };
        let found = [named(1, "nightly"), named(2, "nightly-2")];
        assert_eq!(
            pick(&found, "schedule", "nightly").unwrap(),
            Uuid::from_u128(1)
        );
        let check = |found: &[Named], name: &str, expect: &str| {
            let refused = pick(found, "schedule", name).unwrap_err().to_string();
            assert!(refused.contains(expect), "{refused}");
        };
        check(&found, "nihtly", "did you mean `nightly`?");
        check(&[], "nihtly", "the schedule `nihtly` was not found");
    }
}
