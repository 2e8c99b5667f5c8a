//! Split surrogate pairs: JSON may contain half of a surrogate pair (`"\\ud83d"`), where a token ended within a
//! character or a response was cut off. Two consecutive halves are joined to a character; a single one is invalid.

/// The first mark: marks are 2,048 private-use code points, one for each surrogate.
const FIRST_MARK: u32 = 0x0010_f800;
const FIRST_HIGH: u32 = 0xd800;
const FIRST_LOW: u32 = 0xdc00;
const LAST_LOW: u32 = 0xdfff;

/// Returns the JSON with each half replaced by a mark, and each invalid UTF-8 sequence by U+FFFD. `None` if there are
/// none.
pub(super) fn mark(data: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(data);
    let mut marked = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    let mut has_found = text.as_bytes() != data;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        marked.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(high), Some(low)) if is_high(high) && is_low(low) => 12,
            (Some(half), _) if is_high(half) || is_low(half) => {
                marked.extend(char::from_u32(FIRST_MARK + half - FIRST_HIGH));
                has_found = true;
                rest = &escape[6..];
                continue;
            }
            // A backslash and the escaped character; the rest follows unchanged.
            _ => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        marked.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    marked.push_str(rest);
    has_found.then(|| marked.into_bytes())
}

/// Joins the marks of a text to characters; single halves become U+FFFD.
pub(super) fn join(text: &str) -> String {
    let half = |character: char| {
        let half = u32::from(character).checked_sub(FIRST_MARK)? + FIRST_HIGH;
        (half <= LAST_LOW).then_some(half)
    };
    let mut joined = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(high) = half(character) else {
            joined.push(character);
            continue;
        };
        let low = characters.peek().copied().and_then(half);
        let pair = low.filter(|low| is_high(high) && is_low(*low));
        let whole = pair.and_then(|low| {
            char::from_u32(0x1_0000 + ((high - FIRST_HIGH) << 10) + (low - FIRST_LOW))
        });
        if whole.is_some() {
            characters.next();
        }
        joined.push(whole.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    joined
}

/// The code unit of an escape such as `\u00e4` at the start of a text.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

fn is_high(unit: u32) -> bool {
    (FIRST_HIGH..FIRST_LOW).contains(&unit)
}

fn is_low(unit: u32) -> bool {
    (FIRST_LOW..=LAST_LOW).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(json: &[u8]) -> Option<String> {
        let marked = mark(json)?;
        let text: String = serde_json::from_slice(&marked).unwrap();
        Some(join(&text))
    }

    #[test]
    fn halves_are_joined_or_replaced() {
        for (json, expect) in [
            (r#""ok \ud83d""#, Some("ok \u{fffd}")),
            (r#""\ude00 late""#, Some("\u{fffd} late")),
            (r#""\ud83d\ud83d\ude00""#, Some("\u{fffd}\u{1f600}")),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""\u00e4\n\"é""#, None),
            (r#""\ud83""#, None),
        ] {
            assert_eq!(mended(json.as_bytes()).as_deref(), expect, "{json}");
        }
        assert_eq!(mended(b"\"a\xffb\"").as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn halves_of_two_pieces_are_one_character() {
        let pieces = [r#""a\ud83d""#, r#""\ude00b""#];
        let text: String = pieces
            .iter()
            .map(|piece| mark(piece.as_bytes()).unwrap())
            .map(|piece| serde_json::from_slice::<String>(&piece).unwrap())
            .collect();
        assert_eq!(join(&text), "a\u{1f600}b");
    }
}
