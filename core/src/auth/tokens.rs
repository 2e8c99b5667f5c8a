//! Access and refresh tokens: JWTs with a fixed algorithm, all claims validated, and separate keys.
//!
//! A valid signature is not sufficient: `sessions` checks whether the token's session is active. Of a token's header,
//! only the key id is used, to find a key in memory.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result, sealing::MasterKey};

/// Lifetime of an access token.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

const ISSUER: &str = "openpromptbank";
/// Maximum clock difference between two servers, in seconds.
const LEEWAY: u64 = 5;
/// Maximum length of a token in bytes; our own have about 500.
const MAX_LEN: usize = 2048;
const REFUSED: Error = Error::Unauthenticated("the token is invalid or expired");

/// Issues and verifies tokens with keys derived from the master key; also verifies those of the previous key.
#[derive(Clone)]
pub struct TokenKeys {
    newest: String,
    by_id: HashMap<String, KeyPair>,
}

/// The content of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessToken {
    /// The user.
    pub user_id: i64,
    /// The session.
    pub session_id: Uuid,
}

/// The content of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The user.
    pub user_id: i64,
    /// The session.
    pub session_id: Uuid,
    /// The number of the token in the session, from 0.
    pub counter: i32,
}

#[derive(Clone)]
struct KeyPair {
    access: Key,
    refresh: Key,
}

#[derive(Clone)]
struct Key {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// The differences between the two kinds of token, besides their keys.
struct Kind {
    /// The header's `typ`.
    typ: &'static str,
    /// The claim `token_use`.
    token_use: &'static str,
    audience: &'static str,
    purpose: &'static str,
}

const ACCESS: Kind = Kind {
    typ: "at+jwt",
    token_use: "access",
    audience: "openpromptbank-api",
    purpose: "access-tokens",
};
const REFRESH: Kind = Kind {
    typ: "rt+jwt",
    token_use: "refresh",
    audience: "openpromptbank-sessions",
    purpose: "refresh-tokens",
};

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    token_use: String,
    sid: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctr: Option<i32>,
}

impl TokenKeys {
    /// Derives the keys from the master key and the previous one.
    #[must_use]
    pub fn new(master_key: &MasterKey) -> Self {
        let keys = std::iter::once(master_key).chain(master_key.previous());
        let by_id = keys.map(|key| (id_of(key), KeyPair::derive(key))).collect();
        Self {
            newest: id_of(master_key),
            by_id,
        }
    }

