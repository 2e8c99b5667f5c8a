//! Links that come by mail: they arrive, work once, and betray nobody.

use std::{
    io::Write,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use opb_core::auth;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    mailbox::{Mailbox, PUBLIC_URL, send_to, token},
    server::{Reply, Server, field},
};

pub const NEW: &str = "staple battery 7";

pub async fn ask(server: &Server, email: &str) -> Reply {
    let body = json!({"email": email});
    server.post("/api/v1/auth/password-reset", "", &body).await
}

pub async fn confirm(server: &Server, token: &str, password: &str) -> Reply {
    let body = json!({"token": token, "password": password});
    server
        .post("/api/v1/auth/password-reset/confirm", "", &body)
        .await
}

pub async fn verify(server: &Server, token: &str) -> Reply {
    let body = json!({"token": token});
    server.post("/api/v1/auth/verify-email", "", &body).await
}

pub async fn login(server: &Server, password: &str) -> u16 {
    let body = json!({"username": "ada", "password": password});
    server.post("/api/v1/auth/login", "", &body).await.status
}

/// Waits until a query says true.
pub async fn until(server: &Server, query: &'static str) {
    let asked = async {
        loop {
            let done: Option<bool> = sqlx::query_scalar(query)
                .fetch_one(&server.database.pool)
                .await
                .unwrap();
            if done == Some(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(100), asked).await;
    assert!(waited.is_ok(), "{query}");
}

pub async fn audited(server: &Server) -> Vec<String> {
    let log = server
        .get("/api/v1/audit", &server.admin().await)
        .await
        .expect(200);
    let items = log["items"].as_array().unwrap().iter();
    items.map(|entry| field(entry, "event")).collect()
}

/// Whoever reads an older mail must not undo what its reader did about it.
#[tokio::test]
async fn a_changed_password_makes_older_links_useless() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let session = field(&server.register("ada").await, "access_token");
    assert_eq!(ask(&server, "ada@example.org").await.status, 202);
    let token = token(&mailbox.wait_for("Choose a new password").await);
    let body = json!({"current_password": "correct horse", "new_password": NEW});
    let changed = server.post("/api/v1/me/password", &session, &body).await;
    assert_eq!(changed.status, 204, "{}", changed.text);
    mailbox.wait_for("Your password was changed").await;
    confirm(&server, &token, "another battery 8")
        .await
        .expect_problem(422, "invalid", Some("token"));
    assert_eq!(login(&server, NEW).await, 200);
}

#[tokio::test]
async fn a_reset_link_arrives_and_works_once() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let session = field(&server.register("ada").await, "access_token");
    assert_eq!(ask(&server, "ADA@example.org").await.status, 202);
    let mail = mailbox.wait_for("Choose a new password").await;
    assert!(mail.contains("To: ada@example.org"), "{mail}");
    assert!(
        mail.contains("From: OpenPromptBank <bank@bank.test>"),
        "{mail}"
    );
    assert!(
        mail.contains(&format!("{PUBLIC_URL}account/reset-password#token=")),
        "{mail}"
    );
    let token = token(&mail);
    confirm(&server, &token, "password")
        .await
        .expect_problem(422, "invalid", Some("password"));
    assert!(server.knows(&session).await, "nothing has happened yet");
    assert_eq!(confirm(&server, &token, NEW).await.status, 204);
    assert!(!server.knows(&session).await, "all sessions have ended");
    assert_eq!(login(&server, "correct horse").await, 401);
    assert_eq!(login(&server, NEW).await, 200);
    for wrong in [token.as_str(), "", "x", "\u{fffd}", &"x".repeat(60_000)] {
        confirm(&server, wrong, NEW)
            .await
            .expect_problem(422, "invalid", Some("token"));
    }
    let news = mailbox.wait_for("Your password was changed").await;
    assert!(!news.contains("#token="), "{news}");
    let audited = audited(&server).await;
    for event in ["password_reset_requested", "password_reset"] {
        assert!(audited.contains(&event.to_owned()), "{audited:?}");
    }
    // Whoever read the mail has shown that the address is theirs.
    let body = json!({"username": "ada", "password": NEW});
    let me = server
        .post("/api/v1/auth/login", "", &body)
        .await
        .expect(200);
    assert!(me["user"]["email_verified_at"].is_string(), "{me}");
    until(
        &server,
        "select bool_and(state = 'sent' and sealed_text is null) from mails",
    )
    .await;
}

