//! Limits of providers: maximum usage of a provider, or of one of its models, by all workers together.
//!
//! This file only stores the declared limits; `slices.rs` and `shares.rs` divide them among the workers.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::references::check_model_name;
use crate::{Error, FieldError, Result, auth::CurrentUser};

/// The limits of a provider, or of one of its models. An absent limit is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderLimits {
    /// The name after the colon; absent for all models of the provider together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Maximum number of calls that start per minute.
    #[schema(minimum = 1)]
    pub requests_per_minute: Option<i32>,
    /// Maximum number of input and output tokens per minute.
    #[serde(deserialize_with = "crate::bounds::optional_count")]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    pub tokens_per_minute: Option<i64>,
    /// Maximum number of concurrent calls.
    #[schema(minimum = 1)]
    pub concurrent_calls: Option<i32>,
    /// Maximum cost of calls per UTC day, in micro-dollars. Calls of models without a known price are not counted.
    #[serde(deserialize_with = "crate::bounds::optional_microusd")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub daily_microusd: Option<i64>,
    /// Time limit of a call in seconds. If absent, that of the provider applies to its models, and to a provider the one
    /// that the operator set (600 by default).
    #[schema(minimum = 1, maximum = 86_400)]
    pub call_timeout_seconds: Option<i32>,
}

/// The limits on a provider's page. A limit that is null is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeclaredLimits {
    /// The name after the colon; absent for all models of the provider together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Maximum number of calls that start per minute.
    pub requests_per_minute: Option<i32>,
    /// Maximum number of input and output tokens per minute.
    pub tokens_per_minute: Option<i64>,
    /// Maximum number of concurrent calls.
    pub concurrent_calls: Option<i32>,
    /// Maximum cost of calls per UTC day, in micro-dollars. Calls of models without a known price are not counted.
    pub daily_microusd: Option<i64>,
    /// Time limit of a call in seconds.
    pub call_timeout_seconds: Option<i32>,
    /// Micro-dollars spent today or allocated to workers; only under a daily limit of dollars.
    pub spent_today_microusd: i64,
}

/// The scope of limits: a provider, or one of its models.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// The provider.
    pub provider_id: Uuid,
    /// The model; `None` for all models of the provider together.
    pub model: Option<String>,
}

impl ProviderLimits {
    /// True if there is no limit.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
            && self.concurrent_calls.is_none()
            && self.daily_microusd.is_none()
            && self.call_timeout_seconds.is_none()
    }
}

