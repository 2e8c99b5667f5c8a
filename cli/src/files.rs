//! Reads files: those that the user names, and those in folders from untrusted sources.
//!
//! A downloaded folder must not make us read anything outside it: no path that leads out, no link, no device, no pipe,
//! and nothing endless. To avoid races, a file is opened without following links and without blocking, and checked when
//! it is open.

use std::{
    fs::File,
    io::{BufRead, Read},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    fd::OwnedFd,
    fs::{Dir, Mode, OFlags, openat},
    io::Errno,
};

/// Maximum length of a secret, name or password.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Maximum size of a benchmark's header, a prompt, or a list of settings or prices.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;
/// Maximum size of a file of items.
pub const MAX_ITEMS_BYTES: u64 = 1 << 30;
/// Maximum number of entries of a folder that are read.
const MAX_ENTRIES: usize = 100_000;

/// Reads a file that the user has named: of any type, but of limited size.
///
/// # Errors
/// It cannot be read, is not text, or is larger than `most_bytes`.
pub fn read_named(path: &Path, most_bytes: u64) -> anyhow::Result<String> {
    let what = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(what)?;
    read_bounded(file, most_bytes).with_context(what)
}

/// Reads input from a user or another program, which may be endless. A byte order mark at its start is left out.
///
/// # Errors
/// Reading fails, or the input is not text or longer than `most_bytes`.
pub fn read_bounded(source: impl Read, most_bytes: u64) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source.take(most_bytes + 1).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, most_bytes)?;
    let start = if bytes.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    String::from_utf8(bytes.split_off(start)).context("it is not text in UTF-8")
}

