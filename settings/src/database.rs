//! How a process finds the database, and a copy of it.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::read_secret_text;

/// The largest file of a password.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// How a process finds the database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Address of the database: postgres://user:password@host:port/name
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// File that holds the password for the database; it takes precedence over one in the address
    #[arg(long, env = "OPB_DATABASE_PASSWORD_FILE", value_name = "FILE")]
    pub database_password_file: Option<PathBuf>,
    /// Address of a PgBouncer (1.21 or newer, in transaction mode) in front of the database, for everything that needs
    /// no session of its own; the queue and live events use the database itself
    #[arg(
        long,
        env = "OPB_POOLED_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub pooled_database_url: Option<SecretString>,
    /// Maximum number of connections of this process, without the queue's own
    #[arg(long, env = "OPB_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
}

impl DatabaseSettings {
    /// The address of the database with everything that leads into it.
    ///
    /// # Errors
    /// The password's file cannot be read, or the address is not one.
    pub fn address(&self) -> anyhow::Result<SecretString> {
        self.with_password(&self.database_url)
    }

    /// The address of the pooler in front of the database; of the database itself, if there is none.
    ///
    /// # Errors
    /// The password's file cannot be read, or the address is not one.
    pub fn pooled_address(&self) -> anyhow::Result<SecretString> {
        self.with_password(
            self.pooled_database_url
                .as_ref()
                .unwrap_or(&self.database_url),
        )
    }

    fn with_password(&self, address: &SecretString) -> anyhow::Result<SecretString> {
        with_password(address, self.database_password_file.as_deref())
    }
}

/// The address of a database with the password of a file in it, if one is named.
///
/// # Errors
/// The file cannot be read, or can be read by other users; the address is invalid.
pub fn with_password(address: &SecretString, file: Option<&Path>) -> anyhow::Result<SecretString> {
    let Some(file) = file else {
        return Ok(address.clone());
    };
    let password = read_secret_text(file, "database password", MAX_PASSWORD_BYTES)?;
    // The parser's own message may quote the address with its password.
    let mut url = Url::parse(address.expose_secret())
        .map_err(|_| anyhow::anyhow!("the database address is not a valid postgres:// URL"))?;
    url.query_pairs_mut()
        .append_pair("password", password.trim_end_matches(['\r', '\n']));
    Ok(String::from(url).into())
}

/// Where a copy of the database may be read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct ReplicaSettings {
    /// Address of a read replica, for anonymous reads of leaderboards, search and explore; without it, and while it is
    /// unreachable, they use the database itself. It takes a third of the connections
    #[arg(
        long,
        env = "OPB_READ_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub read_database_url: Option<SecretString>,
}

impl ReplicaSettings {
    /// The address of the replica, with the password of the database.
    ///
    /// # Errors
    /// Those of [`DatabaseSettings::address`].
    pub fn address(&self, database: &DatabaseSettings) -> anyhow::Result<Option<SecretString>> {
        let url = self.read_database_url.as_ref();
        url.map(|url| database.with_password(url)).transpose()
    }
}
