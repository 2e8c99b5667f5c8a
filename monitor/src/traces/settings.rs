//! Settings of traces: OpenTelemetry's standard environment variables. They are read only if an endpoint is set, so
//! that variables meant for other programs cannot keep this one from starting.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use clap::Args;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{export::Sender, runs::Ids};

/// Where traces are sent, and which of them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// Address of a collector that accepts traces by OTLP over HTTP, as in `http://127.0.0.1:4318`; without it, no
    /// traces are sent
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub traces_endpoint: Option<SecretString>,
    /// Headers for the collector, such as credentials: `name=value,name=value`, the values percent-encoded
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "HEADERS",
        hide_env_values = true
    )]
    pub traces_headers: Option<SecretString>,
    /// Name of this process in traces, instead of the program's name
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub traces_service_name: Option<String>,
    /// Which traces are kept: `always_on`, `always_off`, `traceidratio`, or one of them after `parentbased_` to
    /// follow the caller's trace; default `parentbased_always_on`
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_name = "SAMPLER")]
    pub traces_sampler: Option<String>,
    /// Share of traces that `traceidratio` keeps, from 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO")]
    pub traces_sampler_arg: Option<String>,
}

impl TraceSettings {
    /// The tracer provider that creates and exports spans, if an endpoint is set.
    pub(super) fn provider(
        &self,
        service: &'static str,
    ) -> anyhow::Result<Option<SdkTracerProvider>> {
        let Some(endpoint) = secret(self.traces_endpoint.as_ref()) else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address(endpoint)?)
            .with_headers(headers(
                secret(self.traces_headers.as_ref()).unwrap_or_default(),
            )?)
            .build()
            .context("traces cannot be exported")?;
        let name = text(self.traces_service_name.as_ref()).unwrap_or(service);
        let resource = Resource::builder()
            .with_service_name(name.to_owned())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_id_generator(Ids::default())
            .with_sampler(self.sampler()?)
            .with_resource(resource)
            .build();
        Ok(Some(provider))
    }

    fn sampler(&self) -> anyhow::Result<Sampler> {
        let name = text(self.traces_sampler.as_ref()).unwrap_or("parentbased_always_on");
        let base = match name.strip_prefix("parentbased_").unwrap_or(name) {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(self.ratio()?),
            _ => bail!("OTEL_TRACES_SAMPLER: unknown sampler `{name}`"),
        };
        if name.starts_with("parentbased_") {
            Ok(Sampler::ParentBased(Box::new(base)))
        } else {
            Ok(base)
        }
    }

    fn ratio(&self) -> anyhow::Result<f64> {
        let Some(argument) = text(self.traces_sampler_arg.as_ref()) else {
            return Ok(1.0);
        };
        let ratio = argument.parse().ok();
        ratio
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .with_context(|| {
                format!("OTEL_TRACES_SAMPLER_ARG: `{argument}` is not a number from 0 to 1")
            })
    }
}

/// An empty setting counts as not set.
fn text(setting: Option<&String>) -> Option<&str> {
    setting
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn secret(setting: Option<&SecretString>) -> Option<&str> {
    let text = setting?.expose_secret().trim();
    (!text.is_empty()).then_some(text)
}

/// The URL to which spans are posted.
fn address(endpoint: &str) -> anyhow::Result<String> {
    // Neither this message nor the parser's quotes the address, which may contain a password.
    let wrong = "OTEL_EXPORTER_OTLP_ENDPOINT: this is not an http:// or https:// address";
    let url = Url::parse(endpoint).ok().context(wrong)?;
    if !matches!(url.scheme(), "http" | "https") {
        bail!(wrong);
    }
    Ok(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
}

fn headers(list: &str) -> anyhow::Result<HashMap<String, String>> {
    let pairs = list.split_terminator(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    });
    pairs
        .collect::<Option<_>>()
        .context("OTEL_EXPORTER_OTLP_HEADERS: these are not `name=value,name=value`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_their_usual_names() {
        let check = |name: &str, ratio: &str, expect: &str| {
            let settings = TraceSettings {
                traces_sampler: Some(name.to_owned()),
                traces_sampler_arg: Some(ratio.to_owned()),
                ..TraceSettings::default()
            };
            let sampler = settings.sampler();
            let found =
                sampler.map_or_else(|error| error.to_string(), |found| format!("{found:?}"));
            assert_eq!(found, expect, "{name} {ratio}");
        };
        check("", "", "ParentBased(AlwaysOn)");
        check("always_on", "x", "AlwaysOn");
        check("parentbased_always_off", "", "ParentBased(AlwaysOff)");
        check("traceidratio", "", "TraceIdRatioBased(1.0)");
        check("traceidratio", "0.25", "TraceIdRatioBased(0.25)");
        check(
            "parentbased_traceidratio",
            "0.25",
            "ParentBased(TraceIdRatioBased(0.25))",
        );
        let wrong = "OTEL_TRACES_SAMPLER_ARG: `2` is not a number from 0 to 1";
        check("traceidratio", "2", wrong);
        check("xray", "", "OTEL_TRACES_SAMPLER: unknown sampler `xray`");
    }

    #[test]
    fn addresses_are_completed() {
        let check = |endpoint: &str, expect: Option<&str>| {
            assert_eq!(address(endpoint).ok().as_deref(), expect, "{endpoint}");
        };
        check(
            "http://collector:4318",
            Some("http://collector:4318/v1/traces"),
        );
        check(
            "https://host/api/otel/",
            Some("https://host/api/otel/v1/traces"),
        );
        check("collector:4318", None);
        check("grpc://collector:4317", None);
    }

    #[test]
    fn headers_are_percent_encoded() {
        let found = headers("Authorization=Basic%20YTpi, x-team = a ,").unwrap();
        assert_eq!(found["Authorization"], "Basic YTpi");
        assert_eq!((found["x-team"].as_str(), found.len()), ("a", 2));
        assert!(headers("").unwrap().is_empty());
        let error = headers("secret-without-a-name").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
