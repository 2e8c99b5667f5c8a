//! Authentication and authorization of users.

mod access;
mod account;
mod administration;
mod api_keys;
mod audit;
mod email_verification;
mod identities;
mod invitations;
mod login;
mod mail_templates;
mod names;
mod one_time_tokens;
mod password_reset;
mod passwords;
mod registration;
mod rotation;
mod sessions;
mod throttle;
mod tokens;
mod users;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use access::{CurrentUser, UserRole, Visibility, can_change, can_read};
pub use account::{ProfileChange, change_password, change_profile};
pub use administration::{
    Account, AccountChange, change_account, create_admin, list_accounts, promote_to_admin,
};
pub(crate) use administration::{lock_account, require_other_admin};
pub use api_keys::{
    ApiKey, ApiKeyScope, NewApiKey, create_api_key, create_scoped_api_key, list_api_keys,
    revoke_api_key, revoke_api_keys_named, revoke_current_api_key,
};
pub use audit::{AuditEntry, AuditEvent, list_audit_entries};
pub(crate) use audit::{forget_names, note_deed, record};
pub use email_verification::{
    VERIFICATION_LIFETIME, request_email_verification, require_verified_email, verify_email,
};
pub use identities::{
    ConfirmedIdentity, Identity, collect_login, count_unconfirmed_login, delete_identity,
    keep_login, link_identity, list_identities, may_ask_provider,
};
pub use invitations::{
    Invitation, NewInvitation, accept_first_admin, create_invitation, invite_first_admin,
    list_invitations, revoke_invitation,
};
pub(crate) use login::confirm;
pub use login::login;
pub(crate) use names::DELETED;
pub use names::{EMAIL_INVALID, EMAIL_TAKEN, USERNAME_TAKEN, check_new_user};
pub use password_reset::{
    RESET_LIFETIME, create_reset_link, request_password_reset, reset_password,
};
pub use passwords::{Match, PasswordHasher, Turn};
pub use registration::{NewUser, Registration, check_registration, register};
pub use sessions::{
    IDLE_LIFETIME, Origin, Rotation, SESSION_LIFETIME, SessionEntry, Tokens, end_session,
    list_sessions, log_out, log_out_by_refresh_token, log_out_everywhere, refresh,
};
pub use throttle::Limits;
pub use tokens::{AccessToken, RefreshToken, TOKEN_LIFETIME, TokenKeys};
pub use users::{ListedUser, User, find_user, list_users, system_user};

use crate::{Error, Result, mail::Outbox};

/// The dependencies of registration and login.
#[derive(Clone)]
pub struct Accounts {
    /// The database.
    pub pool: PgPool,
    /// Hashes passwords.
    pub passwords: PasswordHasher,
    /// Signs tokens.
    pub tokens: TokenKeys,
    /// Failed attempts before further ones are delayed.
    pub limits: Limits,
    /// The outbox for mails, if the operator has configured a mail server.
    pub outbox: Option<Outbox>,
    /// Who may register.
    pub registration: Registration,
    /// Whether the first refresh token of a session is invalidated like all others when it is replaced.
    pub strict_rotation: bool,
}

/// The caller of a request, with their credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user. With a key without the scope `admin`, an administrator has the role of a user.
    pub user: CurrentUser,
    /// The credential.
    pub credential: Credential,
}

/// The credential of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session(Uuid),
    /// An API key with these scopes.
    ApiKey(Vec<ApiKeyScope>),
}

/// Authenticates a bearer credential: an API key (`opb_…`) or an access token.
///
/// # Errors
/// [`Error::Unauthenticated`] for anything that is not a valid credential of an enabled user, and [`Error::UserGone`]
/// for a valid token of a deleted user.
pub async fn authenticate(pool: &PgPool, tokens: &TokenKeys, bearer: &str) -> Result<Caller> {
    if is_api_key(bearer) {
        return api_keys::authenticate(&mut *pool.acquire().await?, bearer).await;
    }
    // Invalid tokens are rejected without a database query.
    let token = tokens.verify_access(bearer)?;
    let user = user_of_session(pool, token).await?;
    Ok(Caller {
        user,
        credential: Credential::Session(token.session_id),
    })
}

/// Returns whether a credential has the form of an API key.
#[must_use]
pub fn is_api_key(bearer: &str) -> bool {
    bearer.starts_with(api_keys::PREFIX)
}

/// Returns the user of a previously verified token, if its session is active.
///
/// # Errors
/// [`Error::Unauthenticated`] if the session has ended or the user is disabled; [`Error::UserGone`].
pub async fn user_of_session(pool: &PgPool, token: AccessToken) -> Result<CurrentUser> {
    sessions::user_of_session(&mut *pool.acquire().await?, token).await
}

/// Deletes ended sessions, expired links and logins, inactive throttles, old invitations and old audit entries; returns
/// the number of rows.
///
/// # Errors
/// The database does not respond.
pub async fn delete_expired(conn: &mut PgConnection) -> Result<u64> {
    Ok(sessions::delete_ended(conn).await?
        + one_time_tokens::delete_expired(conn).await?
        + identities::delete_expired(conn).await?
        + throttle::delete_quiet(conn).await?
        + invitations::delete_old(conn).await?
        + audit::delete_old(conn).await?)
}

/// The error for wrong credentials, the same for every cause.
const WRONG_LOGIN: Error = Error::Unauthenticated("the username or the password is wrong");
