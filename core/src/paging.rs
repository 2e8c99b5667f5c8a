//! Pages of lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Maximum size of the entries of a page, in bytes of JSON; a page always has at least one entry, of any size.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// A page of a list, in the order of the list, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Pass it as `?cursor=` to get the next page; absent on the last page.
    pub next_cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    /// Cuts a list that was read with `limit` + 1 entries into a page, which is shorter if its entries are large.
    pub fn cut(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let keep = fitting(&items).min(limit);
        let more = items.len() > keep;
        items.truncate(keep);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}

/// Number of leading entries that fit into [`MAX_PAGE_BYTES`]; at least one, if there is one.
pub fn fitting<T: Serialize>(entries: &[T]) -> usize {
    fitting_in(entries, MAX_PAGE_BYTES)
}

/// Number of leading entries that fit into `max_bytes` of JSON; at least one, if there is one.
pub(crate) fn fitting_in<T: Serialize>(entries: &[T], max_bytes: usize) -> usize {
    let mut left = max_bytes;
    let fit = |entry: &&T| {
        left = left.saturating_sub(json_bytes(entry));
        left > 0
    };
    entries
        .iter()
        .take_while(fit)
        .count()
        .max(entries.len().min(1))
}

/// The length of a value as JSON, without storing the JSON.
pub fn json_bytes(value: &impl Serialize) -> usize {
    let mut counted = Counter(0);
    // A value that does not serialise fails again, and is reported, when the response is written.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_limit_and_at_its_bytes_and_has_one_entry_at_least() {
        let check = |lengths: &[usize], limit, expect: usize, more: bool| {
            let entries: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let page = Page::cut(entries, limit, |entry| entry.len().to_string());
            let found = (page.items.len(), page.next_cursor.is_some());
            assert_eq!(found, (expect, more), "{lengths:?} {limit}");
        };
        check(&[], 2, 0, false);
        check(&[1, 2], 2, 2, false);
        check(&[1, 2, 3], 2, 2, true);
        check(&[400_000; 4], 4, 2, true);
        check(&[9_000_000], 4, 1, false);
        check(&[9_000_000, 1], 4, 1, true);
    }
}