    /// Issues an access token, valid from `now` for [`TOKEN_LIFETIME`], but never longer than its session.
    ///
    /// # Errors
    /// The token cannot be signed.
    pub fn issue_access(
        &self,
        token: AccessToken,
        now: DateTime<Utc>,
        session_expires_at: DateTime<Utc>,
    ) -> Result<SecretString> {
        let claims = Claims {
            iss: ISSUER.into(),
            aud: ACCESS.audience.into(),
            sub: token.user_id.to_string(),
            jti: Uuid::new_v4().to_string(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: (now + TOKEN_LIFETIME).min(session_expires_at).timestamp(),
            token_use: ACCESS.token_use.into(),
            sid: token.session_id,
            ctr: None,
        };
        self.sign(&ACCESS, &claims)
    }

    /// Issues the refresh token of a session's counter. The same input gives the same token, so a lost response can be
    /// repeated.
    ///
    /// # Errors
    /// The token cannot be signed.
    pub fn issue_refresh(
        &self,
        token: RefreshToken,
        rotated_at: DateTime<Utc>,
        session_expires_at: DateTime<Utc>,
    ) -> Result<SecretString> {
        let claims = Claims {
            iss: ISSUER.into(),
            aud: REFRESH.audience.into(),
            sub: token.user_id.to_string(),
            jti: format!("{}.{}", token.session_id, token.counter),
            iat: rotated_at.timestamp(),
            nbf: rotated_at.timestamp(),
            exp: session_expires_at.timestamp(),
            token_use: REFRESH.token_use.into(),
            sid: token.session_id,
            ctr: Some(token.counter),
        };
        self.sign(&REFRESH, &claims)
    }

    /// Verifies an access token and returns its content.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for every token that was not issued by this program as an access token, or is no
    /// longer valid.
    pub fn verify_access(&self, token: &str) -> Result<AccessToken> {
        let claims = self.verify(&ACCESS, token)?;
        let lives = claims.exp.checked_sub(claims.iat).ok_or(REFUSED)?;
        if lives > TOKEN_LIFETIME.as_secs().cast_signed() || claims.ctr.is_some() {
            return Err(REFUSED);
        }
        Ok(AccessToken {
            user_id: claims.sub.parse().map_err(|_| REFUSED)?,
            session_id: claims.sid,
        })
    }

    /// Verifies a refresh token and returns its content.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for every token that was not issued by this program as a refresh token, or is no
    /// longer valid.
    pub fn verify_refresh(&self, token: &str) -> Result<RefreshToken> {
        let claims = self.verify(&REFRESH, token)?;
        Ok(RefreshToken {
            user_id: claims.sub.parse().map_err(|_| REFUSED)?,
            session_id: claims.sid,
            counter: claims.ctr.ok_or(REFUSED)?,
        })
    }

    fn sign(&self, kind: &Kind, claims: &Claims) -> Result<SecretString> {
        let keys = self.by_id.get(&self.newest);
        let keys = keys.ok_or_else(|| Error::Internal("there is no key for tokens".into()))?;
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(kind.typ.into());
        header.kid = Some(self.newest.clone());
        jsonwebtoken::encode(&header, claims, &keys.of(kind).encoding)
            .map(Into::into)
            .map_err(|error| Error::Internal(format!("a token cannot be signed: {error}")))
    }

    fn verify(&self, kind: &Kind, token: &str) -> Result<Claims> {
        if token.len() > MAX_LEN {
            return Err(REFUSED);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?;
        // All extensions listed in `crit` must be understood, and we support none.
        if header.typ.as_deref() != Some(kind.typ) || header.crit.is_some() {
            return Err(REFUSED);
        }
        let keys = header.kid.and_then(|id| self.by_id.get(&id));
        let key = keys.ok_or(REFUSED)?.of(kind);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &key.validation)
            .map_err(|_| REFUSED)?
            .claims;
        let newest_iat = Utc::now().timestamp() + LEEWAY.cast_signed();
        if claims.token_use != kind.token_use || claims.iat > newest_iat {
            return Err(REFUSED);
        }
        Ok(claims)
    }
}

impl KeyPair {
    fn derive(master_key: &MasterKey) -> Self {
        let key = |kind: &Kind| {
            let secret = master_key.derive(kind.purpose);
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = LEEWAY;
            validation.validate_nbf = true;
            validation.set_issuer(&[ISSUER]);
            validation.set_audience(&[kind.audience]);
            // Without this, a token that lacks a claim would be accepted.
            validation.set_required_spec_claims(&["exp", "aud", "iss", "sub", "nbf"]);
            Key {
                encoding: EncodingKey::from_secret(secret.expose_secret()),
                decoding: DecodingKey::from_secret(secret.expose_secret()),
                validation,
            }
        };
        Self {
            access: key(&ACCESS),
            refresh: key(&REFRESH),
        }
    }

