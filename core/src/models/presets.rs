//! Presets: well-known providers with their base URLs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ProviderKind;

/// A well-known provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preset {
    /// The preset's name, and the default name of a provider created from it.
    pub name: String,
    /// Its API.
    pub kind: ProviderKind,
    /// Its base URL.
    pub base_url: String,
    /// The environment variable that usually holds its credential; absent if it needs none.
    pub key_variable: Option<String>,
}

/// Name, kind, base URL, and the variable that usually holds the credential.
type Row = (
    &'static str,
    ProviderKind,
    &'static str,
    Option<&'static str>,
);

/// The presets by name. Published prices are listed under the name of the preset with the provider's base URL.
const PRESETS: [Row; 13] = {
    use ProviderKind::{Anthropic, Gemini, Openai, OpenaiResponses};
    [
        (
            "anthropic",
            Anthropic,
            "https://api.anthropic.com/v1",
            Some("ANTHROPIC_API_KEY"),
        ),
        (
            "deepseek",
            Openai,
            "https://api.deepseek.com/v1",
            Some("DEEPSEEK_API_KEY"),
        ),
        (
            "gemini",
            Gemini,
            "https://generativelanguage.googleapis.com/v1beta",
            Some("GEMINI_API_KEY"),
        ),
        (
            "groq",
            Openai,
            "https://api.groq.com/openai/v1",
            Some("GROQ_API_KEY"),
        ),
        ("llama-cpp", Openai, "http://127.0.0.1:8080/v1", None),
        ("lm-studio", Openai, "http://127.0.0.1:1234/v1", None),
        (
            "mistral",
            Openai,
            "https://api.mistral.ai/v1",
            Some("MISTRAL_API_KEY"),
        ),
        ("ollama", Openai, "http://127.0.0.1:11434/v1", None),
        (
            "openai",
            Openai,
            "https://api.openai.com/v1",
            Some("OPENAI_API_KEY"),
        ),
        (
            "openai-responses",
            OpenaiResponses,
            "https://api.openai.com/v1",
            Some("OPENAI_API_KEY"),
        ),
        (
            "openrouter",
            Openai,
            "https://openrouter.ai/api/v1",
            Some("OPENROUTER_API_KEY"),
        ),
        (
            "together",
            Openai,
            "https://api.together.xyz/v1",
            Some("TOGETHER_API_KEY"),
        ),
        ("vllm", Openai, "http://127.0.0.1:8000/v1", None),
    ]
};

/// All presets, by name.
#[must_use]
pub fn presets() -> Vec<Preset> {
    PRESETS.iter().map(preset).collect()
}

/// The preset with this name.
#[must_use]
pub fn find_preset(name: &str) -> Option<Preset> {
    PRESETS.iter().find(|row| row.0 == name).map(preset)
}

/// The environment variable whose credential a provider may use if none is stored for it. The provider must have the
/// name, the kind and the base URL of a preset; a provider that was moved elsewhere gets no credential.
#[must_use]
pub fn operator_key_variable(
    name: &str,
    kind: ProviderKind,
    base_url: Option<&str>,
) -> Option<&'static str> {
    let row = PRESETS.iter().find(|row| row.0 == name)?;
    let is_preset = row.1 == kind && Some(row.2) == base_url;
    row.3.filter(|_| is_preset)
}

/// The variable that usually holds the credential for this base URL, if it belongs to a preset that needs one.
pub(super) fn usual_key_variable(base_url: Option<&str>) -> Option<&'static str> {
    PRESETS.iter().find(|row| Some(row.2) == base_url)?.3
}

/// The name of the price list for a provider's models.
pub(super) fn price_list(kind: ProviderKind, base_url: Option<&str>) -> Option<&'static str> {
    if kind == ProviderKind::Bedrock {
        return Some("bedrock");
    }
    // The first preset with this base URL, so that both OpenAI APIs share one list.
    let row = PRESETS.iter().find(|row| Some(row.2) == base_url)?;
    row.3.map(|_| row.0)
}

fn preset(row: &Row) -> Preset {
    Preset {
        name: row.0.to_owned(),
        kind: row.1,
        base_url: row.2.to_owned(),
        key_variable: row.3.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_keys_stay_at_their_presets() {
        let openai = Some("https://api.openai.com/v1");
        let check = |name, kind, url, expect| {
            assert_eq!(
                operator_key_variable(name, kind, url),
                expect,
                "{name} {url:?}"
            );
        };
        check(
            "openai",
            ProviderKind::Openai,
            openai,
            Some("OPENAI_API_KEY"),
        );
        check(
            "openai",
            ProviderKind::Openai,
            Some("https://evil.example/v1"),
            None,
        );
        check("openai", ProviderKind::Anthropic, openai, None);
        check("mine", ProviderKind::Openai, openai, None);
        check(
            "ollama",
            ProviderKind::Openai,
            Some("http://127.0.0.1:11434/v1"),
            None,
        );
    }

    #[test]
    fn prices_go_by_the_address() {
        let openai = Some("https://api.openai.com/v1");
        for kind in [ProviderKind::Openai, ProviderKind::OpenaiResponses] {
            assert_eq!(price_list(kind, openai), Some("openai"));
        }
        assert_eq!(
            price_list(ProviderKind::Openai, Some("http://127.0.0.1:8000/v1")),
            None
        );
        assert_eq!(
            price_list(ProviderKind::Bedrock, Some("https://x.amazonaws.com")),
            Some("bedrock")
        );
        assert_eq!(price_list(ProviderKind::Echo, None), None);
    }

    #[test]
    fn presets_are_in_their_canonical_spelling() {
        let local = crate::outbound::OutboundPolicy::local();
        for preset in presets() {
            let url = local.check_url(&preset.base_url).unwrap();
            assert_eq!(url.as_str().trim_end_matches('/'), preset.base_url);
            assert_eq!(find_preset(&preset.name), Some(preset));
        }
    }
}
