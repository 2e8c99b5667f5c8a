//! Sealed credentials in the database: rows that were swapped or changed do not open, and the key can be rotated.

use opb_core::{
    mail,
    models::{
        CredentialChange, NewProvider, ProviderChange, ProviderKind, create_provider,
        reseal_credentials, update_provider,
    },
    outbound::OutboundPolicy,
    sealing::MasterKey,
    webhooks,
};
use opb_testing::TestDatabase;
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

async fn add(conn: &mut PgConnection, key: &MasterKey, name: &str, credential: &str) -> Uuid {
    let new = NewProvider {
        name: name.into(),
        kind: ProviderKind::Openai,
        base_url: Some("https://example.org/v1".into()),
        settings: serde_json::Map::new(),
        free: None,
        credential: Some(credential.into()),
    };
    let provider = create_provider(
        conn,
        &opb_testing::fixtures::administrator(),
        key,
        &OutboundPolicy::default(),
        new,
    )
    .await;
    provider.unwrap().id
}

/// The credential of a provider, if this key opens it.
async fn open(conn: &mut PgConnection, key: &MasterKey, id: Uuid) -> Option<String> {
    let sealed: Vec<u8> =
        sqlx::query_scalar("select sealed_credential from providers where id = $1")
            .bind(id)
            .fetch_one(conn)
            .await
            .unwrap();
    let opened = key.open(&sealed, id.as_bytes()).ok()?;
    Some(opened.expose_secret().to_owned())
}

#[tokio::test]
async fn credentials_that_were_moved_or_changed_in_the_database_do_not_open() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let key = MasterKey::generate();
    let a = add(conn, &key, "a", "sk-of-a").await;
    let b = add(conn, &key, "b", "sk-of-b").await;
    assert_eq!(open(conn, &key, a).await.as_deref(), Some("sk-of-a"));
    sqlx::query(
        "update providers set sealed_credential = other.sealed_credential
         from providers other where other.id <> providers.id",
    )
    .execute(&mut **conn)
    .await
    .unwrap();
    assert_eq!(open(conn, &key, a).await, None);
    assert_eq!(open(conn, &key, b).await, None);
    // Rotation refuses what it cannot open instead of losing it.
    let mut tx = conn.begin().await.unwrap();
    let refused = reseal_credentials(&mut tx, &key, &MasterKey::generate()).await;
    tx.rollback().await.unwrap();
    assert!(refused.unwrap_err().to_string().contains("provider `a`"));
    // A credential that is set again opens again.
    let change = ProviderChange {
        credential: CredentialChange::Replace("sk-new".into()),
        ..ProviderChange::default()
    };
    update_provider(
        conn,
        &opb_testing::fixtures::administrator(),
        &key,
        &OutboundPolicy::default(),
        "a",
        change,
    )
    .await
    .unwrap();
    assert_eq!(open(conn, &key, a).await.as_deref(), Some("sk-new"));
    sqlx::query("update providers set sealed_credential = set_byte(sealed_credential, 40, 255 - get_byte(sealed_credential, 40))")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert_eq!(open(conn, &key, a).await, None);
}

#[tokio::test]
async fn a_rotated_master_key_opens_everything_and_the_old_one_nothing() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (old, new) = (MasterKey::generate(), MasterKey::generate());
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(add(conn, &old, &format!("p{number}"), &format!("sk-{number}")).await);
    }
    // A rotation that is given up changes nothing.
    let mut tx = conn.begin().await.unwrap();
    assert_eq!(reseal_credentials(&mut tx, &old, &new).await.unwrap(), 20);
    tx.rollback().await.unwrap();
    assert_eq!(open(conn, &old, ids[7]).await.as_deref(), Some("sk-7"));
    for expect in [20, 0] {
        let mut tx = conn.begin().await.unwrap();
        assert_eq!(
            reseal_credentials(&mut tx, &old, &new).await.unwrap(),
            expect
        );
        tx.commit().await.unwrap();
    }
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(open(conn, &new, *id).await, Some(format!("sk-{number}")));
        assert_eq!(open(conn, &old, *id).await, None);
    }
}

/// R3: what opens with neither key ends a rotation, whatever it belongs to; nothing is passed over in silence.
#[tokio::test]
async fn mails_and_webhooks_that_open_with_neither_key_end_a_rotation() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let keys = [MasterKey::generate(), MasterKey::generate()];
    let [old, new] = &keys;
    let owner = opb_core::auth::system_user(conn).await.unwrap();
    let hook = webhooks::NewWebhook {
        name: "mine".into(),
        url: "https://hooks.example.org/x".to_owned().into(),
        format: webhooks::WebhookFormat::Standard,
        events: vec![webhooks::WebhookEvent::RunFinished],
    };
    let policy = OutboundPolicy::default();
    webhooks::create_webhook(conn, &owner, old, &policy, &hook)
        .await
        .unwrap();
    let id = Uuid::now_v7();
    let sealed = old.seal(
        &"a mail".to_owned().into(),
        &[b"mail:", id.as_bytes().as_slice()].concat(),
    );
    sqlx::query(
        "insert into mails (id, kind, recipient, subject, sealed_text, give_up_at)
                 values ($1, 'password_reset', 'a@example.org', 's', $2, now() + interval '1 day')",
    )
    .bind(id)
    .bind(sealed)
    .execute(&mut **conn)
    .await
    .unwrap();
    let stranger = MasterKey::generate();
    let error = webhooks::reseal_webhooks(conn, &stranger, new)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("webhook `mine`"), "{error}");
    let error = mail::reseal_mails(conn, &stranger, new).await.unwrap_err();
    assert!(error.to_string().contains("neither key"), "{error}");
    for expect in [1, 0] {
        assert_eq!(
            webhooks::reseal_webhooks(conn, old, new).await.unwrap(),
            expect
        );
        assert_eq!(mail::reseal_mails(conn, old, new).await.unwrap(), expect);
    }
}