    fn of(&self, kind: &Kind) -> &Key {
        if kind.token_use == ACCESS.token_use {
            &self.access
        } else {
            &self.refresh
        }
    }
}

/// The public id of the token keys derived from a master key.
fn id_of(master_key: &MasterKey) -> String {
    let bytes = master_key.derive("token-key-id");
    BASE64_URL_SAFE_NO_PAD.encode(&bytes.expose_secret()[..8])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn master(key: u8) -> MasterKey {
        let text = base64::prelude::BASE64_STANDARD.encode([key; 32]);
        MasterKey::parse(&text.into()).unwrap()
    }

    fn keys(key: u8) -> TokenKeys {
        TokenKeys::new(&master(key))
    }

    const TOKEN: AccessToken = AccessToken {
        user_id: 42,
        session_id: Uuid::nil(),
    };

    fn access(keys: &TokenKeys, now: DateTime<Utc>) -> String {
        let end = now + Duration::from_hours(1);
        let token = keys.issue_access(TOKEN, now, end).unwrap();
        token.expose_secret().to_owned()
    }

    fn header(kind: &Kind) -> Header {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(kind.typ.into());
        header.kid = Some(id_of(&master(1)));
        header
    }

    fn claims(kind: &Kind) -> serde_json::Value {
        let now = Utc::now().timestamp();
        json!({"iss": ISSUER, "aud": kind.audience, "sub": "1", "jti": "a", "iat": now, "nbf": now, "exp": now + 900,
               "token_use": kind.token_use, "sid": Uuid::nil()})
    }

    fn sign(kind: &Kind, header: &Header, claims: &serde_json::Value) -> String {
        let key = &keys(1).by_id[&id_of(&master(1))].of(kind).encoding.clone();
        jsonwebtoken::encode(header, claims, key).unwrap()
    }

    #[test]
    fn accepts_its_own_tokens_only() {
        let now = Utc::now();
        let token = access(&keys(1), now);
        assert_eq!(keys(1).verify_access(&token).unwrap(), TOKEN);
        assert!(keys(2).verify_access(&token).is_err());
        assert!(keys(1).verify_refresh(&token).is_err());
        let old = access(&keys(1), now - Duration::from_mins(16));
        assert!(keys(1).verify_access(&old).is_err());
        let early = access(&keys(1), now + Duration::from_mins(1));
        assert!(keys(1).verify_access(&early).is_err());
    }

    #[test]
    fn the_previous_key_still_checks_but_does_not_sign() {
        let now = Utc::now();
        let both = TokenKeys::new(&master(2).with_previous(master(1)));
        assert!(both.verify_access(&access(&keys(1), now)).is_ok());
        assert!(keys(2).verify_access(&access(&both, now)).is_ok());
        assert!(keys(1).verify_access(&access(&both, now)).is_err());
    }

    #[test]
    fn a_refresh_token_can_be_made_again() {
        let now = Utc::now();
        let token = RefreshToken {
            user_id: 1,
            session_id: Uuid::nil(),
            counter: 3,
        };
        let issue = || {
            let made = keys(1).issue_refresh(token, now, now + Duration::from_hours(1));
            made.unwrap().expose_secret().to_owned()
        };
        assert_eq!(issue(), issue());
        assert_eq!(keys(1).verify_refresh(&issue()).unwrap(), token);
        assert!(keys(1).verify_access(&issue()).is_err());
    }

    #[test]
    fn a_token_ends_with_its_session() {
        let now = Utc::now();
        let token = keys(1).issue_access(
            TOKEN,
            now - Duration::from_mins(2),
            now - Duration::from_mins(1),
        );
        assert!(
            keys(1)
                .verify_access(token.unwrap().expose_secret())
                .is_err()
        );
    }

    #[test]
    fn refuses_tokens_that_lack_or_bend_a_claim() {
        let now = Utc::now().timestamp();
        let good = claims(&ACCESS);
        let refused = |header: &Header, claims: &serde_json::Value| {
            keys(1)
                .verify_access(&sign(&ACCESS, header, claims))
                .is_err()
        };
        assert!(!refused(&header(&ACCESS), &good));
        for claim in good.as_object().unwrap().keys() {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(claim);
            assert!(refused(&header(&ACCESS), &claims), "without {claim}");
        }
        for (claim, value) in [
            ("iss", json!("other")),
            ("iss", json!("OpenPromptBank")),
            ("iss", json!([ISSUER])),
            ("aud", json!(["other"])),
            ("aud", json!([ACCESS.audience])),
            ("aud", json!(REFRESH.audience)),
            ("exp", json!(now + 901)),
            ("exp", json!(now - 6)),
            ("exp", json!(-1)),
            ("exp", json!(1e12)),
            ("exp", json!(u64::MAX)),
            ("exp", json!("soon")),
            ("iat", json!(now + 6)),
            ("nbf", json!(now + 6)),
            ("sub", json!("root")),
            ("token_use", json!("refresh")),
            ("sid", json!("mine")),
            ("ctr", json!(0)),
        ] {
            let mut claims = good.clone();
            claims[claim] = value.clone();
            assert!(refused(&header(&ACCESS), &claims), "{claim} = {value}");
        }
    }

    #[test]
    fn refuses_headers_that_are_not_its_own() {
        let good = claims(&ACCESS);
        let refused = |change: &dyn Fn(&mut Header)| {
            let mut header = header(&ACCESS);
            change(&mut header);
            assert!(
                keys(1)
                    .verify_access(&sign(&ACCESS, &header, &good))
                    .is_err()
            );
        };
        refused(&|header| header.typ = None);
        refused(&|header| header.typ = Some("JWT".into()));
        refused(&|header| header.typ = Some(REFRESH.typ.into()));
        refused(&|header| header.kid = None);
        refused(&|header| header.kid = Some("../../dev/null".into()));
        refused(&|header| header.kid = Some("' or 1=1 --".into()));
        refused(&|header| header.kid = Some("x".repeat(10_000)));
        refused(&|header| header.crit = Some(vec!["exp".into()]));
        refused(&|header| header.alg = Algorithm::HS512);
        // The key of the other kind, although everything else is correct.
        assert!(
            keys(1)
                .verify_access(&sign(&REFRESH, &header(&ACCESS), &good))
                .is_err()
        );
    }
}
