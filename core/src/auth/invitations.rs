//! Invitations: secrets that let somebody register. Shown once and stored hashed, like API keys.
//!
//! The first administrator is made by one, too: it works only while there is no administrator, so of two that are used
//! at the same time one makes an administrator and the other is refused.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AuditEvent, CurrentUser, Origin, UserRole,
    administration::{count_admins, lock_admins},
    audit::record,
    names,
};
use crate::{Error, FieldError, Result, paging::Page};

/// What every invitation begins with.
const PREFIX: &str = "opbi_";
/// How long an invitation works when nobody says.
const LIFETIME: Duration = Duration::days(7);
/// How long one may work.
const MAX_LIFETIME: Duration = Duration::days(365);
/// How many may register with one.
const MAX_USES: i32 = 1000;
/// The shortest secret that an operator may set for the first administrator.
const MIN_SECRET_LEN: usize = 32;
/// What somebody with a wrong invitation is told, whatever is wrong with it.
const REFUSED: &str = "is not valid, has expired, or was used or revoked";

/// An invitation as administrators see it; the invitation itself is never shown again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The invitation's id.
    pub id: Uuid,
    /// The only address that may register with it, if it is meant for one.
    pub email: Option<String>,
    /// How many may still register with it.
    pub uses_left: i32,
    /// When it stops to work.
    pub expires_at: DateTime<Utc>,
    /// Who made it, if that administrator is still there.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What a new invitation needs.
