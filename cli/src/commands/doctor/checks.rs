//! The checks of this machine. Each checks one thing and changes nothing.

use std::{net::SocketAddr, path::Path};

use opb_core::{database, sealed::FoundKey, sealing};
use secrecy::SecretString;
use sqlx::PgPool;

use super::{Check, Verdict};
use crate::{child, data_folder::DataFolder, postgres, text};

/// The supported versions of Postgres, as `server_version_num`.
const VERSIONS: std::ops::Range<i32> = 150_000..190_000;
/// Less free space than this is a warning, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// With less free space than this nothing more can be stored, in bytes.
const NO_SPACE: u64 = 100 << 20;

/// An invalid configuration file never gets here: parsing the command line rejects it.
pub(super) fn check_config(config: Option<&Path>) -> Check {
    match config {
        Some(path) => Check::ok("configuration", format!("{} is valid", path.display())),
        None => Check::ok(
            "configuration",
            "no file; the command line and the environment are used",
        ),
    }
}

/// The data folder, and whether an embedded server could use it.
pub(super) fn check_folder(folder: &DataFolder, is_embedded: bool) -> Check {
    let path = folder.path();
    let shown = path.display();
    let fail = |message: String, mend: &str| {
        let mend = format!("{mend}, or choose another folder with --data");
        Check::fail("data folder", message, mend)
    };
    let is_there = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return fail(format!("{shown}: {error}"), "make it accessible"),
        Ok(metadata) if !metadata.is_dir() => {
            return fail(
                format!("{shown} is not a folder"),
                "move it to another place",
            );
        }
        Ok(_) => true,
    };
    // A missing folder is created in the nearest existing one above it.
    let place = path.ancestors().find(|place| place.exists());
    let place = place.unwrap_or(path);
    if let Err(error) = tempfile::tempfile_in(place) {
        let message = if is_there {
            format!("{shown} is not writable: {error}")
        } else {
            format!("{shown} cannot be created in {}: {error}", place.display())
        };
        return fail(message, "run opb as the user who owns it");
    }
    if let Some(lock) = folder.closed_lock() {
        let message = format!("{} belongs to another user", lock.display());
        return fail(message, "run opb as that user");
    }
    if is_embedded && let Err(error) = postgres::check_data_folder(path) {
        return Check::fail("data folder", error.to_string(), "see the message");
    }
    Check::ok(
        "data folder",
        if is_there {
            format!("{shown} exists and is writable")
        } else {
            format!("{shown} does not exist yet; `opb up` creates it")
        },
    )
}

/// The address that `opb up` would listen on.
pub(super) fn check_address(address: SocketAddr) -> Check {
    match opb_api::check_address(address) {
        Ok(()) => Check::ok("address", format!("{address} is free")),
        Err(error) => Check::fail("address", error.to_string(), "see the message"),
    }
}

/// The permissions of files that only their owner may read.
pub(super) fn check_secrets(folder: &DataFolder) -> Vec<Check> {
    let files = [
        (folder.master_key_file(), "master key"),
        (folder.api_key_file(), "API key"),
    ];
    let mut checks = Vec::new();
    for (file, what) in files {
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if let Err(error) = sealing::require_private(&file, what, &metadata) {
            checks.push(Check::fail(
                "secrets",
                error.to_string(),
                format!("chmod 600 {}", file.display()),
            ));
        }
    }
    checks
}

pub(super) async fn check_disk(folder: &DataFolder) -> Check {
    // The folder may not exist yet: the disk on which it will be counts.
    let Some(place) = folder.path().ancestors().find(|place| place.exists()) else {
        return Check::warn(
            "disk",
            "the free space is unknown",
            "check the path of the data folder",
        );
    };
    let output = child::awaited("df").arg("-Pk").arg(place).output().await;
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let kibibytes = text
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let Some(bytes) = kibibytes.map(|kibibytes| kibibytes << 10) else {
        return Check::warn("disk", "the free space is unknown", "look at it with: df");
    };
    let mebibytes = bytes >> 20;
    let message = format!(
        "{}.{} GiB are free",
        mebibytes / 1024,
        mebibytes % 1024 * 10 / 1024
    );
    if bytes < NO_SPACE {
        return Check::fail(
            "disk",
            message,
            "free some space: Postgres stops when the disk is full",
        );
    }
    if bytes < LITTLE_SPACE {
        return Check::warn(
            "disk",
            message,
            "free some space, or choose a folder on another disk with --data",
        );
    }
    Check::ok("disk", message)
}

