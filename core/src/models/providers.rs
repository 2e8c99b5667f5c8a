//! Providers: a kind, a base URL and a sealed credential.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    BedrockSettings, ProviderKind, kinds::check_settings, presets::price_list, read_settings,
};
use crate::{
    Error, Result,
    auth::CurrentUser,
    outbound::{OutboundPolicy, UrlFault, is_private},
    sealing::MasterKey,
};

/// A provider, without its credential.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// The provider's id.
    pub id: Uuid,
    /// The name before the colon in `provider:model`.
    pub name: String,
    /// Its API.
    pub kind: ProviderKind,
    /// Its base URL; absent for providers that are not called remotely.
    pub base_url: Option<String>,
    /// The settings of its kind; null for callers who are not administrators.
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
    /// The last four characters of the stored credential.
    pub credential_hint: Option<String>,
    /// True if its models without a price are free: runs on them need no budget and count against no quota.
    pub free: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// A provider to create.
pub struct NewProvider {
    /// Lower-case letters, digits, dashes and underscores.
    pub name: String,
    /// Its API.
    pub kind: ProviderKind,
    /// `http://…/v1` or `https://…/v1`; absent for providers that are not called remotely, and optional for Bedrock.
    pub base_url: Option<String>,
    /// The settings of its kind; see docs/PROVIDERS.md.
    pub settings: Map<String, Value>,
    /// Sent in the header that the kind defines; stored encrypted.
    pub credential: Option<SecretString>,
    /// Whether its models without a price are free. Absent: true if it is on this machine or in a private network and
    /// has no credential.
    pub free: Option<bool>,
}

/// A provider with everything needed to call it.
#[derive(Debug, Clone)]
pub struct AskableProvider {
    /// The provider's id.
    pub id: Uuid,
    /// The name before the colon in `provider:model`.
    pub name: String,
    /// Its API.
    pub kind: ProviderKind,
    /// Its base URL; absent for providers that are not called remotely.
    pub base_url: Option<String>,
    /// The settings of its kind.
    pub settings: Map<String, Value>,
    /// Decrypted with the master key and the provider's id.
    pub sealed_credential: Option<Vec<u8>>,
    /// True if its models without a price are free.
    pub free: bool,
}

/// Creates a provider. Its base URL is stored in canonical form.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::Invalid`] for an invalid field or a forbidden
/// address, [`Error::Conflict`] if the name is taken.
pub async fn create_provider(
    conn: &mut PgConnection,
    user: &CurrentUser,
    master_key: &MasterKey,
    outbound: &OutboundPolicy,
    new: NewProvider,
) -> Result<Provider> {
    user.require_admin("only administrators can add providers")?;
    check_name(&new.name)?;
    let base_url = check_base_url(outbound, new.kind, new.base_url.as_deref(), &new.settings)?;
    check_settings(new.kind, base_url.as_deref(), &new.settings)?;
    if let Some(credential) = &new.credential {
        check_credential(new.kind, credential)?;
    }
    let id = Uuid::now_v7();
    let sealed = new
        .credential
        .as_ref()
        .map(|secret| master_key.seal(secret, id.as_bytes()));
    let hint = new.credential.as_ref().map(hint);
    let free = new
        .free
        .unwrap_or_else(|| is_usually_free(new.kind, base_url.as_deref(), sealed.is_some()));
    let inserted = sqlx::query_as!(
        Provider,
        r#"-- providers::create_provider
        insert into providers (id, name, kind, base_url, settings, price_list, sealed_credential, credential_hint, free)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        returning id, name, kind as "kind: ProviderKind", base_url, settings as "settings?", credential_hint, free, created_at"#,
        id,
        new.name,
        new.kind as ProviderKind,
        base_url,
        Json(&new.settings) as _,
        price_list(new.kind, base_url.as_deref()),
        sealed,
        hint,
        free
    )
    .fetch_one(conn)
    .await
    .map_err(Error::from);
    match inserted {
        Err(error) if error.violates("providers_name_key") => Err(Error::Conflict(format!(
            "a provider named `{}` already exists",
            new.name
        ))),
        other => other,
    }
}

/// Creates a provider without a credential unless one with this name exists. Returns its id.
///
/// # Errors
/// The database does not respond.
pub async fn ensure_provider(
    conn: &mut PgConnection,
    name: &str,
    kind: ProviderKind,
    base_url: Option<&str>,
) -> Result<Uuid> {
    let id = sqlx::query_scalar!(
        "-- providers::ensure_provider
        insert into providers (id, name, kind, base_url, price_list) values ($1, $2, $3, $4, $5)
        on conflict (name) do update set name = providers.name
        returning id",
        Uuid::now_v7(),
        name,
        kind as ProviderKind,
        base_url,
        price_list(kind, base_url)
    )
    .fetch_one(conn)
    .await?;
    Ok(id)
}