#[tokio::test]
async fn a_link_stops_with_its_time_its_address_and_its_user() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let spoilt = [
        "update one_time_tokens set expires_at = now()",
        "update users set email = 'other@example.org' where username = 'ada'",
        "update users set disabled_at = now() where username = 'ada'",
        "delete from users where username = 'ada'",
    ];
    server.register("ada").await;
    ask(&server, "ada@example.org").await;
    let reset = token(&mailbox.wait_for("Choose a new password").await);
    let verification = token(&mailbox.wait_for("Is this your email address").await);
    for spoil in spoilt {
        server
            .sql("update one_time_tokens set expires_at = now() + interval '1 minute'")
            .await;
        server.sql("update users set email = 'ada@example.org', disabled_at = null where username = 'ada'").await;
        server.sql(spoil).await;
        confirm(&server, &reset, NEW)
            .await
            .expect_problem(422, "invalid", Some("token"));
        verify(&server, &verification)
            .await
            .expect_problem(422, "invalid", Some("token"));
    }
}

#[tokio::test]
async fn a_token_of_one_purpose_is_none_of_another() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    server.register("ada").await;
    ask(&server, "ada@example.org").await;
    let reset = token(&mailbox.wait_for("Choose a new password").await);
    let verification = token(&mailbox.wait_for("Is this your email address").await);
    confirm(&server, &verification, NEW)
        .await
        .expect_problem(422, "invalid", Some("token"));
    verify(&server, &reset)
        .await
        .expect_problem(422, "invalid", Some("token"));
    assert_eq!(verify(&server, &verification).await.status, 204);
    assert_eq!(confirm(&server, &reset, NEW).await.status, 204);
}

#[tokio::test]
async fn of_many_at_once_one_uses_a_link() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    server.register("ada").await;
    ask(&server, "ada@example.org").await;
    let token = token(&mailbox.wait_for("Choose a new password").await);
    let passwords: Vec<String> = (0..6).map(|n| format!("{NEW}{n}")).collect();
    let tried = passwords
        .iter()
        .map(|password| confirm(&server, &token, password));
    let replies = futures::future::join_all(tried).await;
    let done: Vec<bool> = replies.iter().map(|reply| reply.status == 204).collect();
    assert_eq!(done.iter().filter(|done| **done).count(), 1, "{replies:?}");
    for (password, done) in passwords.iter().zip(done) {
        server.sql("delete from throttles").await;
        assert_eq!(login(&server, password).await == 200, done, "{password}");
    }
}

#[tokio::test]
async fn asking_tells_nobody_whether_there_is_an_account() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    server.register("ada").await;
    let mut times = [Vec::new(), Vec::new()];
    let mut texts = Vec::new();
    for _ in 0..7 {
        for (at, email) in ["ada@example.org", "nobody@example.org"]
            .into_iter()
            .enumerate()
        {
            server.sql("delete from throttles").await;
            let started = Instant::now();
            let reply = ask(&server, email).await;
            times[at].push(started.elapsed());
            assert_eq!(reply.status, 202, "{}", reply.text);
            texts.push(reply.text);
        }
    }
    texts.dedup();
    assert_eq!(texts, [""]);
    // Each answer takes as long as this at least, so that what an account adds to the work is not seen.
    let [known, unknown] = times.map(|times| times.into_iter().min().unwrap().as_secs_f64());
    assert!(known >= 0.25 && unknown >= 0.25, "{known} s, {unknown} s");
    // Too often is too often, for both.
    for email in ["ada@example.org", "nobody@example.org"] {
        server.sql("delete from throttles").await;
        for _ in 0..3 {
            assert_eq!(ask(&server, email).await.status, 202, "{email}");
        }
        // The lock of a second, however long this machine takes.
        let locked = sqlx::query(
            "update throttles set locked_until = clock_timestamp() + interval '1 hour'
             where locked_until > last_at + interval '0.5 seconds'",
        );
        let locked = locked.execute(&server.database.pool).await.unwrap();
        assert_eq!(locked.rows_affected(), 1, "{email}");
        assert_eq!(ask(&server, email).await.status, 429, "{email}");
    }
    mailbox.wait_for("Choose a new password").await;
    let to_nobody = mailbox.mails().iter().any(|mail| mail.contains("nobody@"));
    assert!(!to_nobody, "nobody gets no mail");
}

