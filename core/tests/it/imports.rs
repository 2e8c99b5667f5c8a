//! Large benchmarks come in parts, and become what they would have been in one piece.

use opb_core::{
    Error,
    auth::{CurrentUser, Visibility, system_user},
    benchmarks::{
        Begun, CheckedPart, Definition, Import, Item, Measure, NewImport, PublishImport,
        abandon_import, add_part, begin_import, find_benchmark, find_import, list_benchmarks,
        list_imports, list_items, publish_benchmark, publish_import, resolve_benchmark,
    },
    housekeeping::mend,
    quotas::{Quotas, find_usage, set_user_quotas},
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;
use sqlx::PgConnection;

fn header(definition: &Definition, content_hash: Option<String>) -> NewImport {
    let definition = definition.clone();
    NewImport {
        slug: definition.slug,
        title: definition.title,
        description: definition.description,
        source: definition.source,
        visibility: definition.visibility,
        scorers: definition.scorers,
        content_hash,
    }
}

fn hash(definition: &Definition) -> String {
    let mut measure = Measure::new(&definition.scorers).unwrap();
    for item in &definition.items {
        measure.add(item).unwrap();
    }
    measure.finish().hex()
}

async fn begin(conn: &mut PgConnection, owner: &CurrentUser, new: NewImport) -> Begun {
    let checked = new.checked().unwrap();
    let begun = begin_import(conn, owner, &checked, Visibility::default());
    begun.await.unwrap()
}

async fn begin_new(conn: &mut PgConnection, owner: &CurrentUser, new: NewImport) -> Import {
    match begin(conn, owner, new).await {
        Begun::New(import) => import,
        other => panic!("no new import: {other:?}"),
    }
}

fn lines(items: &[Item]) -> Vec<u8> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, item).unwrap();
        lines.push(b'\n');
    }
    lines
}

/// Sends items as the part of this number, as the API does.
async fn send(
    conn: &mut PgConnection,
    user: &CurrentUser,
    import: &Import,
    number: i32,
    items: &[Item],
) -> Result<Import, Error> {
    let open = find_import(conn, user, import.id).await?;
    let part = CheckedPart::parse(&lines(items), &open.scorers, open.import.item_count)?;
    add_part(conn, user, import.id, number, &part).await
}

fn all(item_count: i32) -> PublishImport {
    PublishImport {
        item_count,
        content_hash: None,
    }
}

#[track_caller]
fn conflict<T: std::fmt::Debug>(result: Result<T, Error>, word: &str) {
    let Err(Error::Conflict(message)) = result else {
        panic!("no conflict: {result:?}");
    };
    assert!(message.contains(word), "{message}");
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, Error>, path: &str, word: &str) {
    let Err(Error::Invalid(fields)) = result else {
        panic!("accepted: {result:?}");
    };
    assert_eq!(fields[0].path, path, "{}", fields[0].message);
    assert!(fields[0].message.contains(word), "{}", fields[0].message);
}

async fn count(conn: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(conn).await.unwrap()
}

/// Position, key, variables, expected value, metadata, scorers and size of an item, as they lie in the database.
type StoredItem = (i32, String, String, String, String, Option<String>, i32);

