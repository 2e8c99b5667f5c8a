//! Settings of the simulated server.

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use opb_worker::simulation::{Fault, FaultPlan};
use secrecy::SecretString;

/// Settings of `opb simulate`.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateSettings {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "OPB_SIMULATE_PORT", default_value_t = 8900)]
    pub port: u16,

    /// Address to listen on.
    #[arg(long, env = "OPB_SIMULATE_LISTEN_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen_host: IpAddr,

    /// How long a reply takes: `none`, `real` (the model's own profile), or milliseconds.
    #[arg(long, env = "OPB_SIMULATE_LATENCY", default_value = "real")]
    pub latency: Latency,

    /// Share of model calls that fail, 0 to 1.
    #[arg(long, env = "OPB_SIMULATE_FAULT_RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub fault_rate: f64,

    /// Faults to choose from, separated by commas; all by default.
    #[arg(long, env = "OPB_SIMULATE_FAULTS", value_delimiter = ',')]
    pub faults: Vec<Fault>,

    /// Seed of all random choices; added to the seed of a request.
    #[arg(long, env = "OPB_SIMULATE_SEED", default_value_t = 0)]
    pub seed: u64,

    /// Model calls per minute before 429; no limit by default.
    #[arg(long, env = "OPB_SIMULATE_RPM")]
    pub rpm: Option<NonZeroU32>,

    /// Model calls answered concurrently; further ones wait in line. No limit by default.
    #[arg(long, env = "OPB_SIMULATE_SLOTS")]
    pub slots: Option<NonZeroU32>,

    /// Concurrent model calls before 429; no limit by default.
    #[arg(long, env = "OPB_SIMULATE_MAX_CONCURRENT")]
    pub max_concurrent: Option<NonZeroU32>,

    /// JSONL file of right answers: `{"text", "expected"}` or `{"vars", "expected"}` on each line; may be repeated.
    /// Without it, the answers of the built-in benchmarks are known.
    #[arg(long, env = "OPB_SIMULATE_ANSWERS", value_delimiter = ',')]
    pub answers: Vec<PathBuf>,

    /// Bearer token that every request but `/health` must carry.
    #[arg(long, env = "OPB_SIMULATE_API_KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,

    /// Threads that serve; one for each core by default.
    #[arg(long, env = "OPB_SIMULATE_THREADS")]
    pub threads: Option<NonZeroUsize>,
}

impl SimulateSettings {
    pub(super) fn fault_plan(&self) -> FaultPlan {
        let kinds = if self.faults.is_empty() {
            Fault::ALL.to_vec()
        } else {
            self.faults.clone()
        };
        FaultPlan {
            rate: self.fault_rate,
            kinds,
            seed: self.seed,
        }
    }
}

/// How long a simulated reply takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// As fast as can be.
    None,
    /// As the model's profile says.
    Real,
    /// Always the same.
    Fixed(Duration),
}

impl Latency {
    /// The delay; `real` is that of the model's profile.
    pub(super) fn of(self, real: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Real => real,
            Self::Fixed(fixed) => fixed,
        }
    }
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "real" => Ok(Self::Real),
            _ => {
                let millis: u32 = text
                    .parse()
                    .map_err(|_| "expected `none`, `real` or milliseconds".to_owned())?;
                Ok(Self::Fixed(Duration::from_millis(millis.into())))
            }
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_parse() {
        for (text, expect) in [
            ("none", Ok(Latency::None)),
            ("real", Ok(Latency::Real)),
            ("25", Ok(Latency::Fixed(Duration::from_millis(25)))),
        ] {
            assert_eq!(text.parse::<Latency>(), expect);
        }
        for text in ["", "fast", "-1", "1.5", "10ms"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_shares() {
        for text in ["0", "0.25", "1"] {
            assert!(parse_rate(text).is_ok(), "{text}");
        }
        for text in ["-0.1", "1.01", "NaN", "inf", "", "ten"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