/// Replaces the limits of a provider, or of one of its models. If all limits are absent, they are removed. Workers
/// apply the change within seconds.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] if there is no such provider,
/// [`Error::Invalid`] for a number that is too small.
pub async fn update_limits(
    conn: &mut PgConnection,
    user: &CurrentUser,
    provider: &str,
    limits: &ProviderLimits,
) -> Result<()> {
    user.require_admin("only administrators can set limits")?;
    check(limits)?;
    let model = limits.model.as_deref().unwrap_or_default();
    if limits.is_none() {
        find_provider(conn, provider).await?;
        sqlx::query!(
            "-- limits::update_limits (remove)
            delete from provider_limits
            using providers
            where provider_id = providers.id and providers.name = $1 and model_name = $2",
            provider,
            model
        )
        .execute(conn)
        .await?;
        return Ok(());
    }
    let set = sqlx::query!(
        "-- limits::update_limits
        insert into provider_limits (provider_id, model_name, requests_per_minute, tokens_per_minute, concurrent_calls, daily_microusd, call_timeout_seconds)
        select id, $2, $3, $4, $5, $6, $7 from providers where name = $1
        on conflict (provider_id, model_name) do update
        set requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,
            concurrent_calls = excluded.concurrent_calls, daily_microusd = excluded.daily_microusd,
            call_timeout_seconds = excluded.call_timeout_seconds, updated_at = now()",
        provider,
        model,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_calls,
        limits.daily_microusd,
        limits.call_timeout_seconds
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 {
        return Err(unknown(provider));
    }
    Ok(())
}

/// The declared limits of a provider and its models, those of the whole provider first.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] if there is no such provider.
pub async fn list_limits(
    conn: &mut PgConnection,
    user: &CurrentUser,
    provider: &str,
) -> Result<Vec<DeclaredLimits>> {
    user.require_admin("only administrators can see limits")?;
    let provider_id = find_provider(conn, provider).await?;
    let rows = sqlx::query!(
        r#"-- limits::list_limits
        select nullif(model_name, '') as model, requests_per_minute, tokens_per_minute, concurrent_calls, daily_microusd,
               call_timeout_seconds,
               case when spent_on = (now() at time zone 'UTC')::date then spent_microusd else 0 end as "spent_today!"
        from provider_limits
        where provider_id = $1
        order by model_name"#,
        provider_id
    )
    .fetch_all(conn)
    .await?;
    let declared = rows.into_iter().map(|row| DeclaredLimits {
        model: row.model,
        requests_per_minute: row.requests_per_minute,
        tokens_per_minute: row.tokens_per_minute,
        concurrent_calls: row.concurrent_calls,
        daily_microusd: row.daily_microusd,
        call_timeout_seconds: row.call_timeout_seconds,
        spent_today_microusd: row.spent_today,
    });
    Ok(declared.collect())
}

/// Limits in the form that workers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedLimits {
    /// The scope of the limits.
    pub key: LimitKey,
    /// The provider's name.
    pub provider: String,
    /// The declared limits.
    pub limits: ProviderLimits,
}

/// Loads all declared limits, for workers.
///
/// # Errors
/// The database does not respond.
pub async fn load_limits(conn: &mut PgConnection) -> Result<Vec<LoadedLimits>> {
    let rows = sqlx::query!(
        "-- limits::load_limits
        select provider_id, name as provider, nullif(model_name, '') as model, requests_per_minute, tokens_per_minute,
               concurrent_calls, daily_microusd, call_timeout_seconds
        from provider_limits join providers on providers.id = provider_id"
    )
    .fetch_all(conn)
    .await?;
    let limits = rows.into_iter().map(|row| LoadedLimits {
        key: LimitKey {
            provider_id: row.provider_id,
            model: row.model.clone(),
        },
        provider: row.provider,
        limits: ProviderLimits {
            model: row.model,
            requests_per_minute: row.requests_per_minute,
            tokens_per_minute: row.tokens_per_minute,
            concurrent_calls: row.concurrent_calls,
            daily_microusd: row.daily_microusd,
            call_timeout_seconds: row.call_timeout_seconds,
        },
    });
    Ok(limits.collect())
}

async fn find_provider(conn: &mut PgConnection, provider: &str) -> Result<Uuid> {
    sqlx::query_scalar!(
        "-- limits::find_provider
        select id from providers where name = $1",
        provider
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| unknown(provider))
}

fn check(limits: &ProviderLimits) -> Result<()> {
    let mut wrong = Vec::new();
    if let Some(model) = &limits.model {
        // Without a model, the limits apply to all models of the provider.
        wrong.extend(check_model_name("model", model).err());
    }
    if limits
        .call_timeout_seconds
        .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
    {
        let message =
            "must be between 1 and 86400; leave it out for the limit that the operator set";
        wrong.push(FieldError::new("call_timeout_seconds", message));
    }
    for (path, number, least) in [
        (
            "requests_per_minute",
            limits.requests_per_minute.map(i64::from),
            1,
        ),
        ("tokens_per_minute", limits.tokens_per_minute, 1),
        (
            "concurrent_calls",
            limits.concurrent_calls.map(i64::from),
            1,
        ),
        ("daily_microusd", limits.daily_microusd, 0),
    ] {
        if number.is_some_and(|number| number < least) {
            let message = format!("must be at least {least}; leave it out for no limit");
            wrong.push(FieldError::new(path, message));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

fn unknown(provider: &str) -> Error {
    Error::NotFound(format!("the provider `{provider}`"))
}
