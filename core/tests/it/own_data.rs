//! Everything that is one user's, in pieces.

use opb_core::{auth::CurrentUser, own_data::OwnData};
use opb_testing::{TestDatabase, fixtures};
use serde_json::Value;
use sqlx::PgConnection;

/// The pieces of an export.
async fn pieces(conn: &mut PgConnection, user: &CurrentUser) -> Vec<Vec<u8>> {
    let mut data = OwnData::default();
    let mut pieces = Vec::new();
    while let Some(piece) = data.next(conn, user).await.unwrap() {
        pieces.push(piece);
    }
    pieces
}

#[tokio::test]
async fn an_export_comes_in_pieces_however_much_there_is() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    for statement in [
        "insert into comments (id, prompt_id, author_id, body)
         select gen_random_uuid(), (select id from prompts limit 1), (select owner_id from prompts limit 1), repeat(n::text || ' ', 1000)
         from generate_series(1000, 1499) as n",
        "insert into audit_log (event, user_id)
         select 'registered', (select owner_id from prompts limit 1) from generate_series(1, 400)",
    ] {
        sqlx::query(statement).execute(&mut **conn).await.unwrap();
    }
    let pieces = pieces(conn, &owner).await;
    let largest = pieces.iter().map(Vec::len).max().unwrap();
    assert!(largest < 1_200_000, "{largest}");
    let document: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let entries = |name: &str| document[name].as_array().unwrap();
    let mut bodies: Vec<&str> = entries("comments")
        .iter()
        .map(|comment| comment["body"].as_str().unwrap())
        .collect();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), 500, "each once");
    assert_eq!(entries("audit_log").len(), 400);
    assert_eq!(entries("prompts").len(), 2);
    assert_eq!(entries("prompts")[0]["versions"][0]["number"], 1);
    assert_eq!(entries("benchmarks")[0]["versions"][0]["item_count"], 2);
    assert_eq!(
        document["change_requests"]["proposed"],
        Value::Array(Vec::new())
    );
    assert_eq!(document["format"], "openpromptbank-own-data-1");
    assert_eq!(document["account"]["username"], owner.username);
}
