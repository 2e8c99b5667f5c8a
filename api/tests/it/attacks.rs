//! Attacks on tokens, registration and login, with the answer each must get.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use opb_core::{metrics::METRICS, sealing::MasterKey};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::server::{Server, field, send};

fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap()
}

fn header_of(token: &str) -> Header {
    jsonwebtoken::decode_header(token).unwrap()
}

/// Signs with the server's own key for a purpose, as only somebody with the master key can.
fn sign(header: &Header, claims: &Value, purpose: &str) -> String {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    let key = MasterKey::parse(&key).unwrap().derive(purpose);
    let key = EncodingKey::from_secret(key.expose_secret());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

async fn refused(server: &Server, token: &str, why: &str) {
    for path in ["/api/v1/me", "/api/auth/protected/", "/protected"] {
        let request = server.request(reqwest::Method::GET, path);
        let reply = send(request.header("authorization", format!("Bearer {token}"))).await;
        assert_eq!(reply.status, 401, "{why} at {path}: {}", reply.text);
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        assert!(
            !reply.text.contains(token) || token.len() < 8,
            "{why} is echoed"
        );
    }
}

#[tokio::test]
async fn unsigned_and_tampered_tokens_are_refused() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let kid = header_of(&token).kid;
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA",
    ] {
        let forged = part(&json!({"alg": alg, "typ": "at+jwt", "kid": kid}));
        refused(&server, &format!("{forged}.{payload}."), alg).await;
        refused(&server, &format!("{forged}.{payload}.{signature}"), alg).await;
    }
    for (name, value) in [
        ("sub", json!("1")),
        ("exp", json!(i64::MAX)),
        ("role", json!("admin")),
        ("sid", json!("00000000-0000-0000-0000-000000000000")),
    ] {
        let mut claims = claims_of(&token);
        claims[name] = value;
        refused(
            &server,
            &format!("{header}.{}.{signature}", part(&claims)),
            name,
        )
        .await;
    }
    let cut = &signature[..signature.len() - 2];
    let zero = "A".repeat(signature.len());
    for (forged, why) in [
        (format!("{header}.{payload}"), "no signature"),
        (format!("{header}.{payload}."), "an empty signature"),
        (format!("{header}.{payload}.{cut}"), "a cut signature"),
        (format!("{header}.{payload}.{zero}"), "a zeroed signature"),
        (format!("{token}.{signature}"), "four parts"),
        (format!("{header}.{payload}.{signature}="), "padding"),
        (format!("{header}. {payload}.{signature}"), "a blank"),
        (format!("{header}\t.{payload}.{signature}"), "a tab"),
        ("..".into(), "nothing"),
    ] {
        refused(&server, &forged, why).await;
    }
    assert!(server.knows(&token).await);
}

#[tokio::test]
async fn headers_cannot_choose_the_key() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let claims = claims_of(&token);
    let check = async |why: &str, change: &dyn Fn(&mut Header)| {
        let mut header = header_of(&token);
        change(&mut header);
        refused(&server, &sign(&header, &claims, "access-tokens"), why).await;
    };
    check("no kid", &|header| header.kid = None).await;
    check("a path", &|header| {
        header.kid = Some("../../dev/null".into());
    })
    .await;
    check("SQL", &|header| {
        header.kid = Some("x' union select 'key".into());
    })
    .await;
    check("an address", &|header| {
        header.kid = Some("http://127.0.0.1/key".into());
    })
    .await;
    check("10 kB", &|header| header.kid = Some("k".repeat(10_000))).await;
    check("crit", &|header| header.crit = Some(vec!["b64".into()])).await;
    check("no typ", &|header| header.typ = None).await;
    check("JWT", &|header| header.typ = Some("JWT".into())).await;
    check("HS512", &|header| header.alg = Algorithm::HS512).await;
    // What would make others fetch a key is ignored: the key stays the server's.
    let mut header = header_of(&token);
    header.jku = Some("http://127.0.0.1:1/keys".into());
    header.x5u = Some("http://127.0.0.1:1/certificate".into());
    assert!(server.knows(&sign(&header, &claims, "access-tokens")).await);
    let own = EncodingKey::from_secret(b"the attacker's own key, of 32 bytes");
    refused(
        &server,
        &jsonwebtoken::encode(&header, &claims, &own).unwrap(),
        "a foreign key",
    )
    .await;
    let empty = EncodingKey::from_secret(b"");
    refused(
        &server,
        &jsonwebtoken::encode(&header_of(&token), &claims, &empty).unwrap(),
        "an empty key",
    )
    .await;
}

