//! Who may see a thing: the rule in Rust and the rule in SQL say the same.

use opb_core::auth::{CurrentUser, UserRole, Visibility, can_read};
use opb_testing::TestDatabase;

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
