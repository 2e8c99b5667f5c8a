//! Access tokens: short-lived JWTs with one algorithm and every claim checked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result, sealing::MasterKey};

/// How long an access token works.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

const ISSUER: &str = "openpromptbank";
const AUDIENCE: &str = "openpromptbank-api";
const TYPE: &str = "at+jwt";

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Makes and checks access tokens with a key derived from the master key.
#[derive(Clone)]
pub struct AccessTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl AccessTokens {
    /// Derives the signing key.
    #[must_use]
    pub fn new(master_key: &MasterKey) -> Self {
        let secret = master_key.derive("access-tokens");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 5;
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        // Without this line a token that lacks a claim is accepted.
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub", "nbf"]);
        Self {
            encoding: EncodingKey::from_secret(secret.expose_secret()),
            decoding: DecodingKey::from_secret(secret.expose_secret()),
            validation,
        }
    }

    /// A token for a user, valid from `now` on for [`TOKEN_LIFETIME`].
    ///
    /// # Errors
    /// The token cannot be signed.
    pub fn issue(&self, user_id: i64, now: DateTime<Utc>) -> Result<String> {
        let issued = now.timestamp();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user_id.to_string(),
            jti: Uuid::new_v4(),
            iat: issued,
            nbf: issued,
            exp: issued + TOKEN_LIFETIME.as_secs().cast_signed(),
        };
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|error| Error::Internal(format!("a token cannot be signed: {error}")))
    }

    /// The id of the user that a token was issued to.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for every token that this program did not issue, or that is no longer valid.
    pub fn verify(&self, token: &str) -> Result<i64> {
        const REFUSED: Error = Error::Unauthenticated("the token is invalid or expired");
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| REFUSED)?;
        let lives = data.claims.exp.checked_sub(data.claims.iat);
        if data.header.typ.as_deref() != Some(TYPE)
            || lives != Some(TOKEN_LIFETIME.as_secs().cast_signed())
        {
            return Err(REFUSED);
        }
        data.claims.sub.parse().map_err(|_| REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(key: u8) -> AccessTokens {
        use base64::Engine as _;
        let text = base64::prelude::BASE64_STANDARD.encode([key; 32]);
        AccessTokens::new(&MasterKey::parse(&text.into()).unwrap())
    }

    fn sign(header: &Header, claims: &serde_json::Value) -> String {
        jsonwebtoken::encode(header, claims, &tokens(1).encoding).unwrap()
    }

    #[test]
    fn accepts_its_own_tokens_only() {
        let now = Utc::now();
        let token = tokens(1).issue(42, now).unwrap();
        assert_eq!(tokens(1).verify(&token).unwrap(), 42);
        assert!(tokens(2).verify(&token).is_err());
        let old = now - Duration::from_mins(16);
        assert!(
            tokens(1)
                .verify(&tokens(1).issue(42, old).unwrap())
                .is_err()
        );
        let early = now + Duration::from_mins(1);
        assert!(
            tokens(1)
                .verify(&tokens(1).issue(42, early).unwrap())
                .is_err()
        );
    }

    #[test]
    fn refuses_tokens_that_lack_or_bend_a_claim() {
        let now = Utc::now().timestamp();
        let good = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "1", "jti": Uuid::nil(), "iat": now, "nbf": now, "exp": now + 900});
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        assert!(tokens(1).verify(&sign(&header, &good)).is_ok());
        for claim in ["iss", "aud", "sub", "jti", "iat", "nbf", "exp"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(claim);
            assert!(
                tokens(1).verify(&sign(&header, &claims)).is_err(),
                "without {claim}"
            );
        }
        for (claim, value) in [
            ("iss", json!("other")),
            ("aud", json!(["other"])),
            ("exp", json!(now + 901)),
            ("exp", json!(u64::MAX)),
            ("exp", json!("soon")),
            ("sub", json!("root")),
        ] {
            let mut claims = good.clone();
            claims[claim] = value.clone();
            assert!(
                tokens(1).verify(&sign(&header, &claims)).is_err(),
                "{claim} = {value}"
            );
        }
        assert!(
            tokens(1)
                .verify(&sign(&Header::new(Algorithm::HS256), &good))
                .is_err(),
            "another typ"
        );
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
        let signed = sign(&header, &good);
        let payload = signed.split('.').nth(1).unwrap();
        assert!(tokens(1).verify(&format!("{none}.{payload}.")).is_err());
    }
}
