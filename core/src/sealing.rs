//! Encryption of stored secrets (sealing) with one master key, from which every other key is derived.
//!
//! A sealed value is bound to a context (the id of its row), so a value that was moved to another row does not open.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::Sha256;

/// Length of a nonce of `XChaCha20`, in bytes; random ones never repeat in practice.
const NONCE_LEN: usize = 24;
/// The first byte of every sealed value, before the id of its key: the version of the format.
const LAYOUT: u8 = 1;
/// Length of a key's id, in bytes.
const KEY_ID_LEN: usize = 4;

/// The master key: 32 random bytes.
pub struct MasterKey {
    key: SecretBox<[u8; 32]>,
    previous: Option<Box<MasterKey>>,
}

impl MasterKey {
    /// Parses a key from base64.
    ///
    /// # Errors
    /// The text is not the base64 of exactly 32 bytes.
    pub fn parse(text: &SecretString) -> anyhow::Result<Self> {
        let Ok(bytes) = BASE64_STANDARD.decode(text.expose_secret().trim()) else {
            bail!("the master key is not base64; make one with: openssl rand -base64 32");
        };
        let Ok(bytes) = <[u8; 32]>::try_from(bytes) else {
            bail!("the master key does not have 32 bytes; make one with: openssl rand -base64 32");
        };
        Ok(Self {
            key: SecretBox::new(Box::new(bytes)),
            previous: None,
        })
    }

    /// Refuses a key that was typed rather than generated: printable text, or few different bytes. A random key is
    /// refused with a probability of less than one in 10¹².
    ///
    /// # Errors
    /// The key can be guessed.
    pub fn require_random(&self) -> anyhow::Result<()> {
        let bytes = self.key.expose_secret();
        let different: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        let is_text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if is_text || different.len() < 16 {
            bail!("the master key can be guessed; make one with: openssl rand -base64 32");
        }
        Ok(())
    }

    /// This key together with the one that it replaced.
    #[must_use]
    pub fn with_previous(mut self, previous: Self) -> Self {
        self.previous = Some(Box::new(previous));
        self
    }

    /// The key that this one replaced, while values sealed with it are still in use.
    #[must_use]
    pub fn previous(&self) -> Option<&Self> {
        self.previous.as_deref()
    }

    /// Generates a random key.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Box::new([0_u8; 32]);
        rand::Rng::fill_bytes(&mut rand::rng(), bytes.as_mut());
        Self {
            key: SecretBox::new(bytes),
            previous: None,
        }
    }

    /// The key in base64, to be stored in a private file.
    #[must_use]
    pub fn text(&self) -> SecretString {
        BASE64_STANDARD.encode(self.key.expose_secret()).into()
    }

    /// Loads the key from a file; `None` if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, other users can read it, or it does not hold a key.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let text = read_private(path, "master key")?;
        let key = Self::parse(&text);
        key.with_context(|| format!("{} does not hold a master key", path.display()))
            .map(Some)
    }

    /// Loads the key from a file, which is created with mode 0600 if it does not exist. Of several processes that
    /// create it at the same time, all get the same key.
    ///
    /// # Errors
    /// The file cannot be read or written, other users can read it, or it does not hold a key.
    pub fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let wrong = || format!("{} cannot be written", path.display());
        let unfinished = write_beside(path, Self::generate().text().expose_secret());
        let unfinished = unfinished.with_context(wrong)?;
        match std::fs::hard_link(&unfinished, path) {
            // Some file systems do not support hard links.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                std::fs::rename(&unfinished, path).with_context(wrong)?;
            }
            // A file left behind is harmless.
            _ => drop(std::fs::remove_file(&unfinished)),
        }
        Self::load(path)?.with_context(wrong)
    }

    /// Derives a key for one purpose; derived keys reveal nothing about each other (RFC 5869).
    ///
    /// # Panics
    /// Never: HKDF supports this constant length.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> SecretBox<[u8; 32]> {
        let mut key = Box::new([0_u8; 32]);
        Hkdf::<Sha256>::new(None, self.key.expose_secret())
            .expand(purpose.as_bytes(), key.as_mut())
            .expect("32 bytes are a valid length for HKDF-SHA256");
        SecretBox::new(key)
    }

    /// Seals a secret for a context. The result is: format, id of the key, nonce, ciphertext.
    ///
    /// # Panics
    /// Never: only texts of many gigabytes cannot be sealed.
    #[must_use]
    pub fn seal(&self, secret: &SecretString, context: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_LEN];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut nonce);
        let payload = Payload {
            msg: secret.expose_secret().as_bytes(),
            aad: context,
        };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("sealing a short text in memory cannot fail");
        [self.mark().as_slice(), &nonce, &sealed].concat()
    }

    /// Opens what [`MasterKey::seal`] sealed for the same context.
    ///
    /// # Errors
    /// The value was sealed with another key or for another context, or was modified.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> anyhow::Result<SecretString> {
        // The first format had no prefix; such values still open, and get the prefix when they are resealed.
        let sealed = sealed
            .strip_prefix(self.mark().as_slice())
            .unwrap_or(sealed);
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            bail!("the sealed value is too short");
        };
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        let Ok(plain) = self.cipher().decrypt(&XNonce::from(*nonce), payload) else {
            if let Some(previous) = self.previous() {
                return previous.open(&[nonce.as_slice(), sealed].concat(), context);
            }
            bail!("the sealed value does not open with this master key");
        };
        Ok(String::from_utf8(plain)
            .context("the sealed value is not text")?
            .into())
    }

    /// Reseals with this key a value that was sealed with the other one; `None` if this key has already sealed it.
    ///
    /// # Errors
    /// The value opens with neither key.
    pub fn reseal(
        &self,
        old: &Self,
        sealed: &[u8],
        context: &[u8],
    ) -> anyhow::Result<Option<Vec<u8>>> {
        if self.open(sealed, context).is_ok() {
            return Ok(None);
        }
        let plain = old.open(sealed, context)?;
        Ok(Some(self.seal(&plain, context)))
    }

    /// The prefix of values sealed with this key. It identifies the key without revealing anything about it.
    fn mark(&self) -> [u8; 1 + KEY_ID_LEN] {
        let mut mark = [LAYOUT; 1 + KEY_ID_LEN];
        let id = self.derive("key-id");
        mark[1..].copy_from_slice(&id.expose_secret()[..KEY_ID_LEN]);
        mark
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(
            *self.derive("provider-credentials").expose_secret(),
        ))
    }
}

