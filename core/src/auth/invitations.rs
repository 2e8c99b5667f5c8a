//! Invitations: secrets that allow registration. Shown once and stored hashed, like API keys.
//!
//! The first administrator is also created with one. It is valid only while there is no administrator, so of two used
//! concurrently, one creates an administrator and the other is refused.

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

/// The prefix of every invitation.
const PREFIX: &str = "opbi_";
/// Default lifetime of an invitation.
const LIFETIME: Duration = Duration::days(7);
/// Maximum lifetime of an invitation.
const MAX_LIFETIME: Duration = Duration::days(365);
/// Maximum number of registrations with one invitation.
const MAX_USES: i32 = 1000;
/// Minimum length of an operator's secret for the first administrator.
const MIN_SECRET_LEN: usize = 32;
/// The error for an invalid invitation, the same for every cause.
const REFUSED: &str = "is not valid, has expired, or was used or revoked";

/// An invitation in the view of administrators; the secret is never shown again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The invitation's id.
    pub id: Uuid,
    /// The only address that may register with it, if restricted.
    pub email: Option<String>,
    /// Number of remaining registrations.
    pub uses_left: i32,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// The administrator who created it, if not deleted.
    pub created_by: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// A request for a new invitation.
#[derive(Debug, Default)]
pub struct NewInvitation {
    /// The only address that may register with it; `None`: any.
    pub email: Option<String>,
    /// Number of registrations; `None`: one.
    pub uses: Option<i32>,
    /// When it expires; `None`: in a week.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates an invitation. The secret is returned once and not stored.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::Invalid`] for an invalid field.
pub async fn create_invitation(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: NewInvitation,
    origin: &Origin,
) -> Result<(Invitation, SecretString)> {
    user.require_admin("only administrators can manage invitations")?;
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

/// Lists the valid invitations, newest first, with ids before `before`.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators.
pub async fn list_invitations(
    conn: &mut PgConnection,
    user: &CurrentUser,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<Invitation>> {
    user.require_admin("only administrators can manage invitations")?;
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

/// Revokes a valid invitation.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`].
pub async fn revoke_invitation(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    origin: &Origin,
) -> Result<()> {
    user.require_admin("only administrators can manage invitations")?;
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

/// Creates an invitation for the first administrator, valid once and for `lifetime`, and revokes earlier ones. `None`
/// if there is an administrator.
///
/// # Errors
/// The database does not respond.
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

/// Accepts a secret chosen by the operator as an invitation for the first administrator. It is valid once: setting it
/// again has no effect, even if the administrator no longer exists.
///
/// # Errors
/// [`Error::Invalid`] for a secret that is too short; the database does not respond.
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

/// Consumes one use of an invitation, in the transaction of the registration; returns the role it grants.
pub(super) async fn redeem(
    tx: &mut PgConnection,
    secret: &SecretString,
    email: &str,
) -> Result<UserRole> {
    let refused = || Error::invalid("invitation", REFUSED);
    // The row stays locked until the registration ends, and is restored if that fails.
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

/// Returns whether an invitation is for the first administrator, which is valid even if registration is closed.
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

/// Deletes invitations that expired more than a month ago.
pub(super) async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    // An operator's secret is kept, otherwise it would become valid again.
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
