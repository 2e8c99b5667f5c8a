//! The layout of the data folder, and its passwords.
//!
//! ```text
//! opb.lock            held while an opb uses the folder; contains its process id
//! postgres/           the server's data
//! postgres.new/       the same while it is being created
//! postgres-password   the password of the role `opb`, which the bank uses
//! postgres-admin-password   that of the superuser `opb_admin`
//! postgres-server/    downloaded servers, one folder per version
//! postgres.log        the server's log; postgres.log.1 is the previous one
//! ```

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::Error;
use super::account::{self, Account};
use super::log::Log;

/// A data folder, by its absolute path.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder itself.
    pub root: PathBuf,
}

impl Folder {
    /// Creates the folder if it is missing; only its owner can list it.
    pub fn create(data: &Path) -> Result<Self, Error> {
        let what = || format!("create the data folder {}", data.display());
        if !data.exists() {
            if let Some(parent) = data.parent() {
                fs::create_dir_all(parent).map_err(Error::io(what()))?;
            }
            // Root's server runs as another user, who needs to enter the folder; its contents stay private.
            let mode = if account::is_root() { 0o711 } else { 0o700 };
            DirBuilder::new()
                .mode(mode)
                .create(data)
                .or_else(exists_is_fine)
                .map_err(Error::io(what()))?;
            fs::set_permissions(data, Permissions::from_mode(mode)).map_err(Error::io(what()))?;
        }
        Ok(Self {
            root: data.canonicalize().map_err(Error::io(what()))?,
        })
    }

    /// The file of the folder's [`FolderLock`](crate::folder_lock::FolderLock).
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("opb.lock")
    }

    /// The server's data.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Where the data are created before they are moved into place.
    pub fn new_cluster(&self) -> PathBuf {
        self.root.join("postgres.new")
    }

    /// The folder of downloaded servers.
    pub fn servers(&self) -> PathBuf {
        self.root.join("postgres-server")
    }

    /// The server's log.
    pub fn log(&self) -> Log {
        Log {
            path: self.root.join("postgres.log"),
        }
    }

    /// The major version of the server that created the data; `None` if there are no data yet.
    pub fn version(&self) -> Result<Option<u32>, Error> {
        let cluster = self.cluster();
        match fs::read_to_string(cluster.join("PG_VERSION")) {
            Ok(text) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| Error::NotData { folder: cluster }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let is_free = fs::read_dir(&cluster)
                    .map_or(!cluster.exists(), |mut entries| entries.next().is_none());
                if is_free {
                    Ok(None)
                } else {
                    Err(Error::NotData { folder: cluster })
                }
            }
            Err(error) => Err(Error::io(format!("read {}", cluster.display()))(error)),
        }
    }

    /// The file with the password of the role `opb`.
    pub fn password_file(&self) -> PathBuf {
        self.root.join("postgres-password")
    }

    /// The file with the password of the role `opb_admin`.
    pub fn admin_password_file(&self) -> PathBuf {
        self.root.join("postgres-admin-password")
    }

    /// The login of the bank's role.
    pub fn bank(&self) -> Result<Login, Error> {
        Login::read("opb", self.password_file())
    }

    /// The login of the superuser.
    pub fn admin(&self) -> Result<Login, Error> {
        Login::read("opb_admin", self.admin_password_file())
    }

    /// The bank's database URL for the server on `port`.
    pub fn database_url(&self, port: u16) -> Result<SecretString, Error> {
        Ok(self.bank()?.url(port, "opb"))
    }
}

/// Creates a password file if it is missing; after a crash it is complete or absent.
pub fn create_password(path: &Path, account: &Account) -> Result<(), Error> {
    if path.exists() {
        return account.give(path);
    }
    let what = || format!("write {}", path.display());
    let new = path.with_extension("new");
    fs::remove_file(&new)
        .or_else(missing_is_fine)
        .map_err(Error::io(what()))?;
    // Two random UUIDs have 244 random bits and need no escaping in a URL.
    let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(Error::io(what()))?;
    file.write_all(password.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Error::io(what()))?;
    account.give(&new)?;
    fs::rename(&new, path).map_err(Error::io(what()))
}

/// A role of the server and its password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The role.
    pub user: &'static str,
    /// Its password.
    pub password: SecretString,
    /// The file of the password.
    pub file: PathBuf,
}

impl Login {
    fn read(user: &'static str, file: PathBuf) -> Result<Self, Error> {
        match fs::read_to_string(&file) {
            Ok(password) => Ok(Self {
                user,
                password: password.trim().to_owned().into(),
                file,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::PasswordMissing { file })
            }
            Err(error) => Err(Error::io(format!("read {}", file.display()))(error)),
        }
    }

    /// The URL of a database on the server on `port`, with the password.
    pub fn url(&self, port: u16, database: &str) -> SecretString {
        // Connections never leave this machine, so negotiating encryption is not worth a round trip.
        format!(
            "postgres://{}:{}@127.0.0.1:{port}/{database}?sslmode=disable",
            self.user,
            self.password.expose_secret()
        )
        .into()
    }
}

/// Treats a missing file as success.
pub fn missing_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn exists_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}