/// Where container engines mount secrets: readable for all users of the container, which has only one.
const MOUNTED_SECRETS: &str = "/run/secrets/";

/// Reads a file with a secret; `what` names the secret in errors.
///
/// # Errors
/// It cannot be read, or other users can read it.
pub fn read_private(path: &Path, what: &str) -> anyhow::Result<SecretString> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = std::fs::File::open(path).with_context(unreadable)?;
    require_private(path, what, &file.metadata().with_context(unreadable)?)?;
    let text = std::io::read_to_string(std::io::Read::take(file, 1 << 16));
    text.map(Into::into).with_context(unreadable)
}

/// Refuses a file that other users can read or write, unless this user cannot change that: files mounted by an
/// orchestrator belong to root, and the orchestrator controls who else is in the container.
///
/// # Errors
/// Other users can read or write it.
pub fn require_private(
    path: &Path,
    what: &str,
    metadata: &std::fs::Metadata,
) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let user = rustix::process::geteuid().as_raw();
    let is_ours = user == 0 || metadata.uid() == user;
    let mode = metadata.mode() & 0o777;
    if is_ours && mode & 0o077 != 0 && !path.starts_with(MOUNTED_SECRETS) {
        bail!(
            "the file of the {what} can be read or changed by others (mode {mode:03o}): chmod 600 {}",
            path.display()
        );
    }
    Ok(())
}

/// Writes a file that only its owner can read. An existing file is replaced atomically.
///
/// # Errors
/// The folder does not exist or is not writable.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = write_beside(path, text).and_then(|file| std::fs::rename(file, path));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes a new file next to `path` that only its owner can read, without following symbolic links.
fn write_beside(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = rand::Rng::next_u64(&mut rand::rng());
    let unfinished = path.with_file_name(format!(".{name}.{number:016x}"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(unfinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MasterKey {
        MasterKey {
            key: SecretBox::new(Box::new([byte; 32])),
            previous: None,
        }
    }

    #[test]
    fn opens_only_with_the_same_key_and_context() {
        let sealed = key(1).seal(&"sk-secret".into(), b"row 1");
        assert_eq!(
            key(1).open(&sealed, b"row 1").unwrap().expose_secret(),
            "sk-secret"
        );
        assert!(key(1).open(&sealed, b"row 2").is_err());
        assert!(key(2).open(&sealed, b"row 1").is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(1).open(&changed, b"row 1").is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_value_says_which_key_sealed_it_and_old_ones_still_open() {
        let sealed = key(1).seal(&"sk-secret".into(), b"row 1");
        assert_eq!(sealed[..5], key(1).mark());
        assert_ne!(key(1).mark(), key(2).mark());
        let unmarked = &sealed[5..];
        let opened = key(1).open(unmarked, b"row 1").unwrap();
        assert_eq!(opened.expose_secret(), "sk-secret");
        assert!(key(2).open(unmarked, b"row 1").is_err());
        for length in 0..sealed.len() {
            assert!(
                key(1).open(&sealed[..length], b"row 1").is_err(),
                "{length}"
            );
        }
        let again = MasterKey::parse(&MasterKey::generate().text()).unwrap();
        assert_ne!(again.mark(), key(1).mark());
    }

    #[test]
    fn opens_what_the_previous_key_sealed() {
        let sealed = key(1).seal(&"sk-secret".into(), b"row 1");
        let replaced = key(2).with_previous(key(1));
        assert!(replaced.open(&sealed, b"row 1").is_ok());
        assert!(replaced.open(&sealed, b"row 2").is_err());
        let sealed = replaced.seal(&"sk-secret".into(), b"row 1");
        assert!(key(2).open(&sealed, b"row 1").is_ok());
    }

    #[test]
    fn refuses_keys_that_are_not_keys() {
        for text in ["", "secret", "c2hvcnQ=", "not base64!"] {
            assert!(MasterKey::parse(&text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_keys_that_can_be_guessed() {
        for _ in 0..1000 {
            assert!(MasterKey::generate().require_random().is_ok());
        }
        for bytes in [
            *b"changemechangemechangemechangeme",
            *b"0123456789abcdef0123456789abcdef",
            *b"correct horse battery staple 123",
            [0; 32],
            [255; 32],
        ] {
            let key = MasterKey::parse(&BASE64_STANDARD.encode(bytes).into()).unwrap();
            assert!(key.require_random().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_secret_is_written_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let [path, outside] = ["key", "outside"].map(|name| folder.path().join(name));
        for planted in ["key", "key.new"] {
            std::os::unix::fs::symlink(&outside, folder.path().join(planted)).unwrap();
        }
        write_private(&path, "secret").unwrap();
        assert!(!outside.exists());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
    }

    #[test]
    fn a_key_file_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master-key");
        let first = MasterKey::load_or_create(&path).unwrap().derive("test");
        let again = MasterKey::load_or_create(&path).unwrap().derive("test");
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
