//! Logins through OpenID Connect providers that the operator has configured: authorization code, PKCE, nonce and
//! state.
//!
//! The provider's response is verified here, by the crate `openidconnect`; `opb-core` decides which account it opens.
//! No token is ever in a URL, and no text of a provider is shown to users.

mod cookie;
mod http;
mod settings;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use opb_core::{auth::ConfirmedIdentity, outbound::OutboundPolicy};
use openidconnect::{
    AccessTokenHash, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    SignatureVerificationError, TokenResponse as _,
    core::{
        CoreClient, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm, CoreProviderMetadata,
        CoreResponseType, CoreTokenResponse, CoreUserInfoClaims,
    },
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;
use url::Url;

pub(crate) use cookie::{Progress, clear, read, write};
pub use settings::OidcSettings;

use http::Http;
use settings::ProviderSettings;

/// Maximum age of a provider's cached metadata and keys.
const METADATA_LIFETIME: Duration = Duration::from_mins(5);
/// Minimum time between two fetches of a provider's keys, however many tokens name unknown keys.
const METADATA_PAUSE: Duration = Duration::from_secs(10);
/// Maximum age of an ID token; it was made for this login.
const TOKEN_AGE: TimeDelta = TimeDelta::minutes(10);
/// Maximum difference between the clocks of provider and server.
const LEEWAY: TimeDelta = TimeDelta::minutes(1);
/// Maximum length of a user's `sub` claim, in characters (OpenID Connect Core, section 2: 255).
const MAX_SUBJECT: usize = 255;
/// Maximum length of an email address, in characters.
const MAX_EMAIL: usize = 254;
/// Maximum length of a name that is adopted from a provider, in characters.
const MAX_WISH: usize = 64;
/// Accepted signatures of ID tokens: only asymmetric ones, with a key that only the provider has.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The providers, by name.
#[derive(Default)]
pub(crate) struct Oidc {
    providers: BTreeMap<String, Provider>,
}

/// One provider.
pub(crate) struct Provider {
    pub(crate) name: String,
    settings: ProviderSettings,
    redirect_url: RedirectUrl,
    http: Http,
    known: Mutex<Option<ProviderMetadata>>,
}

/// A provider's metadata, and when it was fetched.
#[derive(Clone)]
struct ProviderMetadata {
    at: Instant,
    metadata: CoreProviderMetadata,
}

/// The parameters with which the provider sends the browser back.
pub(crate) struct CallbackParameters {
    pub(crate) code: String,
    /// The issuer, if the provider sends it (RFC 9207).
    pub(crate) issuer: Option<String>,
}

/// Why a login through a provider failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The provider cannot be reached, or its response is not as specified.
    #[error("provider_unavailable")]
    Unavailable,
    /// The user or the provider refused the login.
    #[error("login_refused")]
    Refused,
    /// This browser did not begin the login, or began it too long ago.
    #[error("login_unknown")]
    Unknown,
    /// The provider's response does not prove the user's identity.
    #[error("login_not_confirmed")]
    NotConfirmed,
    /// The user's address is not of a domain that the operator allows.
    #[error("email_not_allowed")]
    EmailNotAllowed,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Oidc {
    /// Reads the file of providers.
    ///
    /// # Errors
    /// The file or a setting in it is invalid, or there is no public URL.
    pub(crate) fn new(
        settings: &OidcSettings,
        public_url: Option<&Url>,
        policy: &Arc<OutboundPolicy>,
    ) -> anyhow::Result<Self> {
        let read = settings.read()?;
        if read.is_empty() {
            return Ok(Self::default());
        }
        let Some(public_url) = public_url else {
            bail!(
                "--oidc-providers needs --public-url (OPB_PUBLIC_URL): providers send browsers back there"
            );
        };
        let http = Http::new(policy)?;
        let mut providers = BTreeMap::new();
        for (name, settings) in read {
            let back = public_url.join(&format!("api/v1/auth/oidc/{name}/callback"))?;
            let provider = Provider {
                redirect_url: RedirectUrl::from_url(back),
                http: http.clone(),
                known: Mutex::new(None),
                name: name.clone(),
                settings,
            };
            providers.insert(name, provider);
        }
        Ok(Self { providers })
    }

    /// All providers.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// The provider with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name)
    }
}

