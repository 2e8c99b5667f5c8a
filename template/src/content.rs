//! The content of a message: a text, or texts and images in order.
//!
//! An image is a URL: a data URL, or an address that the model's provider fetches. This crate never fetches one, nor
//! does the rest of the bank.

use std::{borrow::Cow, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::{Host, Url};
use utoipa::ToSchema;

/// Maximum number of images in a prompt, over all messages.
pub const MAX_IMAGES: usize = 16;
/// Maximum number of parts in a message.
pub const MAX_PARTS: usize = 64;
/// Maximum length of an image's address, in bytes.
const MAX_ADDRESS_BYTES: usize = 2_048;
/// The image formats that all providers accept.
const FORMATS: [&str; 4] = ["png", "jpeg", "gif", "webp"];

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "content must be a text, or a list of parts: {\"type\": \"text\", \"text\": …} or {\"type\": \"image\", \"url\": …}"
)]
pub enum Content {
    /// A text.
    Text(String),
    /// Texts and images, in order.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Part {
    /// A text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// `data:image/png;base64,…` (or jpeg, gif, webp), or an https URL that the provider of the model fetches.
        url: String,
    },
}

/// The location of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image<'a> {
    /// Inline, as base64.
    Data {
        /// `png`, `jpeg`, `gif` or `webp`.
        format: &'a str,
        /// Its bytes in base64.
        base64: &'a str,
    },
    /// At an https address.
    Address(&'a str),
}

impl Content {
    /// The texts, joined by line breaks, without the images.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Parts(_) => self.texts().collect::<Vec<_>>().join("\n").into(),
        }
    }

    /// Like [`Self::text`], with a one-line placeholder that identifies each image.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Parts(parts) => {
                let lines = parts.iter().map(|part| match part {
                    Part::Text { text } => Cow::from(text),
                    Part::Image { url } => mark(url).into(),
                });
                lines.collect::<Vec<_>>().join("\n").into()
            }
        }
    }

    /// Each text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match self {
            Self::Text(text) => (Some(text.as_str()), &[][..]),
            Self::Parts(parts) => (None, parts.as_slice()),
        };
        text.into_iter().chain(parts.iter().filter_map(Part::text))
    }

    /// The length of the texts, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.texts().map(str::len).sum()
    }

    /// The length of the texts and of the images' URLs, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text { text } => text.len(),
                    Part::Image { url } => url.len(),
                })
                .sum(),
        }
    }

    /// The number of images.
    #[must_use]
    pub fn images(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Parts(parts) => parts.iter().filter(|part| part.text().is_none()).count(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Part {
    /// The text, unless it is an image.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::Image { .. } => None,
        }
    }

    /// The source of the part: its text or its URL.
    pub(super) fn written(&self) -> &str {
        match self {
            Self::Text { text } => text,
            Self::Image { url } => url,
        }
    }
}

impl<'a> Image<'a> {
    /// The location of an image by its URL, which [`check_image`] must have accepted.
    #[must_use]
    pub fn of(url: &'a str) -> Self {
        let data = url.strip_prefix("data:image/");
        match data.and_then(|data| data.split_once(";base64,")) {
            Some((format, base64)) => Self::Data { format, base64 },
            None => Self::Address(url),
        }
    }
}

/// Rejects a URL that is not a valid image, with advice that never repeats the URL.
///
/// # Errors
/// What is wrong.
pub fn check_image(url: &str) -> Result<(), &'static str> {
    if let Image::Data { format, base64 } = Image::of(url) {
        if !FORMATS.contains(&format) {
            return Err("the image must be png, jpeg, gif or webp");
        }
        return match STANDARD.decode(base64) {
            Ok(bytes) if is_format(format, &bytes) => Ok(()),
            Ok(_) => Err("the image is not of the kind that its URL says"),
            Err(_) => Err("the image's data must be base64, with its `=` at the end"),
        };
    }
    if url.len() > MAX_ADDRESS_BYTES || !url.starts_with("https://") {
        return Err(
            "an image must be a data URL such as `data:image/png;base64,…` (png, jpeg, gif or webp) or an https URL of at most 2048 bytes",
        );
    }
    let Ok(address) = Url::parse(url) else {
        return Err("the image's address is no URL");
    };
    if !address.username().is_empty() || address.password().is_some() {
        return Err("the image's address must not hold a name or a password");
    }
    // Providers that a user runs may sit inside a private network, so they must not be made to fetch internal
    // addresses.
    match address.host() {
        Some(Host::Domain(domain)) if domain.trim_end_matches('.').contains('.') => Ok(()),
        _ => Err("the image's address must be at a public name such as `example.org`"),
    }
}

/// Whether the bytes start with the signature of this format.
fn is_format(format: &str, bytes: &[u8]) -> bool {
    match format {
        "png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "gif" => bytes.starts_with(b"GIF8"),
        _ => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
    }
}

/// A one-line placeholder that identifies an image.
fn mark(url: &str) -> String {
    match Image::of(url) {
        Image::Address(address) => format!("[image: {address}]"),
        Image::Data { format, base64 } => {
            let mut hash = String::new();
            for byte in &Sha256::digest(base64)[..4] {
                // Writing to a string cannot fail.
                let _ = write!(hash, "{byte:02x}");
            }
            format!("[image: {format}, {} bytes, {hash}]", base64.len() / 4 * 3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of one pixel.
    const PIXEL: &str =
        "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

    #[test]
    fn only_images_pass() {
        let check = |url: &str, expect: Option<&str>| match (check_image(url), expect) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.contains(part), "{url}: {error}"),
            (found, _) => panic!("{url}: {found:?}"),
        };
        check(PIXEL, None);
        check(&PIXEL.replace("gif", "png"), Some("not of the kind"));
        check(&PIXEL.replace("gif", "svg+xml"), Some("png, jpeg"));
        check(&PIXEL.replace("==", ""), Some("base64"));
        check(&PIXEL.replace("R0", "\"><script>"), Some("base64"));
        check("data:image/gif;base64,", Some("not of the kind"));
        check("data:text/html,<script>", Some("data URL"));
        check("data:image/gif,GIF8", Some("data URL"));
        check("https://example.org/a.png?size=1", None);
        check("http://example.org/a.png", Some("data URL"));
        check("javascript:alert(1)", Some("data URL"));
        check("file:///etc/passwd", Some("data URL"));
        check("", Some("data URL"));
        check("x", Some("data URL"));
        for inner in ["127.0.0.1", "[::1]", "0x7f.1", "localhost", "redis:6379"] {
            check(&format!("https://{inner}/a.png"), Some("public name"));
        }
        check("https://me:secret@example.org/a.png", Some("password"));
        check(
            &format!("https://example.org/{}", "a".repeat(2_048)),
            Some("2048"),
        );
    }

    #[test]
    fn an_image_is_marked_and_not_shown() {
        let content = Content::Parts(vec![
            Part::Text {
                text: "What is".into(),
            },
            Part::Image { url: PIXEL.into() },
            Part::Image {
                url: "https://example.org/a.png".into(),
            },
        ]);
        assert_eq!(content.text(), "What is");
        assert_eq!((content.text_bytes(), content.images()), (7, 2));
        let shown = content.shown();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "What is");
        assert!(lines[1].starts_with("[image: gif, 39 bytes, "), "{shown}");
        assert_eq!(lines[2], "[image: https://example.org/a.png]");
    }

    #[test]
    fn a_text_is_written_as_before() {
        let text = Content::from("hi");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"hi\"");
        let error = serde_json::from_str::<Content>("7")
            .unwrap_err()
            .to_string();
        assert!(error.contains("list of parts"), "{error}");
    }
}
