//! Credentials of requests: in headers only, never in a URL.

use std::time::SystemTime;

use anyhow::Context as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{CallError, CallErrorKind};

/// The authorization of requests.
pub(super) struct Auth {
    way: Way,
    secrets: Vec<SecretString>,
}

enum Way {
    /// No credential.
    Open,
    /// The same header for every request.
    Header(HeaderName, HeaderValue),
    /// Each request is signed.
    Aws(Box<Aws>),
}

struct Aws {
    access_key: String,
    secret_key: SecretString,
    session_token: Option<SecretString>,
    region: String,
}

/// Shorter credentials are placeholders: local servers accept any, such as `none`, `x` or `EMPTY`, and responses that
/// contain such a word must not lose it.
const MIN_SECRET_CHARS: usize = 8;

/// The credentials to remove from responses and errors.
fn secrets(credentials: impl IntoIterator<Item = SecretString>) -> Vec<SecretString> {
    let long =
        |credential: &SecretString| credential.expose_secret().chars().count() >= MIN_SECRET_CHARS;
    credentials.into_iter().filter(long).collect()
}

impl Auth {
    /// Uses `Authorization: Bearer …`, if there is a credential.
    ///
    /// # Errors
    /// The credential is not a valid header.
    pub(super) fn bearer(credential: Option<SecretString>) -> anyhow::Result<Self> {
        Self::header(AUTHORIZATION, "Bearer ", credential)
    }

    /// Uses a header with the credential after a prefix, if there is a credential.
    ///
    /// # Errors
    /// The credential is not a valid header.
    pub(super) fn header(
        name: HeaderName,
        prefix: &str,
        credential: Option<SecretString>,
    ) -> anyhow::Result<Self> {
        let Some(credential) = credential else {
            return Ok(Self {
                way: Way::Open,
                secrets: Vec::new(),
            });
        };
        let text = format!("{prefix}{}", credential.expose_secret());
        Ok(Self {
            way: Way::Header(name, sensitive(&text)?),
            secrets: secrets([credential]),
        })
    }

    /// Uses Amazon's authorization: `ID:SECRET` or `ID:SECRET:SESSION_TOKEN` sign each request (Signature Version 4);
    /// anything else is an API key of Bedrock.
    ///
    /// # Errors
    /// There is no credential, or it is not a valid header.
    pub(super) fn aws(credential: Option<SecretString>, region: &str) -> anyhow::Result<Self> {
        let credential =
            credential.context("the provider has no credential, which Bedrock needs")?;
        let mut parts = credential.expose_secret().splitn(3, ':');
        let (Some(id), Some(secret)) = (parts.next(), parts.next()) else {
            return Self::bearer(Some(credential));
        };
        let aws = Aws {
            access_key: id.to_owned(),
            secret_key: secret.into(),
            session_token: parts.next().map(SecretString::from),
            region: region.to_owned(),
        };
        let parts = [Some(aws.secret_key.clone()), aws.session_token.clone()];
        Ok(Self {
            way: Way::Aws(Box::new(aws)),
            secrets: secrets(parts.into_iter().flatten()),
        })
    }

    /// The secrets to remove from responses and errors.
    pub(super) fn secrets(&self) -> &[SecretString] {
        &self.secrets
    }

    /// Returns the headers of a request.
    ///
    /// # Errors
    /// The request cannot be signed.
    pub(super) fn headers(
        &self,
        url: &str,
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, CallError> {
        match &self.way {
            Way::Open => Ok(Vec::new()),
            Way::Header(name, value) => Ok(vec![(name.clone(), value.clone())]),
            Way::Aws(aws) => aws.sign(url, body, SystemTime::now()).map_err(|_| {
                CallError::new(CallErrorKind::Request, "the request cannot be signed")
            }),
        }
    }
}

impl Aws {
    fn sign(
        &self,
        url: &str,
        body: &[u8],
        time: SystemTime,
    ) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
        let identity = aws_credential_types::Credentials::new(
            self.access_key.clone(),
            self.secret_key.expose_secret(),
            self.session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            None,
            "provider",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("bedrock")
            .time(time)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = [("content-type", "application/json")];
        let request =
            SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(body))?;
        let (signed, _) = sign(request, &params)?.into_parts();
        let (headers, _) = signed.into_parts();
        headers
            .into_iter()
            .map(|header| {
                Ok((
                    HeaderName::try_from(header.name())?,
                    sensitive(header.value())?,
                ))
            })
            .collect()
    }
}

/// Creates a header that is redacted in logs.
fn sensitive(text: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| anyhow::anyhow!("the credential holds characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The expected signature was computed by another implementation of the published algorithm (Python's hmac and
    /// hashlib).
    #[test]
    fn signs_as_published() {
        let aws = Aws {
            access_key: "AKID".into(),
            secret_key: "secret".into(),
            session_token: Some("token".into()),
            region: "eu-central-1".into(),
        };
        let url = "http://127.0.0.1:8080/model/eu.m%3A0/converse";
        let time = SystemTime::UNIX_EPOCH + Duration::from_hours(498_701);
        let headers = aws.sign(url, br#"{"a":1}"#, time).unwrap();
        let header = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.unwrap().1.to_str().unwrap().to_owned()
        };
        assert_eq!(header("x-amz-date"), "20261122T050000Z");
        assert_eq!(header("x-amz-security-token"), "token");
        assert_eq!(
            header("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=ce0f60400d99686c3274e411fc28498f17edda131bbe578ef7e33c33aef9bc98"
        );
        assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
    }

    /// Responses may contain such a word themselves.
    #[test]
    fn a_placeholder_is_no_secret() {
        for (credential, kept) in [("none", 0), ("EMPTY", 0), ("4", 0), ("sk-12345", 1)] {
            let auth = Auth::bearer(Some(credential.into())).unwrap();
            assert_eq!(auth.secrets().len(), kept, "{credential}");
        }
    }

    #[test]
    fn a_key_of_bedrock_is_sent_as_it_is() {
        let auth = Auth::aws(Some("ABSK-key".into()), "eu-central-1").unwrap();
        let headers = auth.headers("http://x/", b"").unwrap();
        assert_eq!(headers[0].1.to_str().unwrap(), "Bearer ABSK-key");
        assert!(Auth::aws(None, "eu-central-1").is_err());
    }
}