/// The programs of an embedded Postgres.
pub(super) fn check_programs(folder: &DataFolder) -> Check {
    match postgres::installed_version(folder.path()) {
        Ok(Some((version, programs))) => Check::ok(
            "postgres",
            format!("embedded, version {version} from {}", programs.display()),
        ),
        Ok(None) => Check::warn(
            "postgres",
            "no Postgres is installed; `opb up` will download one",
            "install it (on Debian: apt-get install postgresql), or set DATABASE_URL",
        ),
        Err(error) => Check::fail("postgres", error.to_string(), "see the message"),
    }
}

/// The user's own Postgres server.
pub(super) async fn check_database(
    url: &SecretString,
    password: Option<&Path>,
    key: Option<&FoundKey>,
) -> Vec<Check> {
    let connected = async {
        let url = opb_settings::with_password(url, password)?;
        database::connect(&url, 1, "opb doctor").await
    };
    let pool = match connected.await {
        Ok(pool) => pool,
        Err(error) => {
            let mend = "check the address, the password and whether the server runs";
            return vec![Check::fail("database", format!("{error:#}"), mend)];
        }
    };
    let mut checks = vec![check_version(&pool).await, check_migrated(&pool).await];
    let is_migrated = checks.iter().all(|check| check.verdict == Verdict::Ok);
    if let Some(key) = key.filter(|_| is_migrated)
        && let Err(error) = key.check(&pool).await
    {
        checks.push(Check::fail(
            "master key",
            error.to_string(),
            "see the message",
        ));
    }
    checks
}

async fn check_version(pool: &PgPool) -> Check {
    // Not a checked query: it involves none of our tables.
    let asked = sqlx::query_as::<_, (i32, String)>(
        "select current_setting('server_version_num')::int, current_setting('server_version')",
    );
    match asked.fetch_one(pool).await {
        Ok((number, version)) if VERSIONS.contains(&number) => {
            Check::ok("database", format!("Postgres {}", text::plain(&version)))
        }
        Ok((_, version)) => Check::fail(
            "database",
            format!("Postgres {} is not supported", text::plain(&version)),
            "use a server of version 15, 16, 17 or 18",
        ),
        Err(error) => Check::fail("database", error.to_string(), "check the server's log"),
    }
}

async fn check_migrated(pool: &PgPool) -> Check {
    if let Err(error) = database::require_own_version(pool).await {
        return Check::fail("schema", format!("{error:#}"), "see the message");
    }
    let migrated = async {
        let mut conn = pool.acquire().await.map_err(opb_core::Error::from)?;
        database::is_migrated(&mut conn).await
    };
    match migrated.await {
        Ok(true) => Check::ok("schema", "up to date"),
        Ok(false) => Check::fail("schema", "older than this program", "opb migrate"),
        Err(error) => Check::fail(
            "schema",
            error.to_string(),
            "check that the user may read the database",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn folders_and_disks_are_looked_at() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path()));
        assert_eq!(check_folder(&folder, true).verdict, Verdict::Ok);
        assert_ne!(check_disk(&folder).await.verdict, Verdict::Fail);
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            check_folder(&DataFolder::new(Some(&file)), true).verdict,
            Verdict::Fail
        );
        let below = DataFolder::new(Some(Path::new("/proc/nothing/data")));
        let check = check_folder(&below, true);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(
            check.message.contains("cannot be created"),
            "{}",
            check.message
        );
    }
}
