//! Writes files that the user names, completely or not at all.
//!
//! A file is written next to its target and renamed when it is complete. The folder may contain entries from others:
//! there, no link is followed, and only regular files are replaced.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use tempfile::NamedTempFile;

/// A file that is being written. It is discarded without [`NewFile::keep`].
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A temporary file next to the target.
    Beside(NamedTempFile),
    /// A device or a pipe, which is written in place.
    Inside(File),
}

impl NewFile {
    /// Creates a file at the path that the user has named. A link is followed: its target is written, and the link is
    /// kept.
    ///
    /// # Errors
    /// The folder does not exist, or is not writable.
    pub fn at(path: &Path) -> anyhow::Result<Self> {
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if std::fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
            let opened = OpenOptions::new().write(true).open(&target);
            let file = opened.with_context(|| unwritable(path))?;
            let place = Place::Inside(file);
            return Ok(Self { target, place });
        }
        Self::beside(target)
    }

    /// Creates a file of this name in a folder that the user has named. A link of this name is replaced, not followed.
    ///
    /// # Errors
    /// The name is taken by something other than a regular file, or the folder is not writable.
    pub fn inside(folder: &Path, name: &OsStr) -> anyhow::Result<Self> {
        let target = folder.join(name);
        if let Ok(found) = std::fs::symlink_metadata(&target) {
            ensure!(
                found.is_file() || found.is_symlink(),
                "{} is not a regular file and is not replaced; move it, or name another folder",
                target.display()
            );
        }
        Self::beside(target)
    }

    /// Moves the file to its target.
    ///
    /// # Errors
    /// It cannot be written completely.
    pub fn keep(mut self) -> anyhow::Result<()> {
        let wrong = || unwritable(&self.target);
        match &mut self.place {
            Place::Inside(file) => file.flush().with_context(wrong)?,
            Place::Beside(file) => file.flush().with_context(wrong)?,
        }
        if let Place::Beside(file) = self.place {
            file.persist(&self.target).with_context(wrong)?;
        }
        Ok(())
    }

    fn beside(target: PathBuf) -> anyhow::Result<Self> {
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // With ordinary permissions, unlike temporary files, which only their owner can read.
        let file = tempfile::Builder::new()
            .prefix(".opb-new-")
            .make_in(folder, |path| File::create_new(path))
            .with_context(|| unwritable(&target))?;
        let place = Place::Beside(file);
        Ok(Self { target, place })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Beside(file) => file.write(bytes),
            Place::Inside(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Beside(file) => file.flush(),
            Place::Inside(file) => file.flush(),
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(file: anyhow::Result<NewFile>, text: &str) -> anyhow::Result<()> {
        let mut file = file?;
        file.write_all(text.as_bytes())?;
        file.keep()
    }

    #[test]
    fn no_link_of_a_folder_is_followed() {
        let site = tempfile::tempdir().unwrap();
        let folder = site.path().join("folder");
        let (outside, planted) = (site.path().join("outside"), folder.join("planted"));
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        std::fs::write(&outside, "mine").unwrap();
        symlink(&outside, &planted).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        for name in ["planted", "dangling", "fresh"] {
            write(NewFile::inside(&folder, name.as_ref()), "new").unwrap();
            let path = folder.join(name);
            assert!(path.symlink_metadata().unwrap().is_file(), "{name}");
            assert_eq!(std::fs::read_to_string(path).unwrap(), "new");
        }
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
        let error = write(NewFile::inside(&folder, "inner".as_ref()), "new").unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            4,
            "nothing else"
        );
    }

    #[test]
    fn a_file_is_whole_or_stays_what_it_was() {
        let site = tempfile::tempdir().unwrap();
        let (file, link) = (site.path().join("file"), site.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        let mut broken = NewFile::at(&link).unwrap();
        broken.write_all(b"half").unwrap();
        drop(broken);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
        write(NewFile::at(&link), "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        write(NewFile::at(Path::new("/dev/null")), "new").unwrap();
    }
}
