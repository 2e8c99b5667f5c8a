//! Changing and removing providers, and re-encrypting their credentials.
//!
//! A stored credential is only sent where it was given for: this file must never let the address of a provider change
//! under its credential.

use secrecy::SecretString;
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use url::{Origin, Url};

use super::{
    Provider, ProviderKind,
    kinds::check_settings,
    presets::price_list,
    providers::{check_base_url, check_credential, hint, is_usually_free},
};
use crate::{Error, Result, auth::CurrentUser, outbound::OutboundPolicy, sealing::MasterKey};

/// Changes of a provider.
#[derive(Default)]
pub struct ProviderChange {
    /// The new base URL.
    pub base_url: Option<String>,
    /// The complete new settings.
    pub settings: Option<Map<String, Value>>,
    /// The change of its credential.
    pub credential: CredentialChange,
    /// Whether its models without a price are free. If absent, this stays as it is, unless the provider moves to
    /// another host.
    pub free: Option<bool>,
}

/// A change of a stored credential.
#[derive(Debug, Clone, Default)]
pub enum CredentialChange {
    /// The credential stays.
    #[default]
    Keep,
    /// The credential is removed.
    Remove,
    /// The credential is replaced by this one.
    Replace(SecretString),
}

/// Changes a provider. Runs that a worker has prepared continue with their old address and credential. Must run in a
/// transaction.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`]; [`Error::Invalid`] for an invalid field,
/// or if scheme, host or port change and the stored credential is neither replaced nor removed; nothing is changed
/// then.
pub async fn update_provider(
    conn: &mut PgConnection,
    user: &CurrentUser,
    master_key: &MasterKey,
    outbound: &OutboundPolicy,
    name: &str,
    change: ProviderChange,
) -> Result<Provider> {
    user.require_admin("only administrators can change providers")?;
    let stored = sqlx::query!(
        r#"-- provider_changes::update_provider (read)
        select id, kind as "kind: ProviderKind", base_url, settings as "settings: Json<Map<String, Value>>", sealed_credential,
               credential_hint, free
        from providers
        where name = $1
        for update"#,
        name
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| unknown(name))?;
    let settings = change.settings.unwrap_or(stored.settings.0);
    let base_url = match change.base_url.as_deref() {
        None => stored.base_url.clone(),
        Some(url) => check_base_url(outbound, stored.kind, Some(url), &settings)?,
    };
    check_settings(stored.kind, base_url.as_deref(), &settings)?;
    let moves = origin(base_url.as_deref()) != origin(stored.base_url.as_deref());
    let (sealed, hint) = match change.credential {
        CredentialChange::Keep if moves && stored.sealed_credential.is_some() => {
            let message = "key must be supplied again when the host changes";
            return Err(Error::invalid("credential", message));
        }
        CredentialChange::Keep => (stored.sealed_credential, stored.credential_hint),
        CredentialChange::Remove => (None, None),
        CredentialChange::Replace(credential) => {
            check_credential(stored.kind, &credential)?;
            let sealed = master_key.seal(&credential, stored.id.as_bytes());
            (Some(sealed), Some(hint(&credential)))
        }
    };
    let free = change.free.unwrap_or_else(|| {
        if moves {
            is_usually_free(stored.kind, base_url.as_deref(), sealed.is_some())
        } else {
            stored.free
        }
    });
    let provider = sqlx::query_as!(
        Provider,
        r#"-- provider_changes::update_provider (write)
        with moved as (
            -- What was found out at another address says nothing of this one.
            delete from learned_concurrency using providers
            where provider_id = $1 and providers.id = $1 and (providers.base_url is distinct from $2 or providers.settings <> $3)
        )
        update providers
        set base_url = $2, settings = $3, price_list = $4, sealed_credential = $5, credential_hint = $6, free = $7,
            answered_at = case when base_url is not distinct from $2 and settings = $3 then answered_at end
        where id = $1
        returning id, name, kind as "kind: ProviderKind", base_url, settings as "settings?", credential_hint, free, created_at"#,
        stored.id,
        base_url,
        Json(&settings) as _,
        price_list(stored.kind, base_url.as_deref()),
        sealed,
        hint,
        free
    )
    .fetch_one(conn)
    .await?;
    Ok(provider)
}

/// Deletes a provider that no run uses, with its credential, prices and models.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`]; [`Error::Conflict`] if runs use it,
/// because their results must stay readable.
pub async fn delete_provider(
    conn: &mut PgConnection,
    user: &CurrentUser,
    name: &str,
) -> Result<()> {
    user.require_admin("only administrators can remove providers")?;
    let deleted = sqlx::query!(
        "-- provider_changes::delete_provider
        delete from providers where name = $1",
        name
    )
    .execute(conn)
    .await
    .map_err(Error::from);
    match deleted {
        Ok(deleted) if deleted.rows_affected() == 0 => Err(unknown(name)),
        Ok(_) => Ok(()),
        Err(error) if error.violates("run_models_model_id_fkey") => Err(Error::Conflict(format!(
            "runs use the provider `{name}`, so it cannot be removed; its credential can be removed instead"
        ))),
        Err(error) => Err(error),
    }
}

/// Re-encrypts every credential with a new master key. Returns the number of changed credentials. Credentials that the
/// new key already opens are skipped, so that repeating it is harmless. Must run in a transaction.
///
/// # Errors
/// [`Error::Conflict`] if a credential opens with neither key; the transaction must not be committed then.
pub async fn reseal_credentials(
    conn: &mut PgConnection,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<usize> {
    // Prevents that another session stores a credential with the old key at the same time.
    sqlx::query!("lock table providers in share row exclusive mode")
        .execute(&mut *conn)
        .await?;
    let rows = sqlx::query!(
        r#"-- provider_changes::reseal_credentials (read)
        select id, name, sealed_credential as "sealed!"
        from providers
        where sealed_credential is not null
        order by name"#
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut changed = 0;
    for row in rows {
        if new.open(&row.sealed, row.id.as_bytes()).is_ok() {
            continue;
        }
        let Ok(credential) = old.open(&row.sealed, row.id.as_bytes()) else {
            return Err(Error::Conflict(format!(
                "the credential of the provider `{}` opens with neither key; set or remove it first",
                row.name
            )));
        };
        sqlx::query!(
            "-- provider_changes::reseal_credentials (write)
            update providers set sealed_credential = $2 where id = $1",
            row.id,
            new.seal(&credential, row.id.as_bytes())
        )
        .execute(&mut *conn)
        .await?;
        changed += 1;
    }
    Ok(changed)
}

/// Scheme, host and port: they decide who receives a credential.
fn origin(base_url: Option<&str>) -> Option<Origin> {
    Some(Url::parse(base_url?).ok()?.origin())
}

fn unknown(name: &str) -> Error {
    Error::NotFound(format!("the provider `{name}`"))
}
