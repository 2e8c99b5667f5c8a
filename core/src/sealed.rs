//! The master key of a database: read from its place, and only generated if nothing is sealed with another key.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};

use crate::sealing::MasterKey;

/// A master key that was loaded, or is yet to be generated.
pub struct FoundKey {
    place: KeyPlace,
    previous: Option<MasterKey>,
}

/// The source of a master key.
enum KeyPlace {
    /// The key was loaded.
    Read(MasterKey),
    /// The file for the key does not exist.
    Missing(PathBuf),
}

impl FoundKey {
    /// A key that was given as text.
    ///
    /// # Errors
    /// It is not one, or can be guessed.
    pub fn given(text: &SecretString) -> anyhow::Result<Self> {
        Self::read(MasterKey::parse(text)?)
    }

    /// The key of a file, if it is there.
    ///
    /// # Errors
    /// It is not one, or can be guessed or read by others.
    pub fn in_file(file: &Path) -> anyhow::Result<Self> {
        match MasterKey::load(file)? {
            Some(key) => Self::read(key),
            None => Ok(Self {
                place: KeyPlace::Missing(file.to_owned()),
                previous: None,
            }),
        }
    }

    fn read(key: MasterKey) -> anyhow::Result<Self> {
        key.require_random()?;
        Ok(Self {
            place: KeyPlace::Read(key),
            previous: None,
        })
    }

    /// The same with the key before it, whose tokens work until they expire.
    #[must_use]
    pub fn with_previous(self, previous: Option<MasterKey>) -> Self {
        Self { previous, ..self }
    }

    /// The path of the key's file, if it does not exist.
    #[must_use]
    pub fn missing_file(&self) -> Option<&Path> {
        match &self.place {
            KeyPlace::Read(_) => None,
            KeyPlace::Missing(file) => Some(file),
        }
    }

    /// Refuses a missing key if the database holds secrets that only it opens.
    ///
    /// # Errors
    /// The key is missing and needed; the message says how to fix it.
    pub async fn check(&self, pool: &PgPool) -> anyhow::Result<()> {
        let Some(file) = self.missing_file() else {
            return Ok(());
        };
        let conn = pool.acquire().await;
        let mut conn = conn.context("the database does not answer")?;
        if holds_sealed(&mut conn).await? {
            bail!(missing(file));
        }
        Ok(())
    }

    /// Returns the key. If it is missing, it is generated, unless [`FoundKey::check`] refuses.
    ///
    /// # Errors
    /// The key is missing and needed, or the file cannot be written.
    pub async fn or_new(self, pool: &PgPool) -> anyhow::Result<MasterKey> {
        self.check(pool).await?;
        let key = match self.place {
            KeyPlace::Read(key) => key,
            KeyPlace::Missing(file) => MasterKey::load_or_create(&file)?,
        };
        Ok(match self.previous {
            Some(previous) => key.with_previous(previous),
            None => key,
        })
    }
}

/// Why no key is generated, and how to fix it.
fn missing(file: &Path) -> String {
    let file = file.display();
    format!(
        "there is no master key at {file}, and the database holds credentials, webhooks or mails that were sealed with one; put \
         the key back from where you keep a copy, or name it with --master-key-file or OPB_MASTER_KEY; if it is lost, make \
         another with `(umask 077; openssl rand -base64 32 >{file})` and set the credentials and webhooks again"
    )
}

/// True if the database holds a secret that only its master key opens.
async fn holds_sealed(conn: &mut PgConnection) -> anyhow::Result<bool> {
    let holds = sqlx::query_scalar!(
        r#"-- sealed::holds_sealed
        select exists (select from providers where sealed_credential is not null)
               or exists (select from webhooks)
               or exists (select from mails where state = 'waiting') as "holds!""#
    );
    let holds = holds.fetch_one(conn).await;
    holds.context("could not check whether the database holds sealed values")
}
