//! Maps errors to HTTP responses: problem details by RFC 9457. This is the only place where an error becomes a
//! status.
//!
//! Internal details never reach the client: errors that the client cannot fix are logged here, once, with all their
//! causes.

use std::{error::Error as _, sync::Arc};

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use opb_core::{Error, FieldError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::middleware;

/// Maximum number of invalid fields in one response.
const MAX_ERRORS: usize = 100;

/// The result of a handler.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// An error response (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the `code` says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What went wrong with this request.
    pub detail: String,
    /// The kind of problem, for programs.
    #[schema(example = "invalid")]
    pub code: String,
    /// The invalid fields, if the client can fix the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The id of the request, which is in the server's log, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A problem to be sent as the response.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    problem: Box<Problem>,
    /// Seconds after which the client should try again, if that helps.
    retry_after_seconds: u64,
}

impl ApiError {
    /// An error response with this status; `code` is for programs, `detail` for people.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let problem = Box::new(Problem {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            errors: Vec::new(),
            request_id: None,
        });
        Self {
            problem,
            retry_after_seconds: 1,
        }
    }

    /// The error response for one invalid field.
    pub(crate) fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Error::invalid(path, message).into()
    }

    /// Sets the invalid fields.
    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.problem.errors = errors;
        self
    }

    /// Sets another code.
    pub(crate) fn with_code(mut self, code: &str) -> Self {
        self.problem.code = code.into();
        self
    }

    /// The kind of problem.
    #[cfg(test)]
    pub(crate) fn code(&self) -> &str {
        &self.problem.code
    }

    /// True when trying again cannot help: the resource, or the right to read it, is gone.
    pub(crate) fn is_final(&self) -> bool {
        [StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED]
            .iter()
            .any(|status| self.problem.status == status.as_u16())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            Error::Invalid(fields) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_errors(fields)
            }
            Error::Unrenderable(field) => {
                Self::new(StatusCode::BAD_REQUEST, "unrenderable", detail).with_errors(vec![field])
            }
            Error::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", detail),
            Error::QuotaExceeded(_) => Self::new(StatusCode::CONFLICT, "quota_exceeded", detail),
            Error::Unauthenticated(_) | Error::UserGone => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            }
            Error::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            Error::EmailNotVerified => {
                Self::new(StatusCode::FORBIDDEN, "email_not_verified", detail)
            }
            Error::RegistrationClosed => {
                Self::new(StatusCode::FORBIDDEN, "registration_closed", detail)
            }
            Error::InvitationNeeded => {
                Self::new(StatusCode::FORBIDDEN, "invitation_needed", detail)
            }
            Error::TooManyAttempts {
                retry_after_seconds,
            } => Self {
                retry_after_seconds,
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail)
            },
            Error::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
            Error::Database(ref cause) => match kind_of(cause) {
                Trouble::Text => Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid",
                    "the request contains a character that cannot be stored",
                ),
                Trouble::Range => {
                    log(&error);
                    Self::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "invalid",
                        "the request contains a number, a time or a text that is too large to be stored",
                    )
                }
                Trouble::Passing => {
                    log(&error);
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                }
                Trouble::Ours => Self::internal(&error),
            },
            Error::Queue(_) => {
                log(&error);
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            Error::Internal(_) => Self::internal(&error),
        }
    }
}

impl ApiError {
    fn internal(error: &Error) -> Self {
        log(error);
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal server error; the server's log has the details under the request id",
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut problem = *self.problem;
        problem.request_id = middleware::request_id().map(|id| id.to_string());
        // Parts of the request are quoted in these fields; limiting them keeps the response small.
        shorten(&mut problem.detail, 1_000);
        problem.errors.truncate(MAX_ERRORS);
        for error in &mut problem.errors {
            shorten(&mut error.path, 200);
            shorten(&mut error.message, 1_000);
        }
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, self.retry_after_seconds.into());
            }
            _ => {}
        }
        // For dialects, which rewrite the error.
        response.extensions_mut().insert(Arc::new(problem));
        response
    }
}

/// Who can fix a database error.
enum Trouble {
    /// The client: Postgres cannot store the text.
    Text,
    /// The client, though the field's own limit should have caught it: the value is too large for Postgres to store
    /// or add up.
    Range,
    /// Nobody needs to: the connection broke, or the server is full or restarting.
    Passing,
    /// A programming error of ours.
    Ours,
}

fn kind_of(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Trouble::Passing,
        sqlx::Error::Database(error) => match error.code().as_deref().unwrap_or_default() {
            // character_not_in_repertoire, untranslatable_character
            "22021" | "22P05" => Trouble::Text,
            // numeric_value_out_of_range, datetime_field_overflow, program_limit_exceeded
            "22003" | "22008" | "54000" => Trouble::Range,
            // serialization_failure, deadlock_detected, and the classes "connection exception",
            // "insufficient resources" and "operator intervention" (shutting down, starting up)
            "40001" | "40P01" => Trouble::Passing,
            code if ["08", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Trouble::Passing
            }
            _ => Trouble::Ours,
        },
        _ => Trouble::Ours,
    }
}

fn shorten(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
        text.push('…');
    }
}

fn log(error: &Error) {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = chain, "a request failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status() {
        let check = |error: Error, status: u16, code: &str| {
            let problem = *ApiError::from(error).problem;
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (status, code),
                "{}",
                problem.detail
            );
        };
        check(Error::NotFound("the prompt `a`".into()), 404, "not_found");
        check(Error::invalid("a", "is wrong"), 422, "invalid");
        check(
            Error::Unrenderable(FieldError::new("body.text", "costs too much")),
            400,
            "unrenderable",
        );
        check(Error::Conflict("taken".into()), 409, "conflict");
        check(Error::QuotaExceeded("enough".into()), 409, "quota_exceeded");
        check(Error::Unauthenticated("who?"), 401, "unauthenticated");
        check(Error::Forbidden("no"), 403, "forbidden");
        check(Error::RegistrationClosed, 403, "registration_closed");
        check(Error::InvitationNeeded, 403, "invitation_needed");
        check(Error::UserGone, 401, "unauthenticated");
        check(
            Error::TooManyAttempts {
                retry_after_seconds: 9,
            },
            429,
            "too_many_attempts",
        );
        check(Error::Busy, 503, "busy");
        check(
            Error::Database(sqlx::Error::PoolTimedOut),
            503,
            "unavailable",
        );
        check(
            Error::Database(sqlx::Error::Io(std::io::Error::other("reset"))),
            503,
            "unavailable",
        );
        check(Error::Database(sqlx::Error::RowNotFound), 500, "internal");
        check(Error::Internal("a secret".into()), 500, "internal");
    }

    #[test]
    fn internal_detail_stays_inside() {
        let problem = ApiError::from(Error::Internal("select secret from users".into())).problem;
        assert!(
            !serde_json::to_string(&problem)
                .unwrap()
                .contains("select secret")
        );
    }
}
