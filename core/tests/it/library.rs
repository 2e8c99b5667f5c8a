//! The statements behind the lists of prompts, on a library that is large enough to choose ways through it.

use opb_core::library::{Estimates, PromptQuery, list_prompts};
use opb_testing::{TestDatabase, fixtures};

#[tokio::test]
async fn words_are_found() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    fixtures::library(conn, 1).await;
    let query = PromptQuery {
        q: Some("plain".into()),
        ..PromptQuery::default()
    };
    let page = list_prompts(conn, &Estimates::default(), None, &query)
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
}
