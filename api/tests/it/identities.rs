//! Logging in through an OpenID Connect provider: the way in, and everybody who must not get in by it.

use std::{
    io::Write as _,
    sync::{Arc, atomic::Ordering},
};

use axum::response::IntoResponse as _;
use clap::Parser as _;
use opb_api::{ApiSettings, OidcSettings, Registration};
use opb_core::outbound::OutboundSettings;
use reqwest::{
    Method,
    header::{COOKIE, LOCATION, SET_COOKIE},
    redirect::Policy,
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use url::Url;

use crate::{
    mailbox::PUBLIC_URL,
    oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider, Signing},
    server::{Reply, Server, field, send, with_token},
};

#[derive(clap::Parser)]
struct Allowed {
    #[command(flatten)]
    outbound: OutboundSettings,
}

/// A bank that knows one provider, called `op`.
struct Site {
    server: Server,
    provider: OidcProvider,
    _file: NamedTempFile,
}

/// A browser: one cookie, and no redirect that it does not show.
#[derive(Default)]
struct Browser {
    cookie: String,
}

impl Site {
    async fn start() -> Self {
        Self::start_with("", |_| {}).await
    }

    /// `more` are further lines of the provider's table.
    async fn start_with(more: &str, change: impl FnOnce(&mut ApiSettings)) -> Self {
        let provider = OidcProvider::start().await;
        let mut file = NamedTempFile::new().unwrap();
        write!(
            file,
            "[op]\ndisplay_name = 'Our provider'\nissuer = '{}'\nclient_id = '{CLIENT_ID}'\nclient_secret = '{CLIENT_SECRET}'\n{more}\n",
            provider.issuer
        )
        .unwrap();
        let server = Server::start_with(|settings| {
            settings.public_url = Some(PUBLIC_URL.parse().unwrap());
            settings.oidc = OidcSettings {
                oidc_providers: Some(file.path().to_owned()),
            };
            let words = ["bank", "--allow-outbound", "127.0.0.1"];
            settings.outbound = Arc::new(Allowed::parse_from(words).outbound.policy());
            change(settings);
        })
        .await;
        Self {
            server,
            provider,
            _file: file,
        }
    }

    /// Goes the whole way of a browser; returns what is behind the `#` at its end.
    async fn go(&self, browser: &mut Browser) -> String {
        let back = self.log_in_there(browser).await;
        self.come_back(browser, &back).await
    }

    /// Begins a login and logs in at the provider; returns the address that the provider sends the browser back to.
    async fn log_in_there(&self, browser: &mut Browser) -> Url {
        let there = browser
            .open(&self.address("/api/v1/auth/oidc/op/start"))
            .await;
        assert!(there.as_str().starts_with(&self.provider.issuer), "{there}");
        let back = browser.open(there.as_str()).await;
        assert!(back.as_str().starts_with(PUBLIC_URL), "{back}");
        back
    }

    /// Comes back to the bank.
    async fn come_back(&self, browser: &mut Browser, back: &Url) -> String {
        let path = format!("{}?{}", back.path(), back.query().unwrap_or_default());
        let page = browser.open(&self.address(&path)).await;
        let at = page.as_str().split('#').next().unwrap();
        assert_eq!(at, format!("{PUBLIC_URL}account/oidc"));
        page.fragment().unwrap().to_owned()
    }

    /// Exchanges what is behind the `#` for a session.
    async fn exchange(&self, browser: &Browser, fragment: &str) -> Reply {
        self.bring(browser, "/api/v1/auth/oidc/exchange", "", fragment)
            .await
    }

    async fn bring(&self, browser: &Browser, path: &str, token: &str, fragment: &str) -> Reply {
        let code = fragment
            .strip_prefix("code=")
            .unwrap_or_else(|| panic!("{fragment}"));
        let request = self.server.request(Method::POST, path);
        let request = with_token(request, token).json(&json!({"code": code}));
        send(request.header(COOKIE, &browser.cookie)).await
    }