#[tokio::test]
async fn parts_become_what_one_piece_is() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let mut whole = fixtures::sums(300);
    whole.items[7].vars.insert("hint".into(), json!(0.1));
    whole.items[9].scorers = Some(whole.scorers.clone());
    let checked = whole.clone().checked().unwrap();
    let published = publish_benchmark(conn, &owner, &checked, Visibility::default());
    let published = published.await.unwrap();
    assert_eq!(published.content_hash, hash(&whole));
    // What is there is not sent.
    let known = begin(conn, &owner, header(&whole, Some(hash(&whole)))).await;
    assert!(matches!(known, Begun::Published(version) if version.id == published.id));

    let parted = Definition {
        slug: "parted".into(),
        ..whole.clone()
    };
    let import = begin_new(conn, &owner, header(&parted, Some(hash(&parted)))).await;
    for (number, items) in (1..).zip(parted.items.chunks(120)) {
        let seen = send(conn, &owner, &import, number, items).await.unwrap();
        assert_eq!(seen.parts, number);
        // The same again is harmless.
        let again = send(conn, &owner, &import, number, items).await.unwrap();
        assert_eq!((again.parts, again.item_count), (number, seen.item_count));
        // Nobody knows of it yet.
        let hidden = find_benchmark(conn, Some(&owner), "parted").await;
        assert!(matches!(hidden, Err(Error::NotFound(_))));
        let hidden = resolve_benchmark(conn, Some(&owner), "parted").await;
        assert!(matches!(hidden, Err(Error::NotFound(_))));
        let listed = list_benchmarks(conn, Some(&owner), None, 50).await.unwrap();
        assert_eq!(listed.items.len(), 1);
    }
    let version = publish_import(conn, &owner, import.id, &all(300))
        .await
        .unwrap();
    assert_eq!((version.number, version.item_count), (1, 300));
    assert_eq!(version.content_hash, published.content_hash);
    let rows = "select position, key, vars::text, expected::text, metadata::text, scorers::text, size_bytes
                from items where benchmark_version_id = $1 order by position";
    let mut stored = Vec::new();
    for id in [published.id, version.id] {
        let rows: Vec<StoredItem> = sqlx::query_as(rows)
            .bind(id)
            .fetch_all(&mut **conn)
            .await
            .unwrap();
        stored.push(rows);
    }
    assert_eq!(stored[0], stored[1]);
    let versions = "select count(distinct (item_count, size_bytes, variables, item_rules, content_hash)) from benchmark_versions";
    assert_eq!(count(conn, versions).await, 1);
    let left = "select (select count(*) from imports) + (select count(*) from import_parts)";
    assert_eq!(count(conn, left).await, 0);
    let changed = sqlx::query("update benchmark_versions set item_count = 1")
        .execute(&mut **conn)
        .await;
    assert!(changed.unwrap_err().to_string().contains("never change"));
}

#[tokio::test]
async fn content_that_is_there_already_is_not_published_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let whole = fixtures::sums(10);
    // Two imports of the same content, of which one has announced it; then it comes in one piece.
    let announced = begin_new(conn, &owner, header(&whole, Some(hash(&whole)))).await;
    let silent = begin_new(conn, &owner, header(&whole, None)).await;
    let checked = whole.clone().checked().unwrap();
    let published = publish_benchmark(conn, &owner, &checked, Visibility::default())
        .await
        .unwrap();
    for import in [&announced, &silent] {
        send(conn, &owner, import, 1, &whole.items).await.unwrap();
        let version = publish_import(conn, &owner, import.id, &all(10)).await;
        assert_eq!(version.unwrap().id, published.id);
        let gone = find_import(conn, &owner, import.id).await;
        assert!(matches!(gone, Err(Error::NotFound(_))));
    }
    mend(conn).await.unwrap();
    assert_eq!(count(conn, "select count(*) from items").await, 10);
    assert_eq!(
        count(conn, "select count(*) from benchmark_versions").await,
        1
    );
}

#[tokio::test]
async fn an_interrupted_import_goes_on_where_it_was() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let whole = fixtures::sums(10);
    let announced = header(&whole, Some(hash(&whole)));
    let import = begin_new(conn, &owner, announced.clone()).await;
    send(conn, &owner, &import, 1, &whole.items[..4])
        .await
        .unwrap();
    let Begun::Resumed(resumed) = begin(conn, &owner, announced).await else {
        panic!("begun anew");
    };
    assert_eq!((resumed.id, resumed.item_count), (import.id, 4));
    // The rest may come in other pieces than before.
    send(conn, &owner, &resumed, 2, &whole.items[4..5])
        .await
        .unwrap();
    send(conn, &owner, &resumed, 3, &whole.items[5..])
        .await
        .unwrap();
    let version = publish_import(conn, &owner, import.id, &all(10))
        .await
        .unwrap();
    assert_eq!(version.content_hash, hash(&whole));
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let whole = fixtures::sums(6);
    let items = &whole.items;
    let import = begin_new(conn, &owner, header(&whole, Some("0".repeat(64)))).await;
    conflict(
        send(conn, &owner, &import, 2, &items[..2]).await,
        "number 1",
    );
    invalid(
        send(conn, &owner, &import, 0, &items[..2]).await,
        "number",
        "at least 1",
    );
    send(conn, &owner, &import, 1, &items[..2]).await.unwrap();
    conflict(
        send(conn, &owner, &import, 1, &items[2..]).await,
        "different items",
    );
    // The id of an item is unique in the whole benchmark, and a part that is refused leaves nothing.
    let twice = [items[2].clone(), items[1].clone()];
    let refused = send(conn, &owner, &import, 2, &twice).await;
    invalid(refused, "items[3].id", "first by items[1]");
    let mut faulty = items[2].clone();
    faulty.expected = Some(json!("many"));
    let refused = send(conn, &owner, &import, 2, &[faulty]).await;
    invalid(refused, "items[2].expected", "sum-2");
    let parse = |text: &str| CheckedPart::parse(text.as_bytes(), &whole.scorers, 2).map(drop);
    invalid(parse("{\"id\": \"a\"}\n{"), "", "line 2");
    invalid(parse("[\"a\"]"), "", "line 1: is not a JSON object");
    invalid(parse("\n"), "", "at least one item");
    send(conn, &owner, &import, 2, &items[2..]).await.unwrap();
    let publish = async |conn: &mut PgConnection, items, hash: Option<&str>| {
        let request = PublishImport {
            item_count: items,
            content_hash: hash.map(str::to_owned),
        };
        publish_import(conn, &owner, import.id, &request).await
    };
    conflict(publish(conn, 5, None).await, "6 items were received");
    conflict(publish(conn, 6, None).await, "than was announced");
    invalid(publish(conn, 6, Some("ff")).await, "content_hash", "64");
    let unknown = header(&whole, Some("g".repeat(64)));
    invalid(unknown.checked().map(drop), "content_hash", "64");
}

