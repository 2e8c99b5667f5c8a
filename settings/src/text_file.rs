//! Small files of text.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use anyhow::Context as _;
use opb_core::sealing::require_private;

/// Reads the text of a small file that holds a secret (`what`: which), of at most `max_bytes`. It may be a pipe or a device.
///
/// # Errors
/// Those of [`read_text`]; the file is this user's, and can be read by others ([`require_private`]).
pub fn read_secret_text(path: &Path, what: &str, max_bytes: u64) -> anyhow::Result<String> {
    let unreadable = || format!("the file of the {what}, {}, cannot be read", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let metadata = file.metadata().with_context(unreadable)?;
    if metadata.is_file() {
        require_private(path, what, &metadata)?;
    }
    read_bounded(file, max_bytes).with_context(unreadable)
}

/// The text of a small file, which may be a pipe or a device, of at most `max_bytes`.
///
/// # Errors
/// It cannot be read, is larger, or is no text.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    read_bounded(File::open(path)?, max_bytes)
}

fn read_bounded(file: File, max_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    if bytes.len() as u64 > max_bytes {
        let most = max_bytes >> 10;
        return Err(wrong(format!("it is larger than {most} KiB")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not text in UTF-8".to_owned()))
}
