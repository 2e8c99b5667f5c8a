//! Cursors of pages of prompts.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::PromptSort;
use crate::{Error, Result, bounds::is_time};

/// The end of a page. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "o", rename_all = "lowercase")]
pub(super) enum SearchCursor {
    /// Among the ranked matches; with the oldest ranked match, if older ones were not ranked. The nil UUID means that
    /// all are ranked.
    Ranked {
        score: f32,
        id: Uuid,
        ranked: Option<Uuid>,
        q: String,
    },
    /// Among the unranked matches; with the oldest ranked match, if older ones were not ranked, and the last match of
    /// the page.
    Rest {
        ranked: Option<Uuid>,
        id: Option<Uuid>,
        q: String,
    },
    Newest {
        id: Uuid,
    },
    Updated {
        at: DateTime<Utc>,
        id: Uuid,
    },
    Title {
        title: String,
        id: Uuid,
    },
    /// In a community order; the number's bits, so that the next page begins exactly there.
    Rank {
        sort: PromptSort,
        bits: u64,
        id: Uuid,
    },
}

pub(super) fn encode(cursor: &SearchCursor) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default())
}

pub(super) fn decode(cursor: &str) -> Result<SearchCursor> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| bad_cursor())?;
    let decoded: SearchCursor = serde_json::from_slice(&bytes).map_err(|_| bad_cursor())?;
    match &decoded {
        SearchCursor::Ranked { q: text, .. }
        | SearchCursor::Rest { q: text, .. }
        | SearchCursor::Title { title: text, .. }
            if text.contains('\0') || text.chars().count() > 400 =>
        {
            Err(bad_cursor())
        }
        SearchCursor::Updated { at, .. } if !is_time(*at) => Err(bad_cursor()),
        _ => Ok(decoded),
    }
}

pub(super) fn bad_cursor() -> Error {
    Error::invalid("cursor", "is not the `next_cursor` of a page of this list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_client() {
        let id = Uuid::now_v7();
        for cursor in [
            SearchCursor::Ranked {
                score: 0.607_927_1,
                id,
                ranked: None,
                q: "a \"b\"".into(),
            },
            SearchCursor::Rest {
                ranked: None,
                id: Some(id),
                q: "ü".into(),
            },
            SearchCursor::Newest { id },
            SearchCursor::Updated { at: Utc::now(), id },
            SearchCursor::Title {
                title: "ß".into(),
                id,
            },
            SearchCursor::Rank {
                sort: PromptSort::Trending,
                bits: (-0.1_f64).to_bits(),
                id,
            },
        ] {
            assert_eq!(decode(&encode(&cursor)).unwrap(), cursor);
        }
        let odd = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        for wrong in [
            "",
            "!",
            &odd("{}"),
            &odd(r#"{"o":"newest","id":"1"}"#),
            &odd(r#"{"o":"title","title":"\u0000","id":"00000000-0000-7000-8000-000000000000"}"#),
        ] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