/// Reads one line of such input, without its line break.
///
/// # Errors
/// Those of [`read_bounded`].
pub fn read_line_bounded(source: impl BufRead, most_bytes: u64) -> anyhow::Result<String> {
    let mut line = Vec::new();
    source.take(most_bytes + 1).read_until(b'\n', &mut line)?;
    check_size(line.len() as u64, most_bytes)?;
    let line = String::from_utf8(line).context("it is not text in UTF-8")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Opens a file that the user has named, to be read more than once. A source that can be read only once, such as a
/// pipe, is first copied into an unnamed file.
///
/// # Errors
/// It cannot be read, or is larger than `most_bytes`.
pub fn open_named(path: &Path, most_bytes: u64) -> anyhow::Result<File> {
    let what = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(what)?;
    let metadata = file.metadata().with_context(what)?;
    if metadata.is_file() {
        check_size(metadata.len(), most_bytes).with_context(what)?;
        return Ok(file);
    }
    let mut copy = tempfile::tempfile().context("could not create a temporary file")?;
    let copied = std::io::copy(&mut file.take(most_bytes + 1), &mut copy).with_context(what)?;
    check_size(copied, most_bytes).with_context(what)?;
    Ok(copy)
}

/// A folder from an untrusted source.
pub struct ForeignFolder {
    folder: OwnedFd,
    path: PathBuf,
}

impl ForeignFolder {
    /// Opens the folder that the user has named.
    ///
    /// # Errors
    /// It does not exist, or is not a folder.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    /// A subfolder, if it exists.
    ///
    /// # Errors
    /// It is a link, or not a folder.
    pub fn folder(&self, name: &str) -> anyhow::Result<Option<Self>> {
        let path = self.path.join(name);
        match self.open_inside(name, OFlags::DIRECTORY) {
            Ok(folder) => Ok(Some(Self { folder, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refusal(error, &path)),
        }
    }

    /// The names of all entries, sorted.
    ///
    /// # Errors
    /// It cannot be read, or has too many entries.
    pub fn all_names(&self) -> anyhow::Result<Vec<String>> {
        let what = || format!("{} cannot be read", self.path.display());
        let mut names = Vec::new();
        for (index, entry) in Dir::read_from(&self.folder).with_context(what)?.enumerate() {
            ensure!(
                index < MAX_ENTRIES,
                "{} has more than {MAX_ENTRIES} entries",
                self.path.display()
            );
            let name = entry.with_context(what)?;
            let name = name.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether the folder has an entry of this name, of any type.
    pub fn has(&self, name: &str) -> bool {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(&self.folder, name, flags).is_ok()
    }

    /// Reads a file below the folder. `name` may contain folders, but cannot leave this one. `None` if there is none.
    ///
    /// # Errors
    /// The name leads out of the folder, the file is a link or not a regular file, larger than `most_bytes`, or not
    /// text.
    pub fn read(&self, name: &str, most_bytes: u64) -> anyhow::Result<Option<String>> {
        let Some(file) = self.open_file(name, most_bytes)? else {
            return Ok(None);
        };
        let what = || format!("{} cannot be read", self.path.join(name).display());
        read_bounded(file, most_bytes).with_context(what).map(Some)
    }

    /// Opens a file below the folder, as [`Self::read`] does. `None` if there is none.
    ///
    /// # Errors
    /// The name leads out of the folder, the file is a link or not a regular file, or larger than `most_bytes`.
    pub fn open_file(&self, name: &str, most_bytes: u64) -> anyhow::Result<Option<File>> {
        let shown = self.path.join(name);
        let parts: Option<Vec<&str>> = Path::new(name)
            .components()
            .map(|part| match part {
                Component::Normal(part) => part.to_str(),
                Component::CurDir => Some("."),
                _ => None,
            })
            .collect();
        let Some((file, folders)) = parts.as_deref().and_then(<[&str]>::split_last) else {
            bail!(
                "`{name}` must be the name of a file below {}",
                self.path.display()
            );
        };
        let mut inner: Option<Self> = None;
        for part in folders {
            let folder = inner.as_ref().unwrap_or(self);
            let Some(next) = folder.folder(part)? else {
                return Ok(None);
            };
            inner = Some(next);
        }
        let folder = inner.as_ref().unwrap_or(self);
        let file = match folder.open_inside(file, OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(refusal(error, &shown)),
        };
        let what = || format!("{} cannot be read", shown.display());
        let metadata = file.metadata().with_context(what)?;
        ensure!(
            metadata.is_file(),
            "{} is not a regular file, and nothing else is read there",
            shown.display()
        );
        check_size(metadata.len(), most_bytes).with_context(what)?;
        Ok(Some(file))
    }

    fn open_inside(&self, name: &str, more: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        openat(&self.folder, name, flags, Mode::empty())
    }
}

fn refusal(error: Errno, path: &Path) -> anyhow::Error {
    let shown = path.display();
    match error {
        // Linux reports LOOP for a link, and NOTDIR for a link where a folder is expected; BSDs report MLINK.
        Errno::LOOP | Errno::MLINK => {
            anyhow::anyhow!("{shown} is a link, which is not followed; copy its target instead")
        }
        Errno::NOTDIR => anyhow::anyhow!("{shown} is a link or not a folder, and is not read"),
        // A socket, or a device without a driver.
        Errno::NXIO => {
            anyhow::anyhow!("{shown} is not a regular file, and nothing else is read there")
        }
        error => anyhow::Error::new(std::io::Error::from(error))
            .context(format!("{shown} cannot be read")),
    }
}

fn check_size(bytes: u64, most_bytes: u64) -> anyhow::Result<()> {
    let (most, unit) = match most_bytes {
        0..1024 => (most_bytes, "bytes"),
        1024..1_048_576 => (most_bytes >> 10, "KiB"),
        _ => (most_bytes >> 20, "MiB"),
    };
    ensure!(bytes <= most_bytes, "it is larger than {most} {unit}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    /// A folder beside a secret.
    fn site() -> (tempfile::TempDir, ForeignFolder) {
        let site = tempfile::tempdir().unwrap();
        let folder = site.path().join("folder");
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(site.path().join("secret"), "a secret").unwrap();
        std::fs::write(folder.join("plain"), "plain").unwrap();
        std::fs::write(folder.join("inner/plain"), "inner").unwrap();
        std::fs::write(folder.join("large"), "x".repeat(101)).unwrap();
        std::fs::write(folder.join("bytes"), [0xff]).unwrap();
        symlink("../secret", folder.join("link")).unwrap();
        symlink("plain", folder.join("inside")).unwrap();
        symlink("..", folder.join("out")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        drop(UnixListener::bind(folder.join("socket")).unwrap());
        let folder = ForeignFolder::open(&folder).unwrap();
        (site, folder)
    }

    #[test]
    fn nothing_but_plain_files_below_a_folder_is_read() {
        let (site, folder) = site();
        let read = |name: &str| folder.read(name, 100);
        assert_eq!(read("plain").unwrap().unwrap(), "plain");
        assert_eq!(read("./plain").unwrap().unwrap(), "plain");
        assert_eq!(read("inner/plain").unwrap().unwrap(), "inner");
        assert_eq!(read("missing").unwrap(), None);
        assert_eq!(read("missing/plain").unwrap(), None);
        let absolute = site.path().join("secret");
        for (name, reason) in [
            (absolute.to_str().unwrap(), "below"),
            ("../secret", "below"),
            ("inner/../../secret", "below"),
            ("inner/../plain", "below"),
            ("", "below"),
            ("..", "below"),
            ("link", "link"),
            ("inside", "link"),
            ("zero", "link"),
            ("out/secret", "link"),
            ("inner", "regular file"),
            ("fifo", "regular file"),
            ("socket", "regular file"),
            ("plain/x", "not a folder"),
            ("large", "larger"),
            ("bytes", "UTF-8"),
        ] {
            let error = format!("{:#}", read(name).unwrap_err());
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!(folder.folder("out").is_err());
        assert!(folder.folder("none").unwrap().is_none());
    }

    #[test]
    fn a_named_file_may_be_anything_with_an_end() {
        let (site, _) = site();
        let link = site.path().join("folder/link");
        assert_eq!(read_named(&link, 100).unwrap(), "a secret");
        let zero = Path::new("/dev/zero");
        for endless in [
            read_named(zero, 100).unwrap_err(),
            open_named(zero, 100).unwrap_err(),
            open_named(&site.path().join("folder/large"), 100).unwrap_err(),
        ] {
            assert!(format!("{endless:#}").contains("larger"), "{endless:#}");
        }
        open_named(&link, 100).unwrap();
    }

    #[test]
    fn f24_a_byte_order_mark_is_left_out() {
        let read = read_bounded("\u{feff}{}\u{feff}".as_bytes(), 100).unwrap();
        assert_eq!(read, "{}\u{feff}");
    }

    #[test]
    fn a_line_has_an_end() {
        let line = |text: &str| read_line_bounded(text.as_bytes(), 5);
        assert_eq!(line("a b\r\nmore").unwrap(), "a b");
        assert_eq!(line("abcde").unwrap(), "abcde");
        assert_eq!(line("").unwrap(), "");
        let error = line("abcdef").unwrap_err().to_string();
        assert_eq!(error, "it is larger than 5 bytes");
        let error = read_bounded(std::io::repeat(b'x'), MAX_SECRET_BYTES).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 64 KiB");
    }
}
