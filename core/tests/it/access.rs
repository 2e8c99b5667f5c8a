//! Who may see a thing: the rule in Rust and the rule in SQL say the same.

use opb_core::{
    Error,
    auth::{CurrentUser, UserRole, Visibility, can_read},
    models::{self, NewProvider, PriceChange, ProviderChange, ProviderLimits},
    outbound::OutboundPolicy,
    processes::list_processes,
    quotas::{Quotas, set_user_quotas},
    runs::set_quota,
    sealing::MasterKey,
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;

#[tokio::test]
async fn the_rule_is_the_same_in_rust_and_in_sql() {
    let db = TestDatabase::new().await;
    let person = |id: i64, role: UserRole| CurrentUser {
        id,
        username: format!("n{id}"),
        role,
    };
    let owner = person(1, UserRole::User);
    let viewers = [
        // Who asks; what they see of private, unlisted and public things of user 1; what lists show them.
        (None, [false, false, true], [false, false, true]),
        (
            Some(person(2, UserRole::User)),
            [false, true, true],
            [false, false, true],
        ),
        (
            Some(person(2, UserRole::Moderator)),
            [false, true, true],
            [false, false, true],
        ),
        (Some(owner.clone()), [true; 3], [true; 3]),
        (
            Some(person(2, UserRole::Admin)),
            [true; 3],
            [false, false, true],
        ),
    ];
    let words = [
        Visibility::Private,
        Visibility::Unlisted,
        Visibility::Public,
    ];
    assert!(words.is_sorted(), "the narrower of two is the smaller");
    for (viewer, seen, listed) in viewers {
        for ((word, seen), listed) in words.into_iter().zip(seen).zip(listed) {
            let said: (bool, Option<bool>) =
                sqlx::query_as("select can_see($1, $2, $3, $4), is_listed($1, $2, $3)")
                    .bind(word)
                    .bind(owner.id)
                    .bind(viewer.as_ref().map(|viewer| viewer.id))
                    .bind(viewer.as_ref().is_some_and(CurrentUser::is_admin))
                    .fetch_one(&db.pool)
                    .await
                    .unwrap();
            let case = format!("{word:?} for {viewer:?}");
            assert_eq!(can_read(viewer.as_ref(), owner.id, word), seen, "{case}");
            assert_eq!(said.0, seen, "can_see: {case}");
            assert_eq!(said.1.unwrap_or(false), listed, "is_listed: {case}");
        }
    }
    let narrower: Visibility = sqlx::query_scalar("select least('public'::visibility, 'private')")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(narrower, Visibility::Private);
}

#[tokio::test]
async fn what_nobody_asked_to_publish_is_private() {
    let db = TestDatabase::new().await;
    for table in ["prompts", "benchmarks", "collections", "runs"] {
        let default: String = sqlx::query_scalar(
            "select column_default from information_schema.columns
             where table_name = $1 and column_name = 'visibility'",
        )
        .bind(table)
        .fetch_one(&db.pool)
        .await
        .unwrap();
        assert!(default.starts_with("'private'"), "{table}: {default}");
    }
    assert_eq!(Visibility::default(), Visibility::Private);
}

/// What only administrators may do is refused by the function that does it, whoever calls it.
#[tokio::test]
async fn administrators_rules_are_asked_where_the_thing_is_done() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    fixtures::library(conn, 1).await;
    let user = &CurrentUser {
        role: UserRole::Moderator,
        ..fixtures::administrator()
    };
    let key = MasterKey::parse(&"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()).unwrap();
    let policy = OutboundPolicy::default();
    let new = NewProvider {
        name: "mine".into(),
        kind: models::ProviderKind::Openai,
        base_url: Some("https://models.example.org/v1".into()),
        settings: serde_json::Map::new(),
        credential: None,
        free: None,
    };
    let change = ProviderChange::default();
    let price: PriceChange = serde_json::from_value(
        json!({"model": "strong", "input_microusd_per_mtok": 1, "output_microusd_per_mtok": 1}),
    )
    .unwrap();
    let file = serde_json::Map::new();
    let limits = ProviderLimits::default();
    let quotas = Quotas::default();
    let refusals = [
        models::create_provider(conn, user, &key, &policy, new)
            .await
            .err(),
        models::update_provider(conn, user, &key, &policy, "simulated", change)
            .await
            .err(),
        models::delete_provider(conn, user, "simulated").await.err(),
        models::update_limits(conn, user, "simulated", &limits)
            .await
            .err(),
        models::list_limits(conn, user, "simulated").await.err(),
        models::update_price(conn, user, "simulated", &price)
            .await
            .err(),
        models::import_litellm(conn, user, &file).await.err(),
        set_quota(conn, user, "openpromptbank", Some(1)).await.err(),
        set_user_quotas(conn, user, "openpromptbank", &quotas)
            .await
            .err(),
        list_processes(conn, user).await.err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(Error::Forbidden(_))), "{refusal:?}");
    }
}