    /// Logs in from start to end.
    async fn log_in(&self) -> Reply {
        let mut browser = Browser::default();
        let fragment = self.go(&mut browser).await;
        self.exchange(&browser, &fragment).await
    }

    /// How a login ends at the page.
    async fn ends(&self) -> String {
        self.go(&mut Browser::default()).await
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.server.address)
    }
}

impl Browser {
    /// Opens an address; returns where it leads.
    async fn open(&mut self, url: &str) -> Url {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .build()
            .unwrap();
        let reply = client
            .get(url)
            .header(COOKIE, &self.cookie)
            .send()
            .await
            .unwrap();
        if let Some(cookie) = reply.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
            cookie
                .split(';')
                .next()
                .unwrap()
                .clone_into(&mut self.cookie);
        }
        let location = reply.headers().get(LOCATION).cloned();
        let status = reply.status();
        let location = location.unwrap_or_else(|| panic!("{url} answered {status}"));
        assert_eq!(status, 303, "{url}");
        location.to_str().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_user_of_a_provider_gets_an_account_and_comes_back_to_it() {
    let site = Site::start().await;
    let listed = site.server.get("/api/v1/auth/oidc", "").await.expect(200);
    let start = "/api/v1/auth/oidc/op/start";
    assert_eq!(
        listed,
        json!([{"name": "op", "display_name": "Our provider", "start_path": start}])
    );
    let first = site.log_in().await.expect(200);
    assert_eq!(first["user"]["username"], "ada");
    assert_eq!(first["user"]["email"], "ada@example.org");
    assert!(first["user"]["email_verified_at"].is_string());
    let token = field(&first, "access_token");
    assert!(site.server.knows(&token).await);
    // It is the subject that counts, not the address or the name.
    site.provider.script(|script| {
        script.signing = Signing::Rs256;
        script.claims = json!({"email": "other@example.org", "email_verified": false});
    });
    let second = site.log_in().await.expect(200);
    assert_eq!(second["user"]["id"], first["user"]["id"]);
    assert_eq!(second["user"]["email"], "ada@example.org");
    let identities = site
        .server
        .get("/api/v1/me/identities", &token)
        .await
        .expect(200);
    assert_eq!(identities[0]["provider"], "op");
    assert_eq!(identities[0]["email"], "other@example.org");
    // The only way in cannot be removed; with a password it can.
    let path = format!("/api/v1/me/identities/{}", field(&identities[0], "id"));
    let remove = async || {
        send(with_token(
            site.server.request(Method::DELETE, &path),
            &token,
        ))
        .await
    };
    remove().await.expect_problem(409, "conflict", None);
    site.server
        .sql("update users set password_hash = 'x' where username = 'ada'")
        .await;
    assert_eq!(remove().await.status, 204);
    remove().await.expect_problem(404, "not_found", None);
    let log = site
        .server
        .get("/api/v1/audit", &site.server.admin().await)
        .await
        .expect(200);
    let events: Vec<String> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| field(entry, "event"))
        .collect();
    for event in [
        "registered",
        "identity_linked",
        "logged_in",
        "identity_removed",
    ] {
        assert!(events.contains(&event.to_owned()), "{events:?}");
    }
}

#[tokio::test]
async fn an_address_can_come_with_the_user_info() {
    let site = Site::start().await;
    site.provider.script(|script| script.only_user_info = true);
    let session = site.log_in().await.expect(200);
    assert_eq!(session["user"]["email"], "ada@example.org");
}

#[tokio::test]
async fn taken_and_strange_names_get_another_one() {
    let site = Site::start().await;
    site.server.user("ada").await;
    let long = "a".repeat(300);
    for (subject, name, expect) in [
        ("s1", "ada", "ada-"),
        ("s2", "admin", "admin-"),
        ("s3", "<я>", "s3"),
        ("s4", "Deleted-User", "s4"),
        ("s5", long.as_str(), "aaaa"),
        ("s6", "a\0da", "ada"),
    ] {
        site.provider.script(|script| {
            script.subject = subject.into();
            script.claims = json!({"email": format!("{subject}.mail@example.org"), "email_verified": true, "preferred_username": name});
        });
        let session = site.log_in().await.expect(200);
        let username = field(&session["user"], "username");
        assert!(username.starts_with(expect), "{name}: {username}");
    }
}