/// All providers, by name. Base URLs, settings and credential hints are only for administrators.
///
/// # Errors
/// The database does not respond.
pub async fn list_providers(
    conn: &mut PgConnection,
    viewer: &CurrentUser,
) -> Result<Vec<Provider>> {
    let mut providers = sqlx::query_as!(
        Provider,
        r#"-- providers::list_providers
        select id, name, kind as "kind: ProviderKind", base_url, settings as "settings?", credential_hint, free, created_at
        from providers
        order by name"#
    )
    .fetch_all(conn)
    .await?;
    if !viewer.is_admin() {
        for provider in &mut providers {
            provider.base_url = None;
            provider.settings = None;
            provider.credential_hint = None;
        }
    }
    Ok(providers)
}

/// The provider with this name and its encrypted credential, for probing it.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`].
pub async fn find_provider(
    conn: &mut PgConnection,
    user: &CurrentUser,
    name: &str,
) -> Result<AskableProvider> {
    user.require_admin("only administrators can check providers")?;
    let row = sqlx::query!(
        r#"-- providers::find_provider
        select id, name, kind as "kind: ProviderKind", base_url, settings as "settings: Json<Map<String, Value>>",
               sealed_credential, free
        from providers
        where name = $1"#,
        name
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the provider `{name}`")))?;
    Ok(AskableProvider {
        id: row.id,
        name: row.name,
        kind: row.kind,
        base_url: row.base_url,
        settings: row.settings.0,
        sealed_credential: row.sealed_credential,
        free: row.free,
    })
}

/// The default of `free`: a server on this machine or in a private network without a credential belongs to the
/// operator. A gateway there that spends money usually needs a credential; if it does not, its administrator sets
/// `free` or prices.
pub(super) fn is_usually_free(
    kind: ProviderKind,
    base_url: Option<&str>,
    has_credential: bool,
) -> bool {
    kind.is_remote() && !has_credential && base_url.is_some_and(is_private)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty()
        || name.len() > 40
        || !name.chars().all(plain)
        || name.starts_with(['-', '_'])
    {
        let message = "must have 1 to 40 lower-case letters, digits, dashes or underscores, and begin with a letter or digit";
        return Err(Error::invalid("name", message));
    }
    Ok(())
}

/// Validates a base URL; returns it in canonical form.
pub(super) fn check_base_url(
    outbound: &OutboundPolicy,
    kind: ProviderKind,
    base_url: Option<&str>,
    settings: &Map<String, Value>,
) -> Result<Option<String>> {
    let wrong = |fault: UrlFault| Error::invalid("base_url", fault.to_string());
    let check = |url: &str| {
        let url = outbound.check_url(url).map_err(wrong)?;
        Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
    };
    match base_url {
        None if !kind.is_remote() => Ok(None),
        Some(_) if !kind.is_remote() => Err(Error::invalid(
            "base_url",
            "must be left out: such a provider is not called anywhere",
        )),
        None if kind == ProviderKind::Bedrock => {
            let region = read_settings::<BedrockSettings>(settings)?.region;
            check(&format!("https://bedrock-runtime.{region}.amazonaws.com"))
        }
        None => Err(wrong(UrlFault::NotHttp)),
        Some(url) => check(url),
    }
}

/// Validates a credential: it must fit into a header; Bedrock's may have several parts.
pub(super) fn check_credential(kind: ProviderKind, credential: &SecretString) -> Result<()> {
    let wrong = |message: &str| Err(Error::invalid("credential", message));
    if !kind.is_remote() {
        return wrong("must be left out: such a provider has no use for it");
    }
    let text = credential.expose_secret();
    if text.is_empty() || text.len() > 4_000 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("must have 1 to 4000 printable ASCII characters and no spaces");
    }
    let mut parts = text.split(':');
    if kind == ProviderKind::Bedrock && (parts.clone().count() > 3 || parts.any(str::is_empty)) {
        return wrong(
            "must be an API key of Bedrock, or an access key's id and secret as ID:SECRET or ID:SECRET:SESSION_TOKEN",
        );
    }
    Ok(())
}

/// The last four characters, if the rest of the secret is long enough.
pub(super) fn hint(secret: &SecretString) -> String {
    let text: Vec<char> = secret.expose_secret().chars().collect();
    match text.len() {
        12.. => format!("…{}", text[text.len() - 4..].iter().collect::<String>()),
        _ => "…".to_owned(),
    }
}
