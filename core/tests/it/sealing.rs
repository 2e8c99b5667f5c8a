//! Sealed credentials in the database: rows that were swapped or changed do not open, and the key can be rotated.

use opb_core::{
    models::{
        CredentialChange, NewProvider, ProviderChange, ProviderKind, create_provider,
        reseal_credentials, update_provider,
    },
    outbound::OutboundPolicy,
    sealing::MasterKey,
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
    let provider = create_provider(conn, key, &OutboundPolicy::default(), new).await;
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
    update_provider(conn, &key, &OutboundPolicy::default(), "a", change)
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
