//! The layout of the data folder, and its password.
//!
//! ```text
//! opb.lock            held while an opb uses the folder; says which process
//! postgres/           the data of the server
//! postgres.new/       the same while it is being made
//! postgres-password   the password of the role `opb`
//! postgres-server/    downloaded servers, one folder per version
//! postgres.log        what the server says; postgres.log.1 is the one before
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
    /// Makes the folder where it is missing; only its owner can look inside.
    pub fn create(data: &Path) -> Result<Self, Error> {
        let what = || format!("make the data folder {}", data.display());
        if !data.exists() {
            if let Some(parent) = data.parent() {
                fs::create_dir_all(parent).map_err(Error::io(what()))?;
            }
            // The server of root runs as another user, who must pass through; what is inside stays closed.
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

    /// The file of the folder's [`Lock`](super::lock::Lock).
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("opb.lock")
    }

    /// The data of the server.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Where the data are made before they are moved into place.
    pub fn new_cluster(&self) -> PathBuf {
        self.root.join("postgres.new")
    }

    /// Where downloaded servers are kept.
    pub fn servers(&self) -> PathBuf {
        self.root.join("postgres-server")
    }

    /// The log of the server.
    pub fn log(&self) -> Log {
        Log {
            path: self.root.join("postgres.log"),
        }
    }

    /// The major version of the server that made the data, or nothing where there are no data yet.
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

    /// Makes the password where there is none; a crash leaves a whole one or none.
    pub fn create_password(&self, account: &Account) -> Result<(), Error> {
        let path = self.password_file();
        if path.exists() {
            return account.give(&path);
        }
        let what = || format!("write {}", path.display());
        let new = path.with_extension("new");
        fs::remove_file(&new)
            .or_else(missing_is_fine)
            .map_err(Error::io(what()))?;
        // Two random UUIDs carry 244 random bits and need no escape in an address.
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
        fs::rename(&new, &path).map_err(Error::io(what()))
    }

    /// The address of a database of the server on `port`, with its password.
    pub fn database_url(&self, port: u16, database: &str) -> Result<SecretString, Error> {
        let file = self.password_file();
        let password: SecretString = match fs::read_to_string(&file) {
            Ok(password) => password.trim().to_owned().into(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::PasswordMissing { file });
            }
            Err(error) => return Err(Error::io(format!("read {}", file.display()))(error)),
        };
        // Nothing leaves this machine, so the question whether to encrypt is not worth a round trip.
        Ok(format!(
            "postgres://opb:{}@127.0.0.1:{port}/{database}?sslmode=disable",
            password.expose_secret()
        )
        .into())
    }
}

/// Makes a missing file a success.
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