#[tokio::test]
async fn what_comes_in_parts_is_bounded_like_one_piece() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let whole = fixtures::sums(3);
    let import = begin_new(conn, &owner, header(&whole, None)).await;
    let mut large = whole.items[0].clone();
    large.vars.insert("text".into(), "a".repeat(1 << 20).into());
    let refused = send(
        conn,
        &owner,
        &import,
        1,
        &[whole.items[1].clone(), large.clone()],
    )
    .await;
    invalid(refused, "items[1]", "at most 1048576");
    let one_piece = Definition {
        items: vec![large],
        ..whole.clone()
    };
    invalid(one_piece.checked().map(drop), "items[0]", "at most 1048576");
    for (set, word) in [
        (
            "update benchmark_versions set size_bytes = 512 * 1024 * 1024 - 10",
            "536870912 bytes",
        ),
        (
            "update benchmark_versions set size_bytes = 0, item_count = 99999",
            "100000 items",
        ),
    ] {
        sqlx::query(set).execute(&mut **conn).await.unwrap();
        let refused = send(conn, &owner, &import, 1, &whole.items[..2]).await;
        invalid(refused, "items", word);
    }
    sqlx::query("update benchmark_versions set item_count = 0")
        .execute(&mut **conn)
        .await
        .unwrap();
    let quotas = Quotas {
        stored_bytes: Some(150),
        ..Quotas::default()
    };
    set_user_quotas(conn, &fixtures::administrator(), &owner.username, &quotas)
        .await
        .unwrap();
    let refused = send(conn, &owner, &import, 1, &whole.items).await;
    assert!(
        matches!(refused, Err(Error::QuotaExceeded(_))),
        "{refused:?}"
    );
    assert_eq!(count(conn, "select count(*) from items").await, 0);
    let quotas = Quotas::default();
    set_user_quotas(conn, &fixtures::administrator(), &owner.username, &quotas)
        .await
        .unwrap();
    for _ in 1..50 {
        begin_new(conn, &owner, header(&whole, None)).await;
    }
    let checked = header(&whole, None).checked().unwrap();
    let refused = begin_import(conn, &owner, &checked, Visibility::default()).await;
    conflict(refused.map(drop), "50 imports");
}