#[tokio::test]
async fn claims_that_cannot_be_kept_end_the_login() {
    let site = Site::start().await;
    for (subject, email) in [
        ("s".repeat(5_000), "long@example.org".to_owned()),
        ("nul\0".to_owned(), "nul@example.org".to_owned()),
        (
            "s7".to_owned(),
            format!("{}@example.org", "e".repeat(5_000)),
        ),
    ] {
        site.provider.script(|script| {
            script.subject = subject;
            script.claims = json!({"email": email, "email_verified": true});
        });
        assert_eq!(site.ends().await, "error=login_not_confirmed");
    }
}

/// One begun login would do for any number of codes, and each makes the bank ask with its own credential.
#[tokio::test]
async fn a_provider_is_not_asked_as_often_as_a_stranger_likes() {
    let site = Site::start_with("", |settings| settings.login_failures_per_address = 5).await;
    let mut browser = Browser::default();
    let mut back = site.log_in_there(&mut browser).await;
    let state = back.query_pairs().find(|(name, _)| name == "state");
    let state = state.unwrap().1.into_owned();
    let cookie = browser.cookie.clone();
    let client = reqwest::Client::builder().redirect(Policy::none());
    let client = client.build().unwrap();
    let before = site.provider.requests.load(Ordering::SeqCst);
    let mut statuses = Vec::new();
    for guess in 0..20 {
        back.query_pairs_mut()
            .clear()
            .append_pair("code", &format!("bad{guess}"))
            .append_pair("state", &state);
        let path = format!("{}?{}", back.path(), back.query().unwrap());
        let request = client.get(site.address(&path)).header(COOKIE, &cookie);
        statuses.push(send(request).await.status);
    }
    let asked = site.provider.requests.load(Ordering::SeqCst) - before;
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(asked < 10, "{asked}");
}

#[tokio::test]
async fn forged_id_tokens_open_nothing() {
    let site = Site::start().await;
    let refused = async |what: &str| {
        assert_eq!(site.ends().await, "error=login_not_confirmed", "{what}");
    };
    for signing in [
        Signing::None,
        Signing::Hs256,
        Signing::Foreign,
        Signing::UnknownKey,
    ] {
        site.provider.script(|script| script.signing = signing);
        refused(&format!("{signing:?}")).await;
    }
    site.provider
        .script(|script| script.signing = Signing::Es256);
    for (claim, value) in [
        ("nonce", json!("another login's")),
        ("nonce", Value::Null),
        ("aud", json!("another client")),
        ("aud", json!([CLIENT_ID, "another client"])),
        ("aud", Value::Null),
        ("iss", json!("https://accounts.example.org")),
        ("iss", Value::Null),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\0b")),
        ("exp", json!(1_700_000_000)),
        ("exp", Value::Null),
        ("iat", json!(1_700_000_000)),
        ("iat", json!(4_000_000_000_i64)),
        ("azp", json!("another client")),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ] {
        let what = format!("{claim} is {value}");
        site.provider.forge(move |claims| {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(claim);
            } else {
                claims[claim] = value.clone();
            }
        });
        refused(&what).await;
    }
    site.provider.forge(|_| {});
    site.log_in().await.expect(200);
    let users: i64 = sqlx::query_scalar("select count(*) from users")
        .fetch_one(&site.server.database.pool)
        .await
        .unwrap();
    assert_eq!(users, 1, "only the honest login made a user");
}

