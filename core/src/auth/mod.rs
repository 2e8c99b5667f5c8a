//! Who calls, and what they may do.

mod access;
mod api_keys;
mod passwords;
mod tokens;
mod users;

use sqlx::{PgConnection, PgPool};

pub use access::{CurrentUser, UserRole, Visibility, can_change, can_read};
pub use api_keys::{create_api_key, revoke_api_keys_named};
pub use passwords::PasswordHasher;
pub use tokens::{AccessTokens, TOKEN_LIFETIME};
pub use users::{NewUser, User, find_user, login, register, system_user};

use crate::{Error, Result};

/// Finds out who a bearer credential belongs to: an API key (`opb_…`) or an access token.
///
/// # Errors
/// [`Error::Unauthenticated`] for anything that is not a valid credential of an enabled user.
pub async fn authenticate(
    pool: &PgPool,
    tokens: &AccessTokens,
    bearer: &str,
) -> Result<CurrentUser> {
    let mut conn: sqlx::pool::PoolConnection<sqlx::Postgres> = pool.acquire().await?;
    let conn: &mut PgConnection = &mut conn;
    if bearer.starts_with(api_keys::PREFIX) {
        return api_keys::authenticate(conn, bearer).await;
    }
    let user_id = tokens.verify(bearer)?;
    users::current_user(conn, user_id)
        .await?
        .ok_or(Error::Unauthenticated("the token is invalid or expired"))
}
