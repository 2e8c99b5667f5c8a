//! The source of a provider's credential, and the message if there is none.

use clap::Args;
use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ProviderKind, operator_key_variable, presets::usual_key_variable};
use crate::{FieldError, Result, processes::worker_has_key};

/// The operator's own credentials. Each is sent only to the preset that it belongs to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Credentials")]
pub struct OperatorKeys {
    /// Credential for the provider `anthropic` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "ANTHROPIC_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub anthropic_api_key: Option<SecretString>,
    /// Credential for the provider `deepseek` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "DEEPSEEK_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub deepseek_api_key: Option<SecretString>,
    /// Credential for the provider `gemini` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "GEMINI_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub gemini_api_key: Option<SecretString>,
    /// Credential for the provider `groq` at its own address, used when none is stored for it
    #[arg(long, env = "GROQ_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub groq_api_key: Option<SecretString>,
    /// Credential for the provider `mistral` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "MISTRAL_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub mistral_api_key: Option<SecretString>,
    /// Credential for the provider `openai` or `openai-responses` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub openai_api_key: Option<SecretString>,
    /// Credential for the provider `openrouter` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "OPENROUTER_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub openrouter_api_key: Option<SecretString>,
    /// Credential for the provider `together` at its own address, used when none is stored for it
    #[arg(
        long,
        env = "TOGETHER_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub together_api_key: Option<SecretString>,
}

impl OperatorKeys {
    /// The credential in an environment variable.
    #[must_use]
    pub fn of(&self, variable: &str) -> Option<&SecretString> {
        let key = match variable {
            "ANTHROPIC_API_KEY" => &self.anthropic_api_key,
            "DEEPSEEK_API_KEY" => &self.deepseek_api_key,
            "GEMINI_API_KEY" => &self.gemini_api_key,
            "GROQ_API_KEY" => &self.groq_api_key,
            "MISTRAL_API_KEY" => &self.mistral_api_key,
            "OPENAI_API_KEY" => &self.openai_api_key,
            "OPENROUTER_API_KEY" => &self.openrouter_api_key,
            "TOGETHER_API_KEY" => &self.together_api_key,
            _ => return None,
        };
        key.as_ref()
    }

    /// The names of the environment variables that are set.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let presets = super::presets();
        let names = presets
            .iter()
            .filter_map(|preset| preset.key_variable.as_deref());
        let mut set: Vec<String> = names
            .filter(|name| self.of(name).is_some())
            .map(str::to_owned)
            .collect();
        set.sort_unstable();
        set.dedup();
        set
    }
}

/// The error for a provider without a stored credential, with its remedy; `None` if the provider needs no credential.
/// Check for an operator's credential first, with [`operator_key_variable`].
#[must_use]
pub fn missing_key(name: &str, kind: ProviderKind, base_url: Option<&str>) -> Option<String> {
    if let Some(variable) = operator_key_variable(name, kind, base_url) {
        return Some(format!(
            "no key is set: put {variable} into the environment of the worker, or store one: opb provider set-key {name} --credential-env {variable}"
        ));
    }
    let needs_one = matches!(kind, ProviderKind::AzureOpenai | ProviderKind::Bedrock);
    let variable = usual_key_variable(base_url);
    (needs_one || variable.is_some()).then(|| {
        let variable = variable.unwrap_or("VARIABLE");
        format!("no key is stored: opb provider set-key {name} --credential-env {variable}")
    })
}

/// Returns errors for the models that cannot be called because their provider has no credential. Operator credentials
/// are only known while a worker is alive. The paths are those of a request.
pub(crate) async fn check_keys(
    tx: &mut PgConnection,
    model_ids: &[Uuid],
    wrong: &mut Vec<FieldError>,
) -> Result<()> {
    let models = sqlx::query!(
        r#"-- keys::check_keys
        select ordinality - 1 as "index!", providers.name, providers.kind as "kind: ProviderKind", providers.base_url
        from unnest($1::uuid[]) with ordinality as asked (id, ordinality)
        join models on models.id = asked.id
        join providers on providers.id = models.provider_id
        where providers.sealed_credential is null
        order by 1"#,
        model_ids
    )
    .fetch_all(&mut *tx)
    .await?;
    for model in models {
        let base_url = model.base_url.as_deref();
        let Some(message) = missing_key(&model.name, model.kind, base_url) else {
            continue;
        };
        let variable = operator_key_variable(&model.name, model.kind, base_url);
        let is_missing = match variable {
            Some(variable) => worker_has_key(tx, variable).await? == Some(false),
            None => true,
        };
        if is_missing {
            let path = format!("models[{}]", model.index);
            wrong.push(FieldError::new(path, format!("cannot be asked: {message}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_where_a_key_is_needed() {
        let check = |name, kind, url: &str, expect: &str| {
            let found = missing_key(name, kind, Some(url)).unwrap_or_default();
            assert!(
                found.contains(expect) && found.is_empty() == expect.is_empty(),
                "{name}: {found}"
            );
        };
        let openai = "https://api.openai.com/v1";
        check("openai", ProviderKind::Openai, openai, "put OPENAI_API_KEY");
        check(
            "mine",
            ProviderKind::Openai,
            openai,
            "--credential-env OPENAI_API_KEY",
        );
        check(
            "ollama",
            ProviderKind::Openai,
            "http://127.0.0.1:11434/v1",
            "",
        );
        check("gate", ProviderKind::Openai, "https://gate.example/v1", "");
        let azure = "https://a.openai.azure.com";
        check("azure", ProviderKind::AzureOpenai, azure, "set-key azure");
    }
}
