//! Passwords: argon2id with the OWASP parameters, on blocking threads and with bounded concurrency.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use argon2::{
    Argon2, Params,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, FieldError, Result, metrics::METRICS};

/// For how long a request waits for its turn to hash. Clients usually wait for an answer for thirty seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hashes and verifies passwords. Clones share the limit.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    permits: Arc<Semaphore>,
}

impl PasswordHasher {
    /// Allows as many concurrent hashes as there are cores: one hash takes 19 MiB and a whole core.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Waits for a permit to hash, which keeps a core busy.
    ///
    /// # Errors
    /// [`Error::Busy`] if no permit becomes available in time.
    pub async fn turn(&self) -> Result<Turn> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(Turn(Arc::new(permit))),
            Ok(Err(_)) | Err(_) => Err(Error::Busy),
        }
    }
}

/// A permit to hash passwords, one after the other.
#[derive(Debug)]
pub struct Turn(Arc<OwnedSemaphorePermit>);

impl Turn {
    /// Checks a new password against the rules and hashes it into a PHC string. `known` lists what an attacker would
    /// try first: the user's name and email address.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a password that is too short, too long or too easy to guess; `field` is its path.
    pub async fn hash(
        self,
        field: &'static str,
        password: SecretString,
        known: Vec<String>,
    ) -> Result<String> {
        self.off_thread(move || {
            if let Some(error) = check(field, &password, &known) {
                return Err(Error::Invalid(vec![error]));
            }
            hash(&password)
        })
        .await?
    }

    /// Verifies a password. Takes equally long for a user without a hash (or without an account). A password whose
    /// stored hash has outdated parameters is hashed again.
    ///
    /// # Errors
    /// Hashing fails.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<Match> {
        if !has_allowed_length(&password) {
            return Ok(Match::No);
        }
        let known = hash.is_some();
        let stored = hash.unwrap_or_else(|| NOBODY.clone());
        self.off_thread(move || {
            let Ok(stored) = PasswordHash::new(&stored) else {
                return Ok(Match::No);
            };
            METRICS.api.password_hashes.inc();
            let matches = Argon2::default()
                .verify_password(password.expose_secret().as_bytes(), &stored)
                .is_ok();
            if !matches || !known {
                return Ok(Match::No);
            }
            if is_up_to_date(&stored) {
                return Ok(Match::Yes);
            }
            self::hash(&password).map(Match::YesAndRehashed)
        })
        .await?
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        // The permit is held as long as the work runs, even if the caller no longer waits for it.
        let permit = Arc::clone(&self.0);
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        worked
            .await
            .map_err(|_| Error::Internal("hashing a password panicked".into()))
    }
}

/// The result of verifying a password.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// The password is wrong, or there is no such account.
    No,
    /// The password is correct.
    Yes,
    /// The password is correct, and this is its hash with current parameters.
    YesAndRehashed(String),
}

impl Default for PasswordHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash to verify against if there is no account: the same work, never a match.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash(&"nobody has this password".into()).unwrap_or_default());

fn hash(password: &SecretString) -> Result<String> {
    METRICS.api.password_hashes.inc();
    Argon2::default()
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::Internal(format!("argon2: {error}")))
}

/// Returns the error of a new password, if it is not allowed.
fn check(field: &'static str, password: &SecretString, known: &[String]) -> Option<FieldError> {
    if !has_allowed_length(password) {
        return Some(FieldError::new(
            field,
            "must have between 8 and 128 characters",
        ));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // The cost of the estimate grows with the square of the length, and the first characters suffice.
    let beginning: String = password.expose_secret().chars().take(64).collect();
    if zxcvbn::zxcvbn(&beginning, &known).score() < zxcvbn::Score::Two {
        return Some(FieldError::new(
            field,
            "is too easy to guess; use several unrelated words",
        ));
    }
    None
}

fn has_allowed_length(password: &SecretString) -> bool {
    let characters = password.expose_secret().chars().take(129).count();
    (8..=128).contains(&characters)
}

fn is_up_to_date(hash: &PasswordHash) -> bool {
    let Ok(params) = Params::try_from(hash) else {
        return false;
    };
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    hash.algorithm == argon2::Algorithm::Argon2id.ident()
        && costs(&params) == costs(&Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_must_be_hard_to_guess() {
        let check = |password: &str, good: bool| {
            let known = ["ada.lovelace".to_owned(), "ada@example.org".to_owned()];
            let wrong = check("password", &password.into(), &known);
            assert_eq!(wrong.is_none(), good, "{password}");
        };
        check("short", false);
        check("password", false);
        check("password123", false);
        check("qwertyuiop", false);
        check("iloveyou", false);
        check("aaaaaaaaaaaa", false);
        check("12345678901", false);
        check("ada.lovelace", false);
        check("ada@example.org", false);
        check("correct horse", true);
        check("pa55-wört ☃", true);
        check(&"s0me longer 7hing! ".repeat(3), true);
        check(&"x1?".repeat(43), false);
    }

    #[tokio::test]
    async fn old_parameters_are_replaced() {
        let params = Params::new(1024, 1, 1, None).unwrap();
        let weak = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let old = weak.hash_password(b"correct horse").unwrap().to_string();
        let turn = PasswordHasher::new().turn().await.unwrap();
        let found = turn.verify("correct horse".into(), Some(old.clone())).await;
        let Match::YesAndRehashed(new) = found.unwrap() else {
            panic!("not hashed anew");
        };
        let again = turn
            .verify("correct horse".into(), Some(new))
            .await
            .unwrap();
        assert_eq!(again, Match::Yes);
        let wrong = turn.verify("wrong horse".into(), Some(old)).await.unwrap();
        assert_eq!(wrong, Match::No);
        let nobody = turn.verify("nobody has this password".into(), None).await;
        assert_eq!(nobody.unwrap(), Match::No);
        assert!(is_up_to_date(&PasswordHash::new(&NOBODY).unwrap()));
    }
}
