//! Paging of lists: `?cursor=&limit=`. A cursor is opaque to the client.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use opb_core::{paging::Page, runs::EvaluationKey};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::problem::{ApiError, Result};

/// Maximum number of entries on a page.
const MAX_LIMIT: i64 = 100;
/// Number of entries on a page when the request does not set a limit.
const DEFAULT_LIMIT: i64 = 50;

/// The page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `next_cursor` of the previous page; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

impl PageQuery {
    /// The id in the cursor, and the limit.
    pub(crate) fn by_id(&self) -> Result<(Option<Uuid>, i64)> {
        let id = self.cursor.as_deref().map(Uuid::try_parse).transpose();
        Ok((id.map_err(|_| bad_cursor())?, check_limit(self.limit)?))
    }

    /// The number in the cursor, and the limit.
    pub(crate) fn by_number(&self) -> Result<(Option<i64>, i64)> {
        let number = self.cursor.as_deref().map(str::parse).transpose();
        Ok((number.map_err(|_| bad_cursor())?, check_limit(self.limit)?))
    }

    /// Cuts the page out of a list that is short enough to be read whole.
    pub(crate) fn cut<T: Serialize>(
        &self,
        list: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Page<T>> {
        let limit = check_limit(self.limit)?;
        let first = match &self.cursor {
            None => 0,
            Some(wanted) => list
                .iter()
                .position(|entry| cursor(entry) == *wanted)
                .map(|position| position + 1)
                .ok_or_else(bad_cursor)?,
        };
        let rest = list.into_iter().skip(first).collect();
        Ok(Page::cut(rest, limit, cursor))
    }
}

/// The limit, if it is valid.
pub(crate) fn check_limit(limit: Option<i64>) -> Result<i64> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("must be between 1 and {MAX_LIMIT}");
    Err(ApiError::invalid("limit", message))
}

/// The cursor of an evaluation.
pub(crate) fn encode_key(key: EvaluationKey) -> String {
    let text = format!("{}.{}.{}.{}", key.item, key.repeat, key.prompt, key.model);
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// The evaluation of a cursor.
pub(crate) fn decode_key(cursor: &str) -> Result<EvaluationKey> {
    let parse = || {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.split('.');
        let key = EvaluationKey {
            item: parts.next()?.parse().ok()?,
            repeat: parts.next()?.parse().ok()?,
            prompt: parts.next()?.parse().ok()?,
            model: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(key)
    };
    parse().ok_or_else(bad_cursor)
}

/// The error for a cursor that is not one of this list's.
pub(crate) fn bad_cursor() -> ApiError {
    ApiError::invalid("cursor", "is not the `next_cursor` of a page of this list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_cursor() {
        let key = EvaluationKey {
            item: 99_999,
            repeat: 3,
            prompt: 2,
            model: 1,
        };
        assert_eq!(decode_key(&encode_key(key)).unwrap(), key);
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        for wrong in [
            "",
            "!",
            &encode("1.2.3"),
            &encode("1.2.3.4.5"),
            &encode("1.2.3.x"),
            &encode("1.2.3.99999"),
        ] {
            assert!(decode_key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_of_a_whole_list_follow_each_other() {
        let check = |cursor: Option<&str>, limit, expect: Option<(&[i32], Option<&str>)>| {
            let query = PageQuery {
                cursor: cursor.map(Into::into),
                limit,
            };
            let page = query.cut(vec![1, 2, 3], i32::to_string).ok();
            let page = page.map(|page| (page.items, page.next_cursor));
            let expect = expect.map(|(items, next)| (items.to_vec(), next.map(Into::into)));
            assert_eq!(page, expect, "{cursor:?} {limit:?}");
        };
        check(None, None, Some((&[1, 2, 3], None)));
        check(None, Some(2), Some((&[1, 2], Some("2"))));
        check(Some("2"), Some(2), Some((&[3], None)));
        check(Some("3"), Some(2), Some((&[], None)));
        check(Some("4"), Some(2), None);
        check(None, Some(0), None);
        check(None, Some(101), None);
    }
}
