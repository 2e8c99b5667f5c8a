//! Validation of usernames and email addresses, and errors for taken ones.

use sqlx::PgConnection;
use unicode_normalization::UnicodeNormalization as _;

use crate::{Error, FieldError};

/// The error for a taken username.
pub const USERNAME_TAKEN: &str = "is already taken";
/// The error for a taken email address.
pub const EMAIL_TAKEN: &str = "is already registered";
/// The error for a malformed email address.
pub const EMAIL_INVALID: &str = "is not an email address";

/// The prefix of deleted users' names, followed by the id; reserved.
pub(crate) const DELETED: &str = "deleted-";

/// Reserved names, which could be mistaken for the server itself.
const RESERVED: [&str; 12] = [
    "admin",
    "administrator",
    "root",
    "system",
    "support",
    "security",
    "moderator",
    "staff",
    "anonymous",
    "everyone",
    "opb",
    "openpromptbank",
];

/// Returns the errors of a new user's name and address.
#[must_use]
pub fn check_new_user(username: &str, email: &str) -> Vec<FieldError> {
    let (username, email) = (normalise(username), normalise(email));
    let mut wrong = Vec::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !(3..=32).contains(&username.len()) || !username.chars().all(plain) {
        let message = "must have 3 to 32 letters, digits, dots, dashes or underscores";
        wrong.push(FieldError::new("username", message));
    } else if is_reserved(&username.to_ascii_lowercase()) {
        wrong.push(FieldError::new("username", "is reserved"));
    }
    if !looks_like_an_email_address(&email) {
        wrong.push(FieldError::new("email", EMAIL_INVALID));
    }
    wrong
}

/// Returns errors for the taken fields if the error is a violation of their constraints.
pub(super) async fn explain_taken(
    conn: &mut PgConnection,
    error: Error,
    but: Option<i64>,
    (username, email): (&str, &str),
) -> Error {
    if !error.violates("users_username_key") && !error.violates("users_email_key") {
        return error;
    }
    // The constraint has decided; the query only determines whether both are taken.
    let found = sqlx::query!(
        r#"-- names::explain_taken
        select exists(select 1 from users where lower(username) = lower($1) and id is distinct from $3) as "username!",
               exists(select 1 from users where lower(email) = lower($2) and id is distinct from $3) as "email!""#,
        username,
        email,
        but
    )
    .fetch_one(conn)
    .await;
    let (username, email) = match found {
        Ok(found) if found.username || found.email => (found.username, found.email),
        Ok(_) => (
            error.violates("users_username_key"),
            error.violates("users_email_key"),
        ),
        Err(error) => return error.into(),
    };
    let mut wrong = Vec::new();
    if username {
        wrong.push(FieldError::new("username", USERNAME_TAKEN));
    }
    if email {
        wrong.push(FieldError::new("email", EMAIL_TAKEN));
    }
    Error::Invalid(wrong)
}

fn is_reserved(username: &str) -> bool {
    RESERVED.contains(&username) || username.starts_with(DELETED)
}

/// Normalises text to one spelling (NFKC): for example, full-width letters become ASCII letters.
pub(super) fn normalise(text: &str) -> String {
    // Bounded, since normalisation is expensive for long input.
    text.chars().take(300).nfkc().collect()
}

/// ASCII only, like usernames: addresses with look-alike characters are refused.
pub(super) fn looks_like_an_email_address(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let clean = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '@' | '<' | '>' | '"' | ',' | ';' | ':' | '\\')
    };
    text.len() <= 254
        && !name.is_empty()
        && !host.is_empty()
        && !host.starts_with('.')
        && !host.ends_with('.')
        && host.chars().all(clean)
        && name.chars().all(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_nobody_elses() {
        let check = |username: &str, good: bool| {
            let wrong = check_new_user(username, "a@example.org");
            assert_eq!(wrong.is_empty(), good, "{username}");
        };
        check("ada", true);
        check("Ada.Lovelace-1_2", true);
        check("ａｄａ", true);
        check("аda", false);
        check("ad", false);
        check("a@b", false);
        check("a/b/c", false);
        check("<b>ada</b>", false);
        check("ada\n", false);
        check("{{ada}}", false);
        check("ada'--", false);
        check("\u{202e}ada", false);
        check("Admin", false);
        check("Deleted-17", false);
        check(&"x".repeat(10_000), false);
    }

    #[test]
    fn addresses_have_one_spelling() {
        let check = |email: &str, good: bool| {
            let wrong = check_new_user("ada", email);
            assert_eq!(wrong.is_empty(), good, "{email}");
        };
        check("ada@example.org", true);
        check("ada+tag@localhost", true);
        check("ada@example.org.", false);
        check("аda@example.org", false);
        check("ada", false);
        check("@example.org", false);
        check("ada@", false);
        check("ada@a@b", false);
        check("ada @example.org", false);
        check("<ada@example.org>", false);
    }
}
