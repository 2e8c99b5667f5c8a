//! A stand-in for an OpenID Connect provider: discovery, authorization with PKCE, tokens, keys and user info.
//! It is strict about what it is sent, and says wrong things only when a test tells it to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKey, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use axum::{
    Form, Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use url::Url;

pub const CLIENT_ID: &str = "bank";
pub const CLIENT_SECRET: &str = "canary client secret/7";

/// How ID tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    Rs256,
    Es256,
    /// The header says `none`, and there is no signature.
    None,
    /// With the client's secret.
    Hs256,
    /// With a key of somebody else, under the name of ours.
    Foreign,
    /// With our key, of which the header says that it is another one.
    UnknownKey,
}

type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// What the next logins look like.
#[derive(Clone)]
pub struct Script {
    pub signing: Signing,
    /// Who logs in, besides `sub`.
    pub claims: Value,
    pub subject: String,
    /// What is done to the claims of the ID token at last.
    pub change: Change,
    /// The address is told by the user info only.
    pub only_user_info: bool,
    /// Answers everything with this.
    pub instead: Option<fn() -> Response>,
}

pub struct OidcProvider {
    pub issuer: String,
    pub script: Arc<Mutex<Script>>,
    pub requests: Arc<AtomicUsize>,
}

struct Inner {
    issuer: String,
    script: Arc<Mutex<Script>>,
    requests: Arc<AtomicUsize>,
    rsa: RsaKey,
    ec: EcdsaKeyPair,
    foreign: EcdsaKeyPair,
    /// What was asked with each code that was not yet exchanged.
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
}

impl OidcProvider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script {
            signing: Signing::Es256,
            claims: json!({"email": "ada@example.org", "email_verified": true, "preferred_username": "ada"}),
            subject: "subject-of-ada".into(),
            change: Arc::new(|_| {}),
            only_user_info: false,
            instead: None,
        }));
        let requests = Arc::new(AtomicUsize::new(0));
        let new_ec = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let inner = Arc::new(Inner {
            issuer: issuer.clone(),
            script: Arc::clone(&script),
            requests: Arc::clone(&requests),
            rsa: RsaKey::generate(KeySize::Rsa2048).unwrap(),
            ec: new_ec(),
            foreign: new_ec(),
            codes: Mutex::default(),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/jwks", get(list_keys))
            .route("/authorize", get(authorize))
            .route("/token", post(exchange))
            .route("/userinfo", get(tell_user))
            .layer(from_fn_with_state(Arc::clone(&inner), count))
            .with_state(inner);
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            issuer,
            script,
            requests,
        }
    }

    /// Changes what the next logins look like.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Has the next ID tokens say something else.
    pub fn forge(&self, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.script(|script| script.change = Arc::new(change));
    }
}

async fn count(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    inner.requests.fetch_add(1, Ordering::SeqCst);
    let instead = inner.script.lock().unwrap().instead;
    match instead {
        Some(answer) => answer(),
        None => next.run(request).await,
    }
}

async fn describe(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let at = |path: &str| format!("{}/{path}", inner.issuer);
    Json(json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // It claims to sign with anything; what is accepted is not its to decide.
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn list_keys(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let rsa = inner.rsa.public_key();
    let point = inner.ec.public_key().as_ref();
    Json(json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256",
         "n": text(rsa.modulus().big_endian_without_leading_zero()),
         "e": text(rsa.exponent().big_endian_without_leading_zero())},
        {"kty": "EC", "kid": "ec", "use": "sig", "alg": "ES256", "crv": "P-256",
         "x": text(&point[1..33]), "y": text(&point[33..65])},
    ]}))
}

/// The user is logged in here and agrees at once.
async fn authorize(
    State(inner): State<Arc<Inner>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
    let scopes = asked.get("scope").cloned().unwrap_or_default();
    let right = is("client_id", CLIENT_ID)
        && is("response_type", "code")
        && is("code_challenge_method", "S256")
        && is("redirect_uri", &redirect_uri())
        && scopes.split(' ').any(|scope| scope == "openid")
        && ["state", "nonce", "code_challenge"]
            .iter()
            .all(|name| asked.get(*name).is_some_and(|text| text.len() >= 20));
    if !right {
        return (StatusCode::BAD_REQUEST, format!("{asked:?}")).into_response();
    }
    let code = uuid::Uuid::new_v4().to_string();
    let mut back = Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"])
        .append_pair("iss", &inner.issuer)
        .append_pair("session_state", "something that a provider adds");
    inner.codes.lock().unwrap().insert(code, asked);
    Redirect::to(back.as_str()).into_response()
}

async fn exchange(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let refuse =
        |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let form_encoded = CLIENT_SECRET.replace(' ', "+").replace('/', "%2F");
    let expected = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{form_encoded}"));
    if headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        != Some(format!("Basic {expected}").as_str())
    {
        return refuse("invalid_client");
    }
    let Some(asked) = form
        .get("code")
        .and_then(|code| inner.codes.lock().unwrap().remove(code))
    else {
        return refuse("invalid_grant");
    };
    let verifier = form
        .get("code_verifier")
        .map(String::as_str)
        .unwrap_or_default();
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    if challenge != asked["code_challenge"]
        || form.get("redirect_uri") != asked.get("redirect_uri")
        || form.get("grant_type").map(String::as_str) != Some("authorization_code")
    {
        return refuse("invalid_grant");
    }
    let script = inner.script.lock().unwrap().clone();
    let now = Utc::now().timestamp();
    let mut claims = json!({
        "iss": inner.issuer, "aud": CLIENT_ID, "sub": script.subject,
        "iat": now, "exp": now + 300, "nonce": asked["nonce"],
    });
    if !script.only_user_info {
        claims
            .as_object_mut()
            .unwrap()
            .extend(script.claims.as_object().unwrap().clone());
    }
    (script.change)(&mut claims);
    Json(json!({
        "access_token": "access", "token_type": "Bearer", "expires_in": 300,
        "id_token": sign(&inner, script.signing, &claims),
    }))
    .into_response()
}

async fn tell_user(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|value| value != "Bearer access")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let script = inner.script.lock().unwrap().clone();
    let mut claims = script.claims.clone();
    claims["sub"] = json!(script.subject);
    Json(claims).into_response()
}

fn sign(inner: &Inner, signing: Signing, claims: &Value) -> String {
    let (algorithm, key) = match signing {
        Signing::Rs256 => ("RS256", "rsa"),
        Signing::Es256 | Signing::Foreign => ("ES256", "ec"),
        Signing::UnknownKey => ("ES256", "new"),
        Signing::None => ("none", "ec"),
        Signing::Hs256 => ("HS256", "ec"),
    };
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"alg": algorithm, "kid": key, "typ": "JWT"});
    let text = format!("{}.{}", part(&head), part(claims));
    let random = SystemRandom::new();
    let signature = match signing {
        Signing::Rs256 => {
            let mut signature = vec![0; inner.rsa.public_modulus_len()];
            inner
                .rsa
                .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                .unwrap();
            signature
        }
        Signing::Es256 | Signing::UnknownKey => inner
            .ec
            .sign(&random, text.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec(),
        Signing::Foreign => inner
            .foreign
            .sign(&random, text.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec(),
        Signing::None => Vec::new(),
        Signing::Hs256 => {
            use aws_lc_rs::hmac;
            let key = hmac::Key::new(hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        }
    };
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// Where the bank wants browsers back.
pub fn redirect_uri() -> String {
    format!("{}api/v1/auth/oidc/op/callback", crate::mailbox::PUBLIC_URL)
}
