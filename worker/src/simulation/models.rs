//! The simulated models: ability, verbosity, latency and price of each one.

/// The kind of a simulated model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Generates text for a prompt.
    Text,
    /// Computes a vector for a text.
    Embedding,
}

/// The latency of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyProfile {
    /// Microseconds until the first token.
    pub first_token_us: u64,
    /// Microseconds per token.
    pub per_token_us: u64,
}

/// A simulated model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedModel {
    /// The model's name.
    pub name: &'static str,
    /// The model's kind.
    pub purpose: Purpose,
    /// Log-odds of a correct answer to an item of average difficulty with a plain prompt.
    pub ability: f64,
    /// Log-odds gained by a prompt that requests step-by-step reasoning.
    pub thinking_gain: f64,
    /// Sentences of reasoning; also, times five, the percentage of plain prompts answered in a sentence.
    pub verbosity: u32,
    /// The latency; much shorter than a real model's, so that demonstrations are quick.
    pub latency: LatencyProfile,
    /// Price per million input tokens, in micro-dollars.
    pub input_price_microusd: i64,
    /// Price per million output tokens, in micro-dollars.
    pub output_price_microusd: i64,
}

/// All simulated models.
///
/// The abilities are chosen so that a first leaderboard has clear winners and close pairs: `balanced` with reasoning is
/// about as able as `strong` without, and `fast` with reasoning as `balanced` without.
pub const MODELS: &[SimulatedModel] = &[
    SimulatedModel {
        name: "strong",
        purpose: Purpose::Text,
        ability: 2.2,
        thinking_gain: 0.4,
        verbosity: 5,
        latency: LatencyProfile {
            first_token_us: 40_000,
            per_token_us: 1_000,
        },
        input_price_microusd: 3_000_000,
        output_price_microusd: 15_000_000,
    },
    SimulatedModel {
        name: "balanced",
        purpose: Purpose::Text,
        ability: 1.6,
        thinking_gain: 0.7,
        verbosity: 4,
        latency: LatencyProfile {
            first_token_us: 25_000,
            per_token_us: 600,
        },
        input_price_microusd: 800_000,
        output_price_microusd: 4_000_000,
    },
    SimulatedModel {
        name: "fast",
        purpose: Purpose::Text,
        ability: 0.8,
        thinking_gain: 0.8,
        verbosity: 2,
        latency: LatencyProfile {
            first_token_us: 12_000,
            per_token_us: 300,
        },
        input_price_microusd: 150_000,
        output_price_microusd: 600_000,
    },
    SimulatedModel {
        name: "weak",
        purpose: Purpose::Text,
        ability: -0.4,
        thinking_gain: 1.0,
        verbosity: 6,
        latency: LatencyProfile {
            first_token_us: 8_000,
            per_token_us: 200,
        },
        input_price_microusd: 50_000,
        output_price_microusd: 200_000,
    },
    SimulatedModel {
        name: "embedding",
        purpose: Purpose::Embedding,
        ability: -6.0,
        thinking_gain: 0.0,
        verbosity: 0,
        latency: LatencyProfile {
            first_token_us: 5_000,
            per_token_us: 0,
        },
        input_price_microusd: 20_000,
        output_price_microusd: 0,
    },
];

/// Finds a simulated model by name.
#[must_use]
pub fn find_model(name: &str) -> Option<&'static SimulatedModel> {
    MODELS.iter().find(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_found_by_its_name_only() {
        for model in MODELS {
            assert_eq!(find_model(model.name), Some(model));
        }
        assert_eq!(find_model("Strong"), None);
        assert_eq!(find_model(""), None);
    }

    #[test]
    fn the_abler_model_is_slower_and_dearer() {
        let text: Vec<_> = MODELS
            .iter()
            .filter(|model| model.purpose == Purpose::Text)
            .collect();
        assert_eq!(text.len(), 4);
        for pair in text.windows(2) {
            let [abler, weaker] = pair else {
                panic!("windows of two")
            };
            assert!(abler.ability > weaker.ability);
            assert!(abler.thinking_gain < weaker.thinking_gain);
            assert!(abler.latency.per_token_us > weaker.latency.per_token_us);
            assert!(abler.output_price_microusd > weaker.output_price_microusd);
        }
    }
}
