//! Where the master key comes from.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use opb_core::{sealed::FoundKey, sealing::MasterKey};
use secrecy::SecretString;

/// Where the key for secrets at rest and for tokens comes from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub struct SecretSettings {
    /// Key for secrets at rest and for tokens: 32 bytes in base64, the same for all processes
    #[arg(
        long,
        env = "OPB_MASTER_KEY",
        value_name = "BASE64",
        hide_env_values = true
    )]
    pub master_key: Option<SecretString>,
    /// File that holds the master key; made with mode 0600 if there is none
    #[arg(
        long,
        env = "OPB_MASTER_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "master_key"
    )]
    pub master_key_file: Option<PathBuf>,
    /// The master key before this one: tokens made with it work until they expire
    #[arg(
        long,
        env = "OPB_PREVIOUS_MASTER_KEY",
        value_name = "BASE64",
        hide_env_values = true
    )]
    pub previous_master_key: Option<SecretString>,
}

impl SecretSettings {
    /// Reads the key, if it is there. `file` is where it is kept when no setting says where.
    ///
    /// # Errors
    /// Nothing says where the key is, or it is not one, or can be guessed or read by others.
    pub fn load(&self, file: Option<&Path>) -> anyhow::Result<FoundKey> {
        let found = match (&self.master_key, self.master_key_file.as_deref().or(file)) {
            (Some(text), _) => FoundKey::given(text)?,
            (None, Some(path)) => FoundKey::in_file(path)?,
            (None, None) => anyhow::bail!(
                "set OPB_MASTER_KEY (make one with: openssl rand -base64 32), or OPB_MASTER_KEY_FILE to a file that all \
                 processes share"
            ),
        };
        let previous = self.previous_master_key.as_ref().map(MasterKey::parse);
        let previous = previous.transpose().context("OPB_PREVIOUS_MASTER_KEY")?;
        Ok(found.with_previous(previous))
    }
}