#[derive(Debug, Default)]
pub struct NewInvitation {
    /// The only address that may register with it.
    pub email: Option<String>,
    /// How many may register with it; one when absent.
    pub uses: Option<i32>,
    /// When it stops to work; in a week when absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes an invitation. The invitation itself is returned once and not kept.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::Invalid`] for a field that breaks a rule.
pub async fn create_invitation(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: NewInvitation,
    origin: &Origin,
) -> Result<(Invitation, SecretString)> {
    user.require_admin("only administrators handle invitations")?;
    check(&new)?;
    let secret = generate();
    let expires_at = new.expires_at.unwrap_or_else(|| Utc::now() + LIFETIME);
    let mut tx = conn.begin().await?;
    let invitation = sqlx::query_as!(
        Invitation,
        r#"-- invitations::create_invitation
        insert into invitations (id, secret_hash, email, uses_left, expires_at, created_by)
        values ($1, $2, $3, $4, $5, $6)
        returning id, email, uses_left, expires_at, $7::text as created_by, created_at"#,
        Uuid::now_v7(),
        &hash(&secret),
        new.email,
        new.uses.unwrap_or(1),
        expires_at,
        user.id,
        user.username
    )
    .fetch_one(&mut *tx)
    .await?;
    let event = AuditEvent::InvitationCreated;
    record_change(&mut tx, event, user, invitation.id, origin).await?;
    tx.commit().await?;
    Ok((invitation, secret))
}

/// The invitations that still work, newest first, from before an id on.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators.
pub async fn list_invitations(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Invitation>> {
    user.require_admin("only administrators handle invitations")?;
    let invitations = sqlx::query_as!(
        Invitation,
        r#"-- invitations::list_invitations
        select invitations.id, invitations.email, uses_left, expires_at, users.username as "created_by?",
               invitations.created_at
        from invitations left join users on users.id = created_by
        where not first_admin and revoked_at is null and uses_left > 0 and expires_at > now()
          and ($1::uuid is null or invitations.id < $1)
        order by invitations.id desc
        limit $2"#,
        before,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(invitations, limit, |invitation| {
        invitation.id.to_string()
    }))
}

/// Revokes an invitation that still works.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`].
pub async fn revoke_invitation(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    origin: &Origin,
) -> Result<()> {
    user.require_admin("only administrators handle invitations")?;
    let mut tx = conn.begin().await?;
    let revoked = sqlx::query!(
        "-- invitations::revoke_invitation
        update invitations set revoked_at = now()
        where id = $1 and not first_admin and revoked_at is null and uses_left > 0 and expires_at > now()",
        id
    )
    .execute(&mut *tx)
    .await?;
    if revoked.rows_affected() == 0 {
        return Err(Error::NotFound("the invitation".into()));
    }
    record_change(&mut tx, AuditEvent::InvitationRevoked, user, id, origin).await?;
    tx.commit().await?;
    Ok(())
}

/// An invitation for the first administrator, which works once and for `lifetime`; earlier ones of this kind stop to
/// work. Nothing when there is an administrator already.
///
/// # Errors
/// The database does not answer.
pub async fn invite_first_admin(
    conn: &mut PgConnection,
    lifetime: Duration,
) -> Result<Option<SecretString>> {
    let mut tx = conn.begin().await?;
    lock_admins(&mut tx).await?;
    if count_admins(&mut tx).await? > 0 {
        return Ok(None);
    }
    sqlx::query!(
        "-- invitations::invite_first_admin
        update invitations set revoked_at = now() where first_admin and revoked_at is null and uses_left > 0"
    )
    .execute(&mut *tx)
    .await?;
    let secret = generate();
    insert_first_admin(&mut tx, &secret, Utc::now() + lifetime).await?;
    tx.commit().await?;
    Ok(Some(secret))
}

/// Accepts a secret that the operator chose as an invitation for the first administrator. It works once: setting it
/// again changes nothing, even when the administrator is gone.
///
/// # Errors
/// [`Error::Invalid`] for a secret that is too short; the database does not answer.
pub async fn accept_first_admin(conn: &mut PgConnection, secret: &SecretString) -> Result<()> {
    if secret.expose_secret().len() < MIN_SECRET_LEN {
        let message = format!(
            "must have at least {MIN_SECRET_LEN} characters; make one with: openssl rand -hex 32"
        );
        return Err(Error::invalid("first-admin-invitation", message));
    }
    let mut tx = conn.begin().await?;
    lock_admins(&mut tx).await?;
    if count_admins(&mut tx).await? == 0 {
        insert_first_admin(&mut tx, secret, Utc::now() + MAX_LIFETIME).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Uses an invitation up by one, in the transaction that registers; returns the role that it gives.
pub(super) async fn redeem(
    tx: &mut PgConnection,
    secret: &SecretString,
    email: &str,
) -> Result<UserRole> {
    let refused = || Error::invalid("invitation", REFUSED);
    // The row stays locked until the registration ends, and comes back if that fails.
    let found = sqlx::query!(
        "-- invitations::redeem
        update invitations set uses_left = uses_left - 1
        where secret_hash = $1 and uses_left > 0 and expires_at > now() and revoked_at is null
        returning first_admin, email",
        &hash(secret)
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(refused)?;
    if let Some(invited) = found.email
        && !invited.eq_ignore_ascii_case(email)
    {
        return Err(Error::invalid(
            "email",
            "is not the address that was invited",
        ));
    }
    if !found.first_admin {
        return Ok(UserRole::User);
    }
    lock_admins(&mut *tx).await?;
    if count_admins(tx).await? > 0 {
        return Err(refused());
    }
    Ok(UserRole::Admin)
}

/// True for an invitation that makes the first administrator: it works even where registration is closed.
pub(super) async fn makes_first_admin(
    conn: &mut PgConnection,
    secret: &SecretString,
) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"-- invitations::makes_first_admin
        select exists(select 1 from invitations where secret_hash = $1 and first_admin) as "found!""#,
        &hash(secret)
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Deletes invitations that have not worked for a month.
pub(super) async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    // An operator's secret stays known, or it would work again: its life is a year.
    let deleted = sqlx::query!(
        "-- invitations::delete_old
        delete from invitations
        where id in (select id from invitations
                     where not first_admin and expires_at < now() - interval '30 days' limit 1000)"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

async fn insert_first_admin(
    tx: &mut PgConnection,
    secret: &SecretString,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "-- invitations::insert_first_admin
        insert into invitations (id, secret_hash, first_admin, uses_left, expires_at)
        values ($1, $2, true, 1, $3)
        on conflict (secret_hash) do nothing",
        Uuid::now_v7(),
        &hash(secret),
        expires_at
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn record_change(
    conn: &mut PgConnection,
    event: AuditEvent,
    user: &CurrentUser,
    id: Uuid,
    origin: &Origin,
) -> Result<()> {
    let subject = id.to_string();
    record(
        conn,
        event,
        Some(user.id),
        Some(&user.username),
        Some(&subject),
        Some(origin),
    )
    .await
}

fn check(new: &NewInvitation) -> Result<()> {
    let mut wrong = Vec::new();
    if let Some(email) = &new.email
        && !names::looks_like_an_email_address(email)
    {
        wrong.push(FieldError::new("email", names::EMAIL_INVALID));
    }
    if new.uses.is_some_and(|uses| !(1..=MAX_USES).contains(&uses)) {
        let message = format!("must be between 1 and {MAX_USES}");
        wrong.push(FieldError::new("uses", message));
    }
    let now = Utc::now();
    if new
        .expires_at
        .is_some_and(|at| at <= now || at > now + MAX_LIFETIME)
    {
        wrong.push(FieldError::new(
            "expires_at",
            "must be in the future, and within a year",
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

fn generate() -> SecretString {
    let mut bytes = [0_u8; 32];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)).into()
}

fn hash(secret: &SecretString) -> Vec<u8> {
    Sha256::digest(secret.expose_secret().as_bytes()).to_vec()
}
