//! Aliases: names such as `production` that point at a version and can be moved. The history of moves is kept.
//!
//! `latest` is computed and can be neither set nor removed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;

use super::{find_prompt, versions::lock_own};
use crate::{Error, Result, auth::CurrentUser, paging::Page};

/// An alias of a version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// The name, as in `slug@name`.
    pub name: String,
    /// The number of the version that it points at.
    pub version: i32,
    /// When it was last moved.
    pub updated_at: DateTime<Utc>,
}

/// A change of an alias.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AliasChange {
    /// The name.
    pub name: String,
    /// The version that it points at from then on; absent if it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// The user who moved it; absent if the account was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it was moved.
    pub at: DateTime<Utc>,
    /// The id of the change, used as the page cursor.
    #[serde(skip)]
    pub id: i64,
}

/// The new target of an alias.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAlias {
    /// The number of a version.
    #[schema(minimum = 1)]
    pub version: i32,
}

/// The aliases of a prompt: `latest` first, then by name.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_aliases(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
) -> Result<Vec<Alias>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let aliases = sqlx::query_as!(
        Alias,
        r#"-- aliases::list_aliases
        (select 'latest' as "name!", number as "version!", created_at as "updated_at!"
         from prompt_versions
         where prompt_id = $1
         order by number desc
         limit 1)
        union all
        (select name, number, updated_at
         from prompt_aliases join prompt_versions on prompt_versions.id = prompt_version_id
         where prompt_aliases.prompt_id = $1
         order by name)"#,
        prompt.id
    )
    .fetch_all(conn)
    .await?;
    Ok(aliases)
}

/// Points an alias at a version, and creates the alias if it does not exist. An unchanged target is not recorded as a
/// move.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`] for an invalid name or an unknown version.
pub async fn set_alias(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    name: &str,
    alias: &SetAlias,
) -> Result<Alias> {
    let mut tx = conn.begin().await?;
    let prompt_id = lock_own(&mut tx, user, prompt).await?;
    check_name(name)?;
    let version_id = sqlx::query_scalar!(
        "-- aliases::set_alias (version)
        select id from prompt_versions where prompt_id = $1 and number = $2 and withdrawn_at is null",
        prompt_id,
        alias.version
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::invalid("version", "must be the number of a version of this prompt"))?;
    let moved = sqlx::query!(
        "-- aliases::set_alias
        insert into prompt_aliases (prompt_id, name, prompt_version_id)
        values ($1, $2, $3)
        on conflict (prompt_id, name) do update set prompt_version_id = excluded.prompt_version_id, updated_at = now()
        where prompt_aliases.prompt_version_id <> excluded.prompt_version_id",
        prompt_id,
        name,
        version_id
    )
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() > 0 {
        sqlx::query!(
            "-- aliases::set_alias (history)
            insert into prompt_alias_changes (prompt_id, name, prompt_version_id, user_id) values ($1, $2, $3, $4)",
            prompt_id,
            name,
            version_id,
            user.id
        )
        .execute(&mut *tx)
        .await?;
    }
    let updated_at = sqlx::query_scalar!(
        "-- aliases::set_alias (read)
        select updated_at from prompt_aliases where prompt_id = $1 and name = $2",
        prompt_id,
        name
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Alias {
        name: name.to_owned(),
        version: alias.version,
        updated_at,
    })
}

/// Removes an alias.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn remove_alias(
    conn: &mut PgConnection,
    user: &CurrentUser,
    prompt: &str,
    name: &str,
) -> Result<()> {
    let mut tx = conn.begin().await?;
    let prompt_id = lock_own(&mut tx, user, prompt).await?;
    let removed = sqlx::query!(
        "-- aliases::remove_alias
        with removed as (
            delete from prompt_aliases where prompt_id = $1 and name = $2 returning name
        )
        insert into prompt_alias_changes (prompt_id, name, user_id)
        select $1, name, $3 from removed",
        prompt_id,
        name,
        user.id
    )
    .execute(&mut *tx)
    .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the alias `{name}`")));
    }
    tx.commit().await?;
    Ok(())
}

/// A page of the changes of a prompt's aliases, newest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_alias_changes(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    before: Option<i64>,
    limit: i64,
) -> Result<Page<AliasChange>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let changes = sqlx::query_as!(
        AliasChange,
        r#"-- aliases::list_alias_changes
        select prompt_alias_changes.id, name, number as "version?", users.username as "user?", at
        from prompt_alias_changes
        left join prompt_versions on prompt_versions.id = prompt_version_id
        left join users on users.id = user_id
        where prompt_alias_changes.prompt_id = $1 and ($2::bigint is null or prompt_alias_changes.id < $2)
        order by prompt_alias_changes.id desc
        limit $3"#,
        prompt.id,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(changes, limit, |change| change.id.to_string()))
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let plain = (1..=40).contains(&name.len())
        && bytes.next().is_some_and(|c| c.is_ascii_lowercase())
        && bytes.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    if !plain {
        let message =
            "must be lower-case letters, digits and dashes, beginning with a letter, at most 40";
        return Err(Error::invalid("alias", message));
    }
    if name == "latest" {
        return Err(Error::invalid(
            "alias",
            "always names the newest version; take another name",
        ));
    }
    Ok(())
}
