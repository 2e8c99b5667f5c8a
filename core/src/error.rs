//! The domain's one error type. It knows no HTTP; `api/src/problem.rs` maps it to a status.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One thing that is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where: `prompts[1]`, `items[3].vars`. Empty when the whole request is meant.
    pub path: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Why a request could not be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing does not exist, or the caller may not know that it does.
    #[error("{0} was not found")]
    NotFound(String),
    /// The request is understood, and these fields are wrong.
    #[error("the request is not valid: {}", list(.0))]
    Invalid(Vec<FieldError>),
    /// A template cannot be rendered with what it was given, or would cost too much.
    #[error("the template cannot be rendered: {}: {}", .0.path, .0.message)]
    Unrenderable(FieldError),
    /// The request contradicts what is stored.
    #[error("{0}")]
    Conflict(String),
    /// The caller is not known.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller is known and may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The caller has not shown that their address is theirs, and the operator asks for it.
    #[error("verify your email address first: POST /api/v1/me/email-verification sends a link")]
    EmailNotVerified,
    /// Nobody may register.
    #[error("registration is closed on this server")]
    RegistrationClosed,
    /// Only whoever has an invitation may register.
    #[error("registration is by invitation; ask an administrator for one")]
    InvitationNeeded,
    /// The credential is genuine, but its user was deleted.
    #[error("the user of this credential no longer exists")]
    UserGone,
    /// Too many logins failed, or too many registrations were tried.
    #[error("too many attempts, try again in {retry_after_seconds} seconds")]
    TooManyAttempts {
        /// When the next attempt is allowed, in seconds from now.
        retry_after_seconds: u64,
    },
    /// The caller has taken as much of the bank as they may.
    #[error("{0}")]
    QuotaExceeded(String),
    /// More work of this kind is running than the process allows.
    #[error("the server is busy, try again in a moment")]
    Busy,
    /// Postgres refused or could not be reached.
    #[error("{}", describe_database(.0))]
    Database(#[from] sqlx::Error),
    /// The queue's tables refused or could not be reached.
    #[error("the queue could not serve the request")]
    Queue(#[from] apalis_postgres::Error),
    /// A promise of our own code is broken.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// One wrong field.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(path, message)])
    }

    /// The same error with its fields seen from what holds the part that is wrong.
    #[must_use]
    pub fn below(self, part: &str) -> Self {
        let Self::Invalid(fields) = self else {
            return self;
        };
        let outer =
            |field: FieldError| FieldError::new(format!("{part}.{}", field.path), field.message);
        Self::Invalid(fields.into_iter().map(outer).collect())
    }

    /// True when the request broke the unique constraint of this name.
    #[must_use]
    pub fn violates(&self, constraint: &str) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.constraint() == Some(constraint)
    }

    /// True when trying again changes nothing: the database refuses what a statement holds (SQLSTATE class 22 or 23), or it
    /// cannot be written. Everything else, such as a lost connection, a deadlock or a full disk, may pass.
    #[must_use]
    pub fn refuses_data(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| code.starts_with("22") || code.starts_with("23")),
            Self::Database(sqlx::Error::Encode(_)) | Self::Internal(_) => true,
            _ => false,
        }
    }
}

impl Error {
    /// A conflict that says which name is taken, if the request broke the unique constraint on names; otherwise the same
    /// error.
    pub(crate) fn for_name(error: sqlx::Error, constraint: &str, what: &str, name: &str) -> Self {
        let error = Self::from(error);
        if error.violates(constraint) {
            return Self::Conflict(format!(
                "there is {what} called `{name}` already; take another name"
            ));
        }
        error
    }
}

impl FieldError {
    /// A field error at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// The SQLSTATE of a full disk.
const DISK_FULL: &str = "53100";

/// Tells a full disk from everything else, which only the logs name: an operator must know of it, whatever was asked for.
fn describe_database(error: &sqlx::Error) -> &'static str {
    let sqlx::Error::Database(error) = error else {
        return "the database could not serve the request";
    };
    if error.code().as_deref() == Some(DISK_FULL) {
        "the disk of the database is full; make room on it, then try again"
    } else {
        "the database could not serve the request"
    }
}

fn list(fields: &[FieldError]) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|field| match field.path.as_str() {
            "" => field.message.clone(),
            path => format!("{path}: {}", field.message),
        })
        .collect();
    lines.join("; ")
}

impl From<FieldError> for Error {
    fn from(field: FieldError) -> Self {
        Self::Invalid(vec![field])
    }
}
