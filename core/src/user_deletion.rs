//! Deleting a user: the person goes, what others rest on stays.
//!
//! The row of the user stays without name, address and password, as `deleted-17`: prompt versions never change, and
//! neither does who wrote them, so every result can still be explained. What only the user could see is erased,
//! unless a result that others see was computed from it.
//!
//! A table says by its foreign key what becomes of its rows: `on delete cascade` and `on delete set null` mean here what
//! they mean everywhere, although the row of the user stays. A key without either keeps the row, and its owner.

use secrecy::SecretString;
use sqlx::{Connection as _, PgConnection};

use crate::{
    Error, Result,
    auth::{
        Account, Accounts, AuditEvent, CurrentUser, DELETED, Origin, confirm, forget_names,
        lock_account, record, require_other_admin,
    },
    benchmarks, library, runs,
};

/// Deletes the caller's own account.
///
/// # Errors
/// [`Error::Invalid`] when the password is wrong; [`Error::Conflict`] for the last administrator;
/// [`Error::TooManyAttempts`].
pub async fn delete_me(
    accounts: &Accounts,
    user: &CurrentUser,
    password: SecretString,
    origin: &Origin,
) -> Result<()> {
    let proved = confirm(accounts, user, password, origin).await?;
    let mut conn = accounts.pool.acquire().await?;
    let mut tx = conn.begin().await?;
    proved.require(&mut tx).await?;
    let account = lock_account(&mut tx, &user.username).await?;
    if account.id != user.id {
        // The name changed hands between the look and the lock.
        return Err(Error::UserGone);
    }
    delete(&mut tx, &account, None, origin).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes somebody's account.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`]; [`Error::Conflict`] for the last
/// administrator and the program's own user.
pub async fn delete_user(
    conn: &mut PgConnection,
    user: &CurrentUser,
    username: &str,
    origin: &Origin,
) -> Result<()> {
    user.require_admin("only administrators can manage accounts")?;
    let mut tx = conn.begin().await?;
    let account = lock_account(&mut tx, username).await?;
    let by = format!("by {}", user.username);
    delete(&mut tx, &account, Some(&by), origin).await?;
    tx.commit().await?;
    Ok(())
}

async fn delete(
    tx: &mut PgConnection,
    account: &Account,
    by: Option<&str>,
    origin: &Origin,
) -> Result<()> {
    sqlx::query!(
        "-- user_deletion::delete
        update users
        set username = $2 || id, email = $2 || id || '@deleted.invalid', password_hash = null, role = 'user',
            email_verified_at = null,
            disabled_at = now(), deleted_at = now()
        where id = $1",
        account.id,
        DELETED
    )
    .execute(&mut *tx)
    .await?;
    require_other_admin(tx, account).await?;
    erase_belongings(tx, account.id).await?;
    // Runs first: what they have used can go when they are gone.
    runs::erase_private_runs(tx, account.id).await?;
    library::erase_private_prompts(tx, account.id).await?;
    benchmarks::erase_private_benchmarks(tx, account.id).await?;
    let name = format!("{DELETED}{}", account.id);
    let names = (account.username.as_str(), account.email.as_str());
    forget_names(tx, account.id, names, &name).await?;
    record(
        tx,
        AuditEvent::UserDeleted,
        Some(account.id),
        Some(&name),
        by,
        Some(origin),
    )
    .await
}

/// Sessions, keys and everything else that a table declares to go with its user.
async fn erase_belongings(tx: &mut PgConnection, user_id: i64) -> Result<()> {
    sqlx::query!(
        "-- user_deletion::erase_belongings
        update invitations set revoked_at = now() where created_by = $1 and revoked_at is null",
        user_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar!(
        r#"-- user_deletion::erase_belongings
        select erase_what_goes_with_user($1) is null as "erased""#,
        user_id
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}
