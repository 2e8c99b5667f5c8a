//! Benchmarks and prompts: versions are immutable, numbered and content-addressed.

use opb_core::{
    Error,
    auth::{Visibility, system_user},
    benchmarks::{delete_benchmark_version, publish_benchmark, resolve_benchmark},
    housekeeping::mend,
    library::{NewPromptVersion, add_version, list_versions, resolve_version},
    template::PromptBody,
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;

#[tokio::test]
async fn the_same_content_is_the_same_version() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let first = publish_benchmark(
        conn,
        &owner,
        &fixtures::sums(10).checked().unwrap(),
        Visibility::default(),
    )
    .await
    .unwrap();
    let again = publish_benchmark(
        conn,
        &owner,
        &fixtures::sums(10).checked().unwrap(),
        Visibility::default(),
    )
    .await
    .unwrap();
    assert_eq!((first.id, again.number), (again.id, 1));
    let longer = publish_benchmark(
        conn,
        &owner,
        &fixtures::sums(11).checked().unwrap(),
        Visibility::default(),
    )
    .await
    .unwrap();
    assert_eq!((longer.number, longer.item_count), (2, 11));
}

/// A reference such as `sums@2` leads to that version, or to none.
#[tokio::test]
async fn the_number_of_a_deleted_version_is_never_given_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let mut numbers = Vec::new();
    for items in [10, 11, 12] {
        let definition = fixtures::sums(items).checked().unwrap();
        let version = publish_benchmark(conn, &owner, &definition, Visibility::default()).await;
        numbers.push(version.unwrap().number);
        if items == 11 {
            delete_benchmark_version(conn, &owner, "sums", 2)
                .await
                .unwrap();
            mend(conn).await.unwrap();
            let left = sqlx::query_scalar("select count(*) from benchmark_versions");
            let left: i64 = left.fetch_one(&mut **conn).await.unwrap();
            assert_eq!(left, 1, "it is erased");
        }
    }
    assert_eq!(numbers, [1, 2, 3]);
    let gone = resolve_benchmark(conn, Some(&owner), "sums@2").await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_version_of_older_rules_takes_runs_once_its_content_was_checked_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    // As if an earlier version of the server had published it.
    for statement in [
        "alter table benchmark_versions disable trigger benchmark_versions_immutable",
        "update benchmark_versions set item_rules = 0",
        "alter table benchmark_versions enable trigger benchmark_versions_immutable",
    ] {
        sqlx::query(statement).execute(&mut **conn).await.unwrap();
    }
    let request = fixtures::request(json!(["simulated:strong"]), 1);
    let refused = submit_run(conn, &owner, &request, None).await.unwrap_err();
    assert!(
        refused.to_string().contains("publish the same"),
        "{refused}"
    );
    let definition = fixtures::sums(3).checked().unwrap();
    let version = publish_benchmark(conn, &owner, &definition, Visibility::default()).await;
    assert_eq!(version.unwrap().number, 1);
    submit_run(conn, &owner, &request, None).await.unwrap();
}

#[tokio::test]
async fn what_is_published_never_changes() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    fixtures::library(conn, 3).await;
    for statement in [
        "update items set vars = '{}'",
        "update benchmark_versions set scorers = '[]'",
        "update prompt_versions set body = '{}'",
    ] {
        let error = sqlx::query(statement)
            .execute(&mut **conn)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("never change"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn versions_are_numbered_and_found_by_number_alias_and_latest() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let new = |text: &str| NewPromptVersion::new(PromptBody::Text { text: text.into() });
    assert_eq!(
        add_version(
            conn,
            &owner,
            "plain",
            new("Q: {{ question }}").checked().unwrap()
        )
        .await
        .unwrap()
        .version
        .number,
        2
    );
    assert_eq!(
        add_version(
            conn,
            &owner,
            "plain",
            new("{{ question }}").checked().unwrap()
        )
        .await
        .unwrap()
        .version
        .number,
        1,
        "known content"
    );
    let versions = list_versions(conn, None, "plain", None, 10).await.unwrap();
    assert_eq!(versions.items.len(), 2);
    assert_eq!(
        resolve_version(conn, None, "plain").await.unwrap().number,
        2
    );
    assert_eq!(
        resolve_version(conn, None, "plain@1").await.unwrap().number,
        1
    );
    for unknown in ["plain@3", "plain@production", "nothing", "plain@"] {
        let found = resolve_version(conn, None, unknown).await;
        assert!(matches!(found, Err(Error::NotFound(_))), "{unknown}");
    }
    let Err(Error::Invalid(fields)) = new("{{ question").checked() else {
        panic!("a broken template was accepted")
    };
    assert_eq!(fields[0].path, "body.text");
}

#[test]
fn every_wrong_field_of_a_benchmark_is_named() {
    let check = |change: fn(&mut opb_core::benchmarks::Definition), expect: &[&str]| {
        let mut definition = fixtures::sums(3);
        change(&mut definition);
        let Err(Error::Invalid(fields)) = definition.checked() else {
            panic!("accepted; expected {expect:?}");
        };
        let paths: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, expect);
    };
    check(|d| d.items.clear(), &["items"]);
    check(|d| d.items[2].id = "sum-0".into(), &["items[2].id"]);
    check(|d| d.items[1].id = String::new(), &["items[1].id"]);
    check(|d| d.slug = "No Slug".into(), &["slug"]);
    check(|d| d.title = " ".into(), &["title"]);
    check(
        |d| d.items[0].expected = Some(json!({"a": ["\0"]})),
        &["items[0].expected"],
    );
    check(
        |d| d.scorers = serde_json::from_value(json!([{"type": "regex", "value": "("}])).unwrap(),
        &["scorers[0]"],
    );
}
