//! Creates the server's data folder, once.
//!
//! It is created under another name and then moved, so after a crash it is complete or absent.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;

use tracing::info;

use super::Error;
use super::account::Account;
use super::binaries::Binaries;
use super::folder::{Folder, create_password, missing_is_fine};
use super::log::last_lines;

/// Sorting by bytes is fast and independent of the system; upper and lower case cover all of Unicode.
///
/// The second choice, for systems without that locale, converts the case of ASCII letters only.
const LOCALES: [&[&str]; 2] = [&["--locale=C", "--lc-ctype=C.UTF-8"], &["--locale=C"]];

/// The same with the locale provider that is built into Postgres 17 and later.
const BUILTIN_LOCALES: [&[&str]; 1] = [&[
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
]];

/// Creates the data folder with the superuser `opb_admin`; every connection requires a password.
pub fn create(folder: &Folder, account: &Account, binaries: &Binaries) -> Result<(), Error> {
    info!(postgres.data = %folder.cluster().display(), "creating the Postgres data folder");
    create_password(&folder.password_file(), account)?;
    create_password(&folder.admin_password_file(), account)?;
    let locales: &[&[&str]] = if binaries.major >= 17 {
        &BUILTIN_LOCALES
    } else {
        &LOCALES
    };
    let mut result = Ok(());
    for locale in locales {
        result = run(folder, account, binaries, locale);
        if result.is_ok() {
            break;
        }
    }
    result?;
    let what = || format!("move the new data to {}", folder.cluster().display());
    fs::rename(folder.new_cluster(), folder.cluster()).map_err(Error::io(what()))?;
    File::open(&folder.root)
        .and_then(|root| root.sync_all())
        .map_err(Error::io(what()))
}

fn run(
    folder: &Folder,
    account: &Account,
    binaries: &Binaries,
    locale: &[&str],
) -> Result<(), Error> {
    let new = folder.new_cluster();
    let what = || format!("make {}", new.display());
    fs::remove_dir_all(&new)
        .or_else(missing_is_fine)
        .map_err(Error::io(what()))?;
    DirBuilder::new()
        .mode(0o700)
        .create(&new)
        .map_err(Error::io(what()))?;
    account.give(&new)?;

    let program = binaries.program("initdb");
    let output = account
        .command(&program)
        .args([
            "--username=opb_admin",
            "--encoding=UTF8",
            "--auth-host=scram-sha-256",
            "--auth-local=scram-sha-256",
        ])
        .args(locale)
        .arg("--pwfile")
        .arg(folder.admin_password_file())
        .arg("--pgdata")
        .arg(&new)
        .output()
        .map_err(Error::io(format!("run {}", program.display())))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Initdb {
        log: last_lines(&[output.stdout, output.stderr].concat()),
    })
}
