//! Serialisation of secrets in request and response bodies; secrets are never printed.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes a secret into a body; only for bodies that are sent to its owner.
pub(crate) fn serialize<S: Serializer>(
    secret: &SecretString,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Reads a secret from a body.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SecretString, D::Error> {
    Ok(String::deserialize(deserializer)?.into())
}

/// The same for an optional secret.
pub(crate) mod optional {
    use secrecy::{ExposeSecret as _, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    /// Writes a secret, if there is one.
    #[expect(
        clippy::ref_option,
        reason = "serde calls this function with a reference to the field"
    )]
    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = secret.as_ref().map(SecretString::expose_secret);
        text.serialize(serializer)
    }

    /// Reads a secret, if there is one.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Into::into))
    }
}

/// The same for a secret that an update keeps (absent), removes (`null`) or replaces.
pub(crate) mod change {
    use opb_core::models::CredentialChange;
    use secrecy::{ExposeSecret as _, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    /// True for a field that is absent.
    pub(crate) fn is_kept(change: &CredentialChange) -> bool {
        matches!(change, CredentialChange::Keep)
    }

    /// Writes an update.
    pub(crate) fn serialize<S: Serializer>(
        change: &CredentialChange,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = match change {
            CredentialChange::Keep | CredentialChange::Remove => None,
            CredentialChange::Replace(secret) => Some(secret.expose_secret()),
        };
        text.serialize(serializer)
    }

    /// Reads an update; the field is present.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<CredentialChange, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.map_or(CredentialChange::Remove, |text| {
            CredentialChange::Replace(SecretString::from(text))
        }))
    }
}
