//! The schema that the migrations make, against the description of it that is committed, and the rules that it keeps.

use opb_core::database;
use opb_testing::TestDatabase;

/// The description shows the whole schema at a glance, and every change of it line by line.
#[tokio::test]
async fn the_schema_is_the_described_one() {
    let db = TestDatabase::new().await;
    let lines: Vec<String> = sqlx::query_scalar(include_str!("schema.sql"))
        .fetch_all(&db.pool)
        .await
        .unwrap();
    let found = lines.join("\n") + "\n";
    let described = include_str!("schema.txt");
    let difference = found.lines().zip(described.lines()).find(|(a, b)| a != b);
    assert!(
        found == described,
        "core/tests/it/schema.txt describes another schema: run `make sqlx`, and read what it changes; first: {difference:?}"
    );
}

/// Without one, deleting a row reads every row of the table that may refer to it.
#[tokio::test]
async fn every_foreign_key_has_an_index() {
    let db = TestDatabase::new().await;
    // A partial index serves when it leaves out only what refers to nothing.
    let without: Vec<String> = sqlx::query_scalar(
        "select format('%s: %s', conrelid::regclass, pg_get_constraintdef(pg_constraint.oid))
         from pg_constraint
         where contype = 'f' and connamespace = 'public'::regnamespace
           and not exists (
               select from pg_index
               join pg_attribute on attrelid = conrelid and attnum = conkey[1]
               where indrelid = conrelid and indkey[0] = any(conkey)
                 and (indpred is null or pg_get_expr(indpred, indrelid) = format('(%I IS NOT NULL)', attname)))
         order by 1",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(without.is_empty(), "{without:#?}");
}

#[tokio::test]
async fn a_database_of_another_version_is_left_alone() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    assert!(database::is_migrated(conn).await.unwrap());
    // What a newer program added keeps no older one from working.
    let newer =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (30000101000001, 'newer', true, '', 0)";
    sqlx::query(newer).execute(&mut **conn).await.unwrap();
    assert!(database::is_migrated(conn).await.unwrap());
    let refused = database::migrate(&db.pool).await.unwrap_err();
    insta::assert_snapshot!(refused);

    // Migrations with other numbers are not ours, however high they are.
    sqlx::query("delete from _sqlx_migrations where version < 30000101000001")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert!(!database::is_migrated(conn).await.unwrap());
}
