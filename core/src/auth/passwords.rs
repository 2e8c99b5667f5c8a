//! Passwords: argon2id with the OWASP parameters, off the async threads and bounded in number.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use crate::{Error, Result};

/// Hashes and checks passwords. Clones share one bound.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    permits: Arc<Semaphore>,
}

impl PasswordHasher {
    /// Allows as many hashes at once as there are processors: one hash takes 19 MiB and a whole core.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Hashes a password into a PHC string.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the length is not between 8 and 128 characters.
    pub async fn hash(&self, password: SecretString) -> Result<String> {
        check_length(&password)?;
        self.off_thread(move || hash(&password)).await?
    }

    /// Checks a password. Takes as long for a user without a hash (or without an account) as for one with.
    ///
    /// # Errors
    /// The server is shutting down.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool> {
        if check_length(&password).is_err() {
            return Ok(false);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.clone());
        let matches = self
            .off_thread(move || {
                PasswordHash::new(&hash).is_ok_and(|hash| {
                    Argon2::default()
                        .verify_password(password.expose_secret().as_bytes(), &hash)
                        .is_ok()
                })
            })
            .await?;
        Ok(matches && known)
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::Busy)?;
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        worked
            .await
            .map_err(|_| Error::Internal("hashing a password panicked".into()))
    }
}

impl Default for PasswordHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// What a password is checked against when there is no account: the same work, never a match.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash(&"nobody has this password".into()).unwrap_or_default());

fn hash(password: &SecretString) -> Result<String> {
    Argon2::default()
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::Internal(format!("argon2: {error}")))
}

fn check_length(password: &SecretString) -> Result<()> {
    let characters = password.expose_secret().chars().take(129).count();
    if (8..=128).contains(&characters) {
        return Ok(());
    }
    Err(Error::invalid(
        "password",
        "must have between 8 and 128 characters",
    ))
}
