//! Line ends of files: a text is compared and sent as an editor shows it, whichever system saved it. Pure.

use std::borrow::Cow;

/// The text with `\n` for every line end.
pub(super) fn without_carriage_returns(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text of a file without byte order mark, and with `\n` for the line ends of Windows. Below front matter that was
/// saved with `\n`, as we write it, a carriage return belongs to the prompt and stays.
pub(super) fn as_edited(text: &str, has_front_matter: bool) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.split('\n').next().unwrap_or_default();
    if has_front_matter && first.trim_end() == "---" && !first.ends_with('\r') {
        return Cow::Borrowed(text);
    }
    if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}
