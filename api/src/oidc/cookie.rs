//! The cookie of a login through a provider that is in progress: sealed, so that it can be neither read nor forged.

use axum::http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, InvalidHeaderValue},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use opb_core::sealing::MasterKey;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

/// Maximum duration of a login.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// The context for which the value is sealed.
const CONTEXT: &[u8] = b"oidc-login";

/// The progress of a login.
#[derive(Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The browser was sent to the provider.
    Started {
        provider: String,
        state: String,
        nonce: String,
        verifier: String,
        browser: String,
        at: DateTime<Utc>,
    },
    /// The provider confirmed the login; the one-time code that was issued works in this browser only.
    Confirmed { browser: String, at: DateTime<Utc> },
}

/// The header that sets the cookie. Browsers send it when the provider redirects to this server, and otherwise from
/// our own pages only; with `secure`, its name has a prefix that no other site can set.
pub(crate) fn write(
    progress: &Progress,
    master_key: &MasterKey,
    secure: bool,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let text = serde_json::to_string(progress).unwrap_or_default();
    let sealed = master_key.seal(&text.into(), CONTEXT);
    cookie(&BASE64_URL_SAFE_NO_PAD.encode(sealed), LIFETIME, secure)
}

/// The header that removes the cookie.
pub(crate) fn clear(secure: bool) -> Result<HeaderValue, InvalidHeaderValue> {
    cookie("", TimeDelta::zero(), secure)
}

/// The progress of this browser's login; `None` if there is none or it took too long.
pub(crate) fn read(headers: &HeaderMap, master_key: &MasterKey, secure: bool) -> Option<Progress> {
    let name = name(secure);
    let value = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
    let text = master_key.open(&sealed, CONTEXT).ok()?;
    let progress: Progress = serde_json::from_str(text.expose_secret()).ok()?;
    let (Progress::Started { at, .. } | Progress::Confirmed { at, .. }) = &progress;
    (Utc::now() - at < LIFETIME).then_some(progress)
}

fn cookie(
    value: &str,
    lifetime: TimeDelta,
    secure: bool,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let text = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{}",
        name(secure),
        lifetime.num_seconds(),
        if secure { "; Secure" } else { "" }
    );
    let mut header = HeaderValue::try_from(text)?;
    header.set_sensitive(true);
    Ok(header)
}

fn name(secure: bool) -> &'static str {
    if secure {
        "__Host-opb-oidc"
    } else {
        "opb-oidc"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(age: TimeDelta) -> Progress {
        let at = Utc::now() - age;
        Progress::Confirmed {
            browser: "b".into(),
            at,
        }
    }

    fn sent_back(header: &HeaderValue) -> HeaderMap {
        let pair = header.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("a=b; {pair}").parse().unwrap())])
    }

    #[test]
    fn a_cookie_comes_back_as_it_went_and_no_other_does() {
        let (key, other) = (MasterKey::generate(), MasterKey::generate());
        for secure in [true, false] {
            let header = write(&confirmed(TimeDelta::zero()), &key, secure).unwrap();
            let headers = sent_back(&header);
            assert!(read(&headers, &key, secure).is_some());
            assert!(read(&headers, &key, !secure).is_none(), "the other name");
            assert!(read(&headers, &other, secure).is_none(), "another server's");
            assert_eq!(header.to_str().unwrap().contains("Secure"), secure);
        }
        let old = write(&confirmed(TimeDelta::minutes(11)), &key, true).unwrap();
        assert!(read(&sent_back(&old), &key, true).is_none(), "too old");
        assert!(read(&sent_back(&clear(true).unwrap()), &key, true).is_none());
    }
}