#[tokio::test]
async fn an_import_that_is_given_up_leaves_nothing() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let whole = fixtures::sums(5);
    let announced = header(&whole, Some(hash(&whole)));
    for expires in [false, true] {
        let import = begin_new(conn, &owner, announced.clone()).await;
        send(conn, &owner, &import, 1, &whole.items).await.unwrap();
        let stored = find_usage(conn, &owner).await.unwrap().stored_bytes.used;
        assert!(stored > 100, "it counts as stored: {stored}");
        let listed = list_imports(conn, &owner).await.unwrap();
        assert_eq!((listed[0].id, listed[0].parts), (import.id, 1));
        mend(conn).await.unwrap();
        assert_eq!(count(conn, "select count(*) from items").await, 5);
        if expires {
            let past = "update imports set changed_at = now() - interval '8 days'";
            sqlx::query(past).execute(&mut **conn).await.unwrap();
        } else {
            abandon_import(conn, &owner, import.id).await.unwrap();
            assert!(list_imports(conn, &owner).await.unwrap().is_empty());
        }
        mend(conn).await.unwrap();
        let late = publish_import(conn, &owner, import.id, &all(5)).await;
        assert!(matches!(late, Err(Error::NotFound(_))), "{late:?}");
        let left = "select (select count(*) from items) + (select count(*) from benchmark_versions)
                    + (select count(*) from benchmarks) + (select count(*) from import_parts)";
        assert_eq!(count(conn, left).await, 0);
        assert_eq!(find_usage(conn, &owner).await.unwrap().stored_bytes.used, 0);
    }
}

/// A version whose items are being erased does not come back with what is left of them.
#[tokio::test]
async fn what_is_being_erased_is_published_anew() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let mut ids = Vec::new();
    for items in [4, 5] {
        let checked = fixtures::sums(items).checked().unwrap();
        let version = publish_benchmark(conn, &owner, &checked, Visibility::default()).await;
        ids.push(version.unwrap().id);
    }
    opb_core::benchmarks::delete_benchmark_version(conn, &owner, fixtures::BENCHMARK, 1)
        .await
        .unwrap();
    // As a process leaves it that ended in the middle of erasing.
    for statement in [
        "update benchmark_versions set content_hash = null where number = 1",
        "delete from items using benchmark_versions
         where id = benchmark_version_id and number = 1 and position < 2",
    ] {
        sqlx::query(statement).execute(&mut **conn).await.unwrap();
    }
    let checked = fixtures::sums(4).checked().unwrap();
    let again = publish_benchmark(conn, &owner, &checked, Visibility::default())
        .await
        .unwrap();
    assert_eq!((again.number, again.item_count), (3, 4));
    mend(conn).await.unwrap();
    assert_eq!(count(conn, "select count(*) from items").await, 9);
    assert!(!ids.contains(&again.id));
}

#[tokio::test]
async fn items_are_read_so_many_bytes_at_a_time() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = system_user(conn).await.unwrap();
    let mut large = fixtures::sums(12);
    for item in &mut large.items[2..] {
        item.vars
            .insert("text".into(), "a".repeat((1 << 20) - 200).into());
    }
    let checked = large.checked().unwrap();
    let version = publish_benchmark(conn, &owner, &checked, Visibility::default())
        .await
        .unwrap();
    let mut read = Vec::new();
    let mut slices = Vec::new();
    while read.len() < 12 {
        let first = i32::try_from(read.len()).unwrap();
        let items = list_items(conn, version.id, first, 100).await.unwrap();
        slices.push(items.len());
        read.extend(items.into_iter().map(|item| item.position));
    }
    assert_eq!(slices, [11, 1], "two small ones and nine of 1 MiB");
    assert_eq!(read, (0..12).collect::<Vec<_>>());
}

/// A run's variables are known without a look at the items; what some items lack is looked for and named.
#[tokio::test]
async fn a_run_does_not_read_the_items_to_be_submitted() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let request = fixtures::request(json!(["simulated:strong"]), 1);
    let mut locking = db.pool.begin().await.unwrap();
    sqlx::query("lock table items in access exclusive mode")
        .execute(&mut *locking)
        .await
        .unwrap();
    sqlx::query("set lock_timeout = '1s'")
        .execute(&mut **conn)
        .await
        .unwrap();
    submit_run(conn, &owner, &request, None).await.unwrap();
    locking.rollback().await.unwrap();
    let mut sums = fixtures::sums(3);
    sums.items[1].vars.clear();
    let checked = sums.checked().unwrap();
    publish_benchmark(conn, &owner, &checked, Visibility::default())
        .await
        .unwrap();
    let refused = submit_run(conn, &owner, &request, None).await;
    invalid(
        refused,
        "prompts[0]",
        "needs the variable `question`, which the item `sum-1` lacks",
    );
    let first = opb_core::runs::SubmitRun {
        limit: Some(1),
        ..request
    };
    submit_run(conn, &owner, &first, None).await.unwrap();
}