#[tokio::test]
async fn a_login_ends_in_the_browser_that_began_it_and_once() {
    let site = Site::start().await;
    let mut browser = Browser::default();
    let back = site.log_in_there(&mut browser).await;
    let changed = |name: &str, value: &str| {
        let mut url = back.clone();
        let pairs: Vec<(String, String)> = back
            .query_pairs()
            .into_owned()
            .filter(|(found, _)| found != name)
            .collect();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(pairs)
            .append_pair(name, value);
        url
    };
    let started = browser.cookie.clone();
    let with = |cookie: &str| Browser {
        cookie: cookie.into(),
    };
    let check = async |cookie: &str, url: &Url, expect: &str| {
        let ends = site.come_back(&mut with(cookie), url).await;
        assert_eq!(ends, format!("error={expect}"), "{url}");
    };
    check("", &back, "login_unknown").await;
    check("opb-oidc=AAAA", &back, "login_unknown").await;
    check(&started, &changed("state", "another"), "login_unknown").await;
    check(&started, &changed("state", ""), "login_unknown").await;
    let mut other = Browser::default();
    site.log_in_there(&mut other).await;
    check(&other.cookie, &back, "login_unknown").await;
    check(
        &started,
        &changed("error", "access_denied"),
        "login_refused",
    )
    .await;
    check(
        &started,
        &changed("iss", "https://other.example"),
        "login_not_confirmed",
    )
    .await;
    check(&started, &changed("code", "guessed"), "login_not_confirmed").await;
    // None of that has spoilt the honest way.
    let fragment = site.come_back(&mut browser, &back).await;
    check(&browser.cookie, &back, "login_unknown").await;
    check(&started, &back, "login_not_confirmed").await;
    for cookie in ["", started.as_str(), other.cookie.as_str()] {
        let reply = site.exchange(&with(cookie), &fragment).await;
        reply.expect_problem(422, "invalid", Some("code"));
    }
    let mut third = Browser::default();
    site.go(&mut third).await;
    site.exchange(&third, &fragment)
        .await
        .expect_problem(422, "invalid", Some("code"));
    site.exchange(&browser, "code=guessed")
        .await
        .expect_problem(422, "invalid", Some("code"));
    site.exchange(&browser, &fragment).await.expect(200);
    site.exchange(&browser, &fragment)
        .await
        .expect_problem(422, "invalid", Some("code"));
}

#[tokio::test]
async fn an_email_address_alone_opens_no_account() {
    let site = Site::start().await;
    let ada = site.server.user("ada").await;
    let set = async |ours: bool, theirs: bool, role: &'static str| {
        site.provider
            .script(|script| script.claims["email_verified"] = json!(theirs));
        let verify = sqlx::query(
            "update users set email_verified_at = case when $1 then now() end, role = $2::user_role where username = 'ada'",
        );
        verify
            .bind(ours)
            .bind(role)
            .execute(&site.server.database.pool)
            .await
            .unwrap();
    };
    for (ours, theirs, role) in [
        (false, false, "user"),
        (false, true, "user"),
        (true, false, "user"),
        (true, true, "moderator"),
        (true, true, "admin"),
    ] {
        set(ours, theirs, role).await;
        site.log_in().await.expect_problem(409, "link_needed", None);
    }
    set(true, true, "user").await;
    site.server
        .sql("update users set disabled_at = now() where username = 'ada'")
        .await;
    site.log_in().await.expect_problem(409, "link_needed", None);
    site.server
        .sql("update users set disabled_at = null where username = 'ada'")
        .await;
    // The owner can link it, with the very code that was refused.
    set(false, false, "user").await;
    let mut browser = Browser::default();
    let fragment = site.go(&mut browser).await;
    site.exchange(&browser, &fragment)
        .await
        .expect_problem(409, "link_needed", None);
    let path = "/api/v1/me/identities";
    site.bring(&browser, path, "", &fragment)
        .await
        .expect_problem(401, "unauthenticated", None);
    site.bring(&browser, path, &ada, &fragment)
        .await
        .expect(201);
    site.bring(&browser, path, &ada, &fragment)
        .await
        .expect_problem(422, "invalid", Some("code"));
    let session = site.log_in().await.expect(200);
    assert_eq!(session["user"]["username"], "ada");
    // Nobody else can have it then.
    let bob = site.server.user("bob").await;
    let fragment = site.go(&mut browser).await;
    site.bring(&browser, path, &bob, &fragment)
        .await
        .expect_problem(409, "conflict", None);
    // Where both sides know the address, the account is linked by itself.
    site.server.sql("delete from identities").await;
    set(true, true, "user").await;
    let session = site.log_in().await.expect(200);
    assert_eq!(session["user"]["username"], "ada");
    // A disabled account stays closed.
    site.server
        .sql("update users set disabled_at = now() where username = 'ada'")
        .await;
    site.log_in()
        .await
        .expect_problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn unknown_users_are_let_in_only_where_the_operator_wants_them() {
    let unverified = |site: &Site| {
        site.provider
            .script(|script| script.claims["email_verified"] = json!(false));
    };
    let site = Site::start_with("create_users = false", |_| {}).await;
    site.log_in().await.expect_problem(403, "forbidden", None);
    let site = Site::start_with("", |settings| settings.registration = Registration::Closed).await;
    site.log_in().await.expect_problem(403, "forbidden", None);
    let site = Site::start_with("allowed_email_domains = ['Example.ORG']", |_| {}).await;
    unverified(&site);
    assert_eq!(site.ends().await, "error=email_not_allowed");
    site.provider.script(|script| {
        script.claims = json!({"email": "eve@example.org.evil.test", "email_verified": true});
    });
    assert_eq!(site.ends().await, "error=email_not_allowed");
    site.provider.script(|script| script.claims = json!({}));
    assert_eq!(site.ends().await, "error=email_not_allowed");
    site.provider.script(|script| {
        script.claims = json!({"email": "ada@example.org", "email_verified": true});
    });
    site.log_in().await.expect(200);
    let site = Site::start().await;
    unverified(&site);
    site.log_in().await.expect_problem(403, "forbidden", None);
    site.provider.script(|script| script.claims = json!({}));
    site.log_in().await.expect_problem(403, "forbidden", None);
    site.provider
        .script(|script| script.claims = json!({"email": "no address", "email_verified": true}));
    site.log_in()
        .await
        .expect_problem(422, "invalid", Some("email"));
}

