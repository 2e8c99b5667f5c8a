//! The error type of the domain. It does not know HTTP; `api/src/problem.rs` maps it to a status.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error in one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The path: `prompts[1]`, `items[3].vars`. Empty for the request as a whole.
    pub path: String,
    /// What is wrong and how to fix it.
    pub message: String,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource does not exist, or the caller may not know that it does.
    #[error("{0} was not found")]
    NotFound(String),
    /// These fields of the request are invalid.
    #[error("the request is not valid: {}", list(.0))]
    Invalid(Vec<FieldError>),
    /// A template cannot be rendered with the given values, or would exceed the rendering budget.
    #[error("the template cannot be rendered: {}: {}", .0.path, .0.message)]
    Unrenderable(FieldError),
    /// The request conflicts with stored data.
    #[error("{0}")]
    Conflict(String),
    /// The caller is not authenticated.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller is authenticated and not allowed to do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The caller has not verified their email address, and the operator requires it.
    #[error("verify your email address first: POST /api/v1/me/email-verification sends a link")]
    EmailNotVerified,
    /// Registration is closed.
    #[error("registration is closed on this server")]
    RegistrationClosed,
    /// Registration needs an invitation.
    #[error("registration is by invitation; ask an administrator for one")]
    InvitationNeeded,
    /// The credential is valid, but its user was deleted.
    #[error("the user of this credential no longer exists")]
    UserGone,
    /// Too many attempts to log in or to register.
    #[error("too many attempts, try again in {retry_after_seconds} seconds")]
    TooManyAttempts {
        /// Seconds until the next attempt is allowed.
        retry_after_seconds: u64,
    },
    /// The caller has used up a quota.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Too much work of this kind is running in this process.
    #[error("the server is busy, try again in a moment")]
    Busy,
    /// Postgres refused a statement or could not be reached.
    #[error("{}", describe_database(.0))]
    Database(#[from] sqlx::Error),
    /// The queue's tables refused a statement or could not be reached.
    #[error("the queue could not serve the request")]
    Queue(#[from] apalis_postgres::Error),
    /// An invariant of our own code is broken.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// An error with a single invalid field.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(path, message)])
    }

    /// The same error with the paths of its fields prefixed by the part that contains them.
    #[must_use]
    pub fn below(self, part: &str) -> Self {
        let Self::Invalid(fields) = self else {
            return self;
        };
        let outer =
            |field: FieldError| FieldError::new(format!("{part}.{}", field.path), field.message);
        Self::Invalid(fields.into_iter().map(outer).collect())
    }

    /// True if the request violated the unique constraint with this name.
    #[must_use]
    pub fn violates(&self, constraint: &str) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.constraint() == Some(constraint)
    }

    /// True if a retry cannot succeed: the database refuses the data of a statement (SQLSTATE class 22 or 23), or the
    /// data cannot be encoded. Everything else, such as a lost connection, a deadlock or a full disk, may be temporary.
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
    /// A conflict that names the taken name, if the request violated the unique constraint on names; otherwise the same
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
    /// An error in the field at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// The SQLSTATE of a full disk.
const DISK_FULL: &str = "53100";

/// Distinguishes a full disk from all other database errors, whose details are only logged: the operator must learn
/// about it from any response.
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
