//! Everything that is one user's, for that user. Secrets are not in it: no password, no token, no key, no hash of one.
//!
//! It is one JSON object with a list for each kind, and comes in pieces: however much there is, no more than a piece is in
//! memory, and no connection is held between two. `LISTS` is their order; what is in each stands in `account`, `library`,
//! `evaluation` and `community`.
//!
//! Items of benchmarks and evaluations of runs can be millions; their addresses stand in their place. So does the address of
//! the export of prompts where the versions of a prompt have more than 16 MiB.

mod account;
mod community;
mod evaluation;
mod library;

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser};

/// An export on its way: what comes next.
#[derive(Debug, Default)]
pub struct OwnData {
    /// How many lists are done; nothing before the head of the document.
    done: Option<usize>,
    /// The last entry of the list that is on its way.
    after: Option<Uuid>,
}

/// A list of the document, with the text before and after its entries.
struct List {
    before: &'static str,
    read: Read,
    /// How many entries are read at once.
    at_once: i64,
    after: &'static str,
}

/// Reads the entries of a user after a key, up to a limit.
type Read =
    for<'a> fn(&'a mut PgConnection, i64, Option<Uuid>, i64) -> BoxFuture<'a, Result<Vec<Entry>>>;

/// An entry of a list; lists are ordered by the key.
struct Entry {
    key: Uuid,
    value: Value,
}

/// Entries that are read at once where they are small.
const SMALL: i64 = 200;
/// Entries that are read at once where one can be large.
const LARGE: i64 = 8;

const LISTS: [List; 17] = [
    list(",\"sessions\":[", account::sessions, SMALL, "]"),
    list(",\"api_keys\":[", account::api_keys, SMALL, "]"),
    list(",\"identities\":[", account::identities, SMALL, "]"),
    list(",\"audit_log\":[", account::audit_log, SMALL, "]"),
    list(",\"prompts\":[", library::prompts, 1, "]"),
    list(
        ",\"versions_of_others_prompts\":[",
        library::versions_elsewhere,
        LARGE,
        "]",
    ),
    list(
        ",\"change_requests\":{\"proposed\":[",
        library::proposed,
        LARGE,
        "]",
    ),
    list(",\"comments\":[", library::request_comments, SMALL, "]}"),
    list(",\"saved_searches\":[", library::saved_searches, SMALL, "]"),
    list(",\"benchmarks\":[", evaluation::benchmarks, LARGE, "]"),
    list(",\"runs\":[", evaluation::runs, SMALL, "]"),
    list(",\"votes\":[", community::votes, SMALL, "]"),
    list(",\"favourites\":[", community::favourites, SMALL, "]"),
    list(",\"comments\":[", community::comments, SMALL, "]"),
    list(",\"reports\":[", community::reports, SMALL, "]"),
    list(",\"collections\":[", community::collections, LARGE, "]"),
    list(",\"preferences\":[", community::preferences, SMALL, "]"),
];

const fn list(before: &'static str, read: Read, at_once: i64, after: &'static str) -> List {
    List {
        before,
        read,
        at_once,
        after,
    }
}

/// A function that reads entries by a statement, which takes the user, the key before the first entry and how many.
macro_rules! reader {
    ($(#[$doc:meta])* $name:ident, $statement:tt) => {
        $(#[$doc])*
        pub(super) fn $name(
            conn: &mut sqlx::PgConnection,
            user_id: i64,
            after: Option<uuid::Uuid>,
            limit: i64,
        ) -> futures::future::BoxFuture<'_, $crate::Result<Vec<$crate::own_data::Entry>>> {
            Box::pin(async move {
                let entries = sqlx::query_as!($crate::own_data::Entry, $statement, user_id, after, limit);
                Ok(entries.fetch_all(conn).await?)
            })
        }
    };
}
use reader;

impl OwnData {
    /// The next piece of the document; none at its end.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn next(
        &mut self,
        conn: &mut PgConnection,
        user: &CurrentUser,
    ) -> Result<Option<Vec<u8>>> {
        let Some(done) = self.done else {
            self.done = Some(0);
            return head(conn, user.id).await.map(Some);
        };
        let Some(list) = LISTS.get(done) else {
            let is_last = done == LISTS.len();
            self.done = Some(LISTS.len() + 1);
            return Ok(is_last.then(|| b"}\n".to_vec()));
        };
        let (is_first, limit) = (self.after.is_none(), list.at_once);
        let entries = (list.read)(conn, user.id, self.after, limit).await?;
        let mut piece = Vec::new();
        if is_first {
            piece.extend_from_slice(list.before.as_bytes());
        }
        for (at, entry) in entries.iter().enumerate() {
            piece.extend_from_slice(if is_first && at == 0 { b"\n" } else { b",\n" });
            write(&mut piece, &entry.value)?;
        }
        match entries.last() {
            Some(entry) if i64::try_from(entries.len()) == Ok(limit) => {
                self.after = Some(entry.key);
            }
            _ => {
                piece.extend_from_slice(list.after.as_bytes());
                (self.done, self.after) = (Some(done + 1), None);
            }
        }
        Ok(Some(piece))
    }
}

async fn head(conn: &mut PgConnection, user_id: i64) -> Result<Vec<u8>> {
    let mut head = b"{\"format\":\"openpromptbank-own-data-1\",\"account\":".to_vec();
    write(&mut head, &account::account(conn, user_id).await?)?;
    head.extend_from_slice(b",\"profile\":");
    write(&mut head, &account::profile(conn, user_id).await?)?;
    Ok(head)
}

fn write(piece: &mut Vec<u8>, value: &Value) -> Result<()> {
    serde_json::to_writer(piece, value).map_err(|error| Error::Internal(error.to_string()))
}