#[tokio::test]
async fn a_provider_that_misbehaves_ends_a_login_and_nothing_else() {
    let site = Site::start().await;
    let mut browser = Browser::default();
    for instead in [
        (|| axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response())
            as fn() -> axum::response::Response,
        || "not JSON".into_response(),
        || vec![b' '; 3_000_000].into_response(),
        || axum::response::Redirect::to("/elsewhere").into_response(),
    ] {
        site.provider
            .script(|script| script.instead = Some(instead));
        let page = browser
            .open(&site.address("/api/v1/auth/oidc/op/start"))
            .await;
        assert_eq!(page.fragment(), Some("error=provider_unavailable"));
    }
    site.provider.script(|script| script.instead = None);
    site.log_in().await.expect(200);
    let before = site.provider.requests.load(Ordering::SeqCst);
    for _ in 0..10 {
        site.log_in_there(&mut browser).await;
    }
    let after = site.provider.requests.load(Ordering::SeqCst);
    assert_eq!(
        after - before,
        10,
        "only the browser asked: the description is known"
    );
    let unknown = site.server.get("/api/v1/auth/oidc/other/start", "").await;
    unknown.expect_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_provider_at_a_forbidden_address_is_never_asked() {
    let site = Site::start_with("", |settings| settings.outbound = Arc::default()).await;
    let page = Browser::default()
        .open(&site.address("/api/v1/auth/oidc/op/start"))
        .await;
    assert_eq!(page.fragment(), Some("error=provider_unavailable"));
    assert_eq!(site.provider.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_pages_behind_links_come_from_the_binary() {
    let server = Server::start().await;
    for name in ["reset-password", "verify-email", "oidc"] {
        let page = server.get(&format!("/account/{name}"), "").await;
        assert_eq!(page.status, 200);
        assert!(
            page.header("content-security-policy")
                .starts_with("default-src 'none'; script-src 'self'")
        );
        for link in ["script.js", "style.css"] {
            assert!(page.text.contains(&format!("\"{link}\"")), "{}", page.text);
            assert_eq!(
                server.get(&format!("/account/{link}"), "").await.status,
                200
            );
        }
    }
}