impl Provider {
    /// The name that users see.
    pub(crate) fn display_name(&self) -> &str {
        self.settings.display_name.as_deref().unwrap_or(&self.name)
    }

    /// True if unknown users get accounts.
    pub(crate) fn creates_users(&self) -> bool {
        self.settings.create_users
    }

    /// Begins a login: returns where the browser goes, and the progress to keep in its cookie.
    ///
    /// # Errors
    /// The provider cannot be reached.
    pub(crate) async fn start(&self) -> Result<(Url, Progress), Fault> {
        let client = self.client(METADATA_LIFETIME).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let (url, state, nonce) = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(self.note(
                Fault::Unavailable,
                "its authorization endpoint is not an http(s) URL",
            ));
        }
        let progress = Progress::Started {
            provider: self.name.clone(),
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            browser: CsrfToken::new_random_len(32).secret().clone(),
            at: Utc::now(),
        };
        Ok((url, progress))
    }

    /// Ends a login: exchanges the code, and verifies the identity in the provider's response.
    ///
    /// # Errors
    /// The provider cannot be reached, or does not prove the identity.
    pub(crate) async fn finish(
        &self,
        returned: CallbackParameters,
        nonce: String,
        verifier: String,
    ) -> Result<ConfirmedIdentity, Fault> {
        if returned
            .issuer
            .is_some_and(|issuer| issuer != *self.settings.issuer)
        {
            return Err(self.note(
                Fault::NotConfirmed,
                "the browser came back from another issuer",
            ));
        }
        let client = self.client(METADATA_LIFETIME).await?;
        let response = client
            .exchange_code(AuthorizationCode::new(returned.code))
            .map_err(|_| self.note(Fault::Unavailable, "its metadata has no token endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&self.http)
            .await
            .map_err(|error| self.note_request(&error))?;
        let Some(token) = response.id_token() else {
            return Err(self.note(Fault::NotConfirmed, "it sent no ID token"));
        };
        let nonce = Nonce::new(nonce);
        let claims = match self.check(&client, &response, token, &nonce) {
            // The provider may have rotated its keys since they were fetched.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                let client = self.client(METADATA_PAUSE).await?;
                self.check(&client, &response, token, &nonce)
            }
            checked => checked,
        };
        let claims = claims.map_err(|error| self.note(Fault::NotConfirmed, &error.to_string()))?;
        let mut identity = ConfirmedIdentity {
            provider: self.name.clone(),
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            email: claims.email().map(|email| email.to_string()),
            email_verified: claims.email_verified().unwrap_or(false),
            name: claims.preferred_username().map(|name| wish(name)),
            may_register: false,
        };
        if identity.email.is_none() {
            self.ask_for_email(&client, &response, &claims, &mut identity)
                .await?;
        }
        self.require_fitting(&identity)?;
        Ok(identity)
    }

    /// Verifies signature, issuer, audience, times, nonce, authorized party and the hash of the access token.
    fn check(
        &self,
        client: &Client,
        response: &CoreTokenResponse,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
        let wrong = |what: &str| ClaimsVerificationError::Other(what.to_owned());
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_issue_time_verifier_fn(is_fresh);
        let claims = token.claims(&verifier, nonce)?;
        let party = claims.authorized_party();
        if party.is_some_and(|party| **party != self.settings.client_id) {
            return Err(wrong("the ID token was issued for another party"));
        }
        if let Some(expected) = claims.access_token_hash() {
            let unsigned = ClaimsVerificationError::SignatureVerification;
            let key = token.signing_key(&verifier).map_err(unsigned)?;
            let algorithm = token.signing_alg().map_err(unsigned)?;
            let actual = AccessTokenHash::from_token(response.access_token(), algorithm, key);
            if actual.ok().as_ref() != Some(expected) {
                return Err(wrong("the ID token does not belong to the access token"));
            }
        }
        Ok(claims.clone())
    }

    /// Some providers tell the email address only to a request with the access token.
    async fn ask_for_email(
        &self,
        client: &Client,
        response: &CoreTokenResponse,
        claims: &CoreIdTokenClaims,
        identity: &mut ConfirmedIdentity,
    ) -> Result<(), Fault> {
        let subject = Some(claims.subject().clone());
        let Ok(request) = client.user_info(response.access_token().clone(), subject) else {
            return Ok(());
        };
        let said: CoreUserInfoClaims = request
            .request_async(&self.http)
            .await
            .map_err(|_| self.note(Fault::Unavailable, "its user info could not be read"))?;
        identity.email = said.email().map(|email| email.to_string());
        identity.email_verified = said.email_verified().unwrap_or(false);
        if identity.name.is_none() {
            identity.name = said.preferred_username().map(|name| name.to_string());
        }
        Ok(())
    }

    /// Refuses claims that cannot be stored, and email domains that the operator does not allow.
    fn require_fitting(&self, identity: &ConfirmedIdentity) -> Result<(), Fault> {
        let fits = |text: &str, longest: usize| {
            !text.is_empty() && text.chars().count() <= longest && !text.contains('\0')
        };
        let email = identity.email.as_deref();
        if !fits(&identity.subject, MAX_SUBJECT)
            || email.is_some_and(|email| !fits(email, MAX_EMAIL))
        {
            return Err(self.note(
                Fault::NotConfirmed,
                "a claim is empty, too long or contains a NUL character",
            ));
        }
        let allowed = &self.settings.allowed_email_domains;
        let domain = identity
            .email
            .as_deref()
            .and_then(|email| email.rsplit_once('@'));
        let fits = domain.is_some_and(|(_, domain)| {
            allowed.iter().any(|name| name.eq_ignore_ascii_case(domain))
        });
        if allowed.is_empty() || (identity.email_verified && fits) {
            return Ok(());
        }
        Err(self.note(
            Fault::EmailNotAllowed,
            "the domain of the user's email address is not allowed",
        ))
    }

    /// The client of a provider, with metadata that is at most `max_age` old.
    async fn client(&self, max_age: Duration) -> Result<Client, Fault> {
        // Concurrent logins wait for one fetch and share its result.
        let mut known = self.known.lock().await;
        let fresh = known.take().filter(|known| known.at.elapsed() < max_age);
        let current = match fresh {
            Some(known) => known,
            None => self.discover().await?,
        };
        *known = Some(current.clone());
        drop(known);
        let settings = &self.settings;
        let secret = settings.client_secret.as_ref();
        Ok(CoreClient::from_provider_metadata(
            current.metadata,
            ClientId::new(settings.client_id.clone()),
            secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned())),
        )
        .set_redirect_uri(self.redirect_url.clone()))
    }

    async fn discover(&self) -> Result<ProviderMetadata, Fault> {
        let issuer: IssuerUrl = self.settings.issuer.clone();
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.http)
            .await
            .map_err(|error| self.note(Fault::Unavailable, &error.to_string()))?;
        Ok(ProviderMetadata {
            at: Instant::now(),
            metadata,
        })
    }

    fn note_request<R: std::error::Error, T: openidconnect::ErrorResponse>(
        &self,
        error: &openidconnect::RequestTokenError<R, T>,
    ) -> Fault {
        use openidconnect::RequestTokenError::{Other, Parse, Request, ServerResponse};
        // The provider's own words may repeat the code or a secret.
        match error {
            ServerResponse(_) => self.note(Fault::NotConfirmed, "it rejected the code"),
            Request(_) => self.note(Fault::Unavailable, "it cannot be reached"),
            Parse(..) | Other(_) => {
                self.note(Fault::NotConfirmed, "its response is not a token response")
            }
        }
    }

    /// Logs why a login failed; the client only learns the kind of failure.
    fn note(&self, fault: Fault, reason: &str) -> Fault {
        tracing::warn!(oidc.provider = %self.name, %fault, reason, "a login through {} failed: {reason}", self.name);
        fault
    }
}

fn is_fresh(issued_at: DateTime<Utc>) -> Result<(), String> {
    let age = Utc::now() - issued_at;
    if age > TOKEN_AGE || age < -LEEWAY {
        return Err("the token is too old or from the future".into());
    }
    Ok(())
}

/// A proposal for the username, from the user's name at the provider; characters that do not fit are left out.
fn wish(name: &str) -> String {
    let plain = name.chars().filter(|character| !character.is_control());
    plain.take(MAX_WISH).collect()
}