#[tokio::test]
async fn claims_are_checked_one_by_one() {
    let server = Server::start().await;
    let session = server.register("ada").await;
    let (token, refresh) = (
        field(&session, "access_token"),
        field(&session, "refresh_token"),
    );
    let (header, good) = (header_of(&token), claims_of(&token));
    assert!(server.knows(&sign(&header, &good, "access-tokens")).await);
    let now = chrono::Utc::now().timestamp();
    for name in good.as_object().unwrap().keys() {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        refused(
            &server,
            &sign(&header, &claims, "access-tokens"),
            &format!("without {name}"),
        )
        .await;
    }
    for (name, value) in [
        ("exp", json!(now - 6)),
        ("exp", json!(-1)),
        ("exp", json!(1e12)),
        ("exp", json!(u64::MAX)),
        ("exp", json!("never")),
        ("exp", json!(now + 3600)),
        ("nbf", json!(now + 60)),
        ("iat", json!(now + 60)),
        ("aud", json!("OPENPROMPTBANK-API")),
        ("aud", json!([good["aud"]])),
        ("iss", json!("somebody")),
        ("iss", json!([good["iss"]])),
        ("token_use", json!("refresh")),
        ("sub", json!("root")),
        ("sid", json!(uuid::Uuid::now_v7())),
    ] {
        let mut claims = good.clone();
        claims[name] = value.clone();
        refused(
            &server,
            &sign(&header, &claims, "access-tokens"),
            &format!("{name} {value}"),
        )
        .await;
    }
    // The two kinds of token never stand in for each other, even with each other's key or header.
    refused(&server, &refresh, "a refresh token").await;
    refused(
        &server,
        &sign(&header, &good, "refresh-tokens"),
        "the other key",
    )
    .await;
    refused(
        &server,
        &sign(&header, &claims_of(&refresh), "access-tokens"),
        "the other's claims",
    )
    .await;
    for (path, name) in [
        ("/api/v1/auth/refresh", "refresh_token"),
        ("/api/auth/token/refresh/", "refresh"),
        ("/refresh", "refresh_token"),
    ] {
        let mut future = claims_of(&refresh);
        future["ctr"] = json!(5);
        let forged = [
            token.clone(),
            sign(&header, &good, "refresh-tokens"),
            sign(&header_of(&refresh), &claims_of(&refresh), "access-tokens"),
            sign(&header_of(&refresh), &future, "refresh-tokens"),
        ];
        for forged in forged {
            let reply = server.post(path, "", &json!({name: forged})).await;
            assert_eq!(reply.status, 401, "{path}: {}", reply.text);
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
        let reply = server.post(path, "", &json!({name: refresh})).await;
        assert_eq!(
            reply.status, 200,
            "nothing forged may end the session: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn credentials_have_one_place() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    for path in [
        format!("/api/v1/me?token={token}"),
        format!("/protected?access_token={token}"),
    ] {
        assert_eq!(server.get(&path, "").await.status, 401);
    }
    let get = || server.request(reqwest::Method::GET, "/api/v1/me");
    let cookie = send(get().header("cookie", format!("access_token={token}"))).await;
    assert_eq!(cookie.status, 401);
    let twice = get()
        .bearer_auth(&token)
        .header("authorization", format!("Bearer {token}"));
    assert_eq!(send(twice).await.status, 400);
    let tab = send(get().header("authorization", format!("Bearer\t{token}"))).await;
    assert_eq!(tab.status, 401);
    let upper = send(get().header("authorization", format!("BEARER {token}"))).await;
    assert_eq!(upper.status, 200);
    let long = send(get().header("authorization", format!("Bearer {}", "x".repeat(100_000)))).await;
    assert!([400, 401, 431].contains(&long.status), "{}", long.status);
}

#[tokio::test]
async fn names_and_passwords_cannot_be_bent() {
    let server = Server::start().await;
    server.user("ada").await;
    let register = async |username: &str, email: &str, password: &str| {
        let body = json!({"username": username, "email": email, "password": password});
        server.post("/api/v1/auth/register", "", &body).await
    };
    let long = "x".repeat(10_000);
    for name in [
        "ADA",
        "ａｄａ",
        "аda",
        "ada\u{200b}",
        "\u{202e}ada",
        "ada\0",
        "ada@b",
        "a/d/a",
        "ada ",
        "<i>ada</i>",
        "{{ada}}",
        "ada';drop table users;--",
        "admin",
        "OpenPromptBank",
        &long,
    ] {
        let reply = register(name, "new@example.org", "correct horse").await;
        reply.expect_problem(422, "invalid", Some("username"));
    }
    for email in [
        "ADA@example.org",
        "ａda@example.org",
        "аda@example.org",
        "ada@example.org.",
        "ada@example.org\0",
        "ada",
        &long,
    ] {
        let reply = register("eve", email, "correct horse").await;
        reply.expect_problem(422, "invalid", Some("email"));
    }
    let long = "x9!".repeat(43);
    let huge = "x9!".repeat(20_000);
    for password in [
        "",
        "1234567",
        "password",
        "12345678",
        "qwerty123",
        "eve.example",
        "correct\0horse",
        &long,
        &huge,
    ] {
        let reply = register("eve.example", "eve@example.org", password).await;
        reply.expect_problem(422, "invalid", Some("password"));
    }
    for (number, password) in [
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-",
        "pässwörter ☃ sind gut",
        "  correct horse  ",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("user-{number}");
        register(&name, &format!("{name}@example.org"), password)
            .await
            .expect(201);
        let login = async |password: &str| {
            let body = json!({"username": name, "password": password});
            server.post("/api/v1/auth/login", "", &body).await.status
        };
        assert_eq!(login(password).await, 200);
        assert_eq!(
            login(&format!("{password} ")).await,
            401,
            "verified as it was received"
        );
    }
    for (name, value) in [
        ("id", json!(1)),
        ("is_admin", json!(true)),
        ("role", json!("admin")),
        ("password_hash", json!("x")),
    ] {
        let mut body = json!({"username": "eve", "email": "eve@example.org", "password": "correct horse", "confirm_password": "correct horse"});
        body[name] = value;
        let native = server.post("/api/v1/auth/register", "", &body).await;
        assert_eq!(native.status, 422);
        let reply = server.post("/register", "", &body).await.expect(201);
        let me = server
            .get("/api/v1/me", &field(&reply, "access_token"))
            .await
            .expect(200);
        assert_eq!(
            me["role"], "user",
            "{name} is ignored where unknown fields always were"
        );
        server.sql("delete from users where username = 'eve'").await;
    }
}

#[tokio::test]
async fn of_fifty_registrations_at_once_one_succeeds() {
    let server = Server::start().await;
    let paths = ["/api/auth/register/", "/register"];
    let tries = (0..50).map(|number| {
        let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse", "confirm_password": "correct horse"});
        let server = &server;
        async move { server.post(paths[number % 2], "", &body).await.status }
    });
    let mut statuses = futures::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(
        statuses[1..].iter().all(|status| *status == 400),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn a_thousand_logins_at_once_are_answered_in_bounded_memory() {
    let server = Server::start().await;
    server.user("ada").await;
    let tries = (0..1000).map(|_| async {
        let body = json!({"username": "ada", "password": "correct horse"});
        server.post("/api/v1/auth/login", "", &body).await.status
    });
    let statuses = futures::future::join_all(tries).await;
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&200));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kb < 512 * 1024, "{peak_kb} kB");
}

/// The hash of a password is nearly all of the time of a login, so both have to make one, and with equal parameters (which
/// the tests of `auth::passwords` show). It is counted, since the time of two requests says little on a busy machine.
#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let server = Server::start().await;
    server.user("ada").await;
    let hashes_of_login = async |name: &str| {
        let body = json!({"username": name, "password": "wrong horse"});
        let before = METRICS.api.password_hashes.get();
        let reply = server.post("/api/v1/auth/login", "", &body).await;
        assert_eq!(reply.status, 401);
        METRICS.api.password_hashes.get() - before
    };
    // The first of an unknown user also makes the hash that all of them are checked against.
    hashes_of_login("nobody").await;
    assert_eq!(hashes_of_login("ada").await, 1);
    assert_eq!(hashes_of_login("bob").await, 1);
}

#[tokio::test]
async fn a_replaced_key_works_until_it_is_forgotten() {
    use opb_core::auth::{AccessToken, TokenKeys};
    let server = Server::start().await;
    let token = server.user("ada").await;
    let claims = claims_of(&token);
    let key = |byte: u8| {
        let text = base64::prelude::BASE64_STANDARD.encode([byte; 32]);
        MasterKey::parse(&text.into()).unwrap()
    };
    let rotated = TokenKeys::new(&key(7).with_previous(key(0)));
    let speaks_for = AccessToken {
        user_id: field(&claims, "sub").parse().unwrap(),
        session_id: field(&claims, "sid").parse().unwrap(),
    };
    assert_eq!(rotated.verify_access(&token).unwrap(), speaks_for);
    assert!(TokenKeys::new(&key(7)).verify_access(&token).is_err());
    let now = chrono::Utc::now();
    let newer = rotated
        .issue_access(speaks_for, now, now + Duration::from_hours(1))
        .unwrap();
    refused(&server, newer.expose_secret(), "a token of another key").await;
}
