//! What users read of an error of the database.

use opb_core::Error;
use opb_testing::TestDatabase;

#[tokio::test]
async fn a_full_disk_is_told_from_other_trouble() {
    let db = TestDatabase::new().await;
    for (code, expect) in [
        (
            "53100",
            "the disk of the database is full; make room on it, then try again",
        ),
        ("53300", "the database could not serve the request"),
    ] {
        let raise = format!("do $$ begin raise exception using errcode = '{code}'; end $$");
        let raised = sqlx::query(sqlx::AssertSqlSafe(raise)).execute(&db.pool);
        let error = Error::from(raised.await.unwrap_err());
        assert_eq!(error.to_string(), expect);
    }
}