#[tokio::test]
async fn a_mail_survives_a_mail_server_that_is_away_and_a_restart() {
    let port = Mailbox::closed().await;
    let first = Server::start_with(send_to(port)).await;
    first.register("ada").await;
    ask(&first, "ada@example.org").await;
    until(
        &first,
        "select count(*) = 2 and min(attempts) = 1 and bool_and(last_error is not null) from mails",
    )
    .await;
    first.stop.cancel();
    let mailbox = Mailbox::open_at(port).await;
    // The pause before the next attempt is over.
    first.sql("update mails set next_attempt_at = now()").await;
    let second = Server::start_on(first.database.clone(), send_to(port)).await;
    let token = token(&mailbox.wait_for("Choose a new password").await);
    assert_eq!(confirm(&second, &token, NEW).await.status, 204);
    until(&second, "select bool_and(state = 'sent') from mails").await;
    let resets = mailbox
        .mails()
        .iter()
        .filter(|mail| mail.contains("Choose a new"))
        .count();
    assert_eq!(resets, 1);
}

#[tokio::test]
async fn a_mail_that_nobody_takes_is_given_up_and_erased() {
    let mailbox = Mailbox::open().await;
    mailbox.answer.store(451, Ordering::SeqCst);
    let server = Server::start_with(send_to(mailbox.port)).await;
    server.register("ada").await;
    until(&server, "select state = 'waiting' and last_error = 'the mail server answered 451' and next_attempt_at > now() from mails").await;
    mailbox.answer.store(550, Ordering::SeqCst);
    server
        .sql("update mails set next_attempt_at = now(); ")
        .await;
    until(&server, "select state = 'failed' and sealed_text is null and last_error = 'the mail server answered 550' from mails").await;
    ask(&server, "ada@example.org").await;
    server.sql("update mails set state = 'waiting', sealed_text = '', ended_at = null, give_up_at = now()").await;
    until(
        &server,
        "select bool_and(state = 'failed' and sealed_text is null) from mails",
    )
    .await;
    assert!(mailbox.mails().is_empty());
}

#[tokio::test]
async fn a_server_without_mail_says_so_and_its_operator_makes_links() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    ask(&server, "ada@example.org")
        .await
        .expect_problem(403, "mail_not_set", None);
    server
        .post("/api/v1/me/email-verification", &ada, &json!({}))
        .await
        .expect_problem(403, "mail_not_set", None);
    let mut conn = server.database.pool.acquire().await.unwrap();
    let public = PUBLIC_URL.parse().unwrap();
    let link = auth::create_reset_link(&mut conn, "ADA", &public)
        .await
        .unwrap();
    assert_eq!(
        confirm(&server, &token(link.expose_secret()), NEW)
            .await
            .status,
        204
    );
    assert_eq!(login(&server, NEW).await, 200);
    let me: bool =
        sqlx::query_scalar("select email_verified_at is null from users where username = 'ada'")
            .fetch_one(&server.database.pool)
            .await
            .unwrap();
    assert!(me, "a printed link proves nothing about the address");
    let unknown = auth::create_reset_link(&mut conn, "bob", &public).await;
    assert!(
        matches!(unknown, Err(opb_core::Error::NotFound(_))),
        "{unknown:?}"
    );
}

/// What the process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_token_is_logged_or_kept_readable() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    // This runtime has one thread, so everything but hashing logs here.
    let _logging = tracing::subscriber::set_default(subscriber);
    let mailbox = Mailbox::open().await;
    mailbox.answer.store(451, Ordering::SeqCst);
    let server = Server::start_with(send_to(mailbox.port)).await;
    server.register("ada").await;
    ask(&server, "ada@example.org").await;
    until(
        &server,
        "select count(*) = 2 and bool_and(last_error is not null) from mails",
    )
    .await;
    let kept: String = sqlx::query_scalar("select string_agg(m::text, ' ') from mails m")
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    assert!(!kept.contains("token="), "{kept}");
    let kept: Vec<String> =
        sqlx::query_scalar("select encode(secret_hash, 'base64') from one_time_tokens")
            .fetch_all(&server.database.pool)
            .await
            .unwrap();
    mailbox.answer.store(250, Ordering::SeqCst);
    server.sql("update mails set next_attempt_at = now()").await;
    let mail = mailbox.wait_for("Choose a new password").await;
    let token = token(&mail);
    assert!(!kept.contains(&token));
    assert_eq!(confirm(&server, &token, NEW).await.status, 204);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        log.contains("a mail could not be sent") && log.contains("a mail was sent"),
        "the log was kept: {} bytes",
        log.len()
    );
    for secret in [token.as_str(), "token=", NEW, "ada@example.org"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
