//! A board keeps its best lines: what ranking takes is bounded.

use opb_core::{
    auth::CurrentUser,
    leaderboards::{BoardFilter, Leaderboard, load_leaderboard, renew_stale_boards},
    runs::SubmitRun,
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

/// With this many items a board has at most 141 lines: 141² / 2 · 200,000 is what may be compared.
const ITEMS: i32 = 200_000;
const MAX_LINES: usize = 141;
/// More columns than the board has room for, by ten.
const COLUMNS: i32 = 151;

/// A completed run of one prompt on one model; it measured two items only.
async fn measure(conn: &mut PgConnection, owner: &CurrentUser, scores: [f32; 2]) -> Uuid {
    let request = SubmitRun {
        prompts: vec!["plain".into()],
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    let run = submit_run(conn, owner, &request, None).await.unwrap();
    fixtures::finish(conn, run.id, &scores.map(Some)).await;
    run.id
}

async fn board(conn: &mut PgConnection) -> Leaderboard {
    load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap()
}

#[tokio::test]
async fn a_full_board_keeps_its_best_lines_and_one_that_gets_worse_makes_room() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    // Nobody asks for the items, only how many there are.
    sqlx::query("alter table benchmark_versions disable trigger user")
        .execute(&mut **conn)
        .await
        .unwrap();
    let items = sqlx::query("update benchmark_versions set item_count = $1").bind(ITEMS);
    items.execute(&mut **conn).await.unwrap();
    let run = measure(conn, &owner, [1.0, 0.0]).await;
    let found = board(conn).await;
    assert_eq!((found.standings.len(), found.notice), (1, None));

    // The run has measured many more columns, the first with the lowest score.
    let models = "insert into models (id, provider_id, name)
                  select gen_random_uuid(), id, 'm' || lpad(n::text, 4, '0')
                  from providers, generate_series(1, $1) as n where providers.name = 'simulated'";
    let models = sqlx::query(models).bind(COLUMNS);
    models.execute(&mut **conn).await.unwrap();
    let points = "insert into standing_points (run_id, benchmark_version_id, prompt_version_id, model_id, simulated,
                      evaluations, errors, item_scores, figures, stopped_early)
                  select run_id, benchmark_version_id, prompt_version_id, models.id, simulated, evaluations, errors,
                      '{0,0}', jsonb_set(figures, '{score}', to_jsonb(substr(name, 2)::int / 10000.0)), stopped_early
                  from standing_points, models
                  where name like 'm____'";
    sqlx::query(points).execute(&mut **conn).await.unwrap();
    let mark = sqlx::query("select mark_boards(array[$1], true)").bind(run);
    mark.execute(&mut **conn).await.unwrap();
    renew_stale_boards(conn).await.unwrap();
    let found = board(conn).await;
    assert_eq!(found.standings.len(), MAX_LINES);
    assert_eq!(found.standings[0].model, "simulated:strong");
    assert_eq!(found.standings[MAX_LINES - 1].model, "simulated:m0012");
    let notice = found.notice.unwrap();
    assert!(notice.contains("its best 141 lines"), "{notice}");

    // The best line becomes the worst, and the best of those that were left out takes the place.
    measure(conn, &owner, [0.0, 0.0]).await;
    let found = board(conn).await;
    assert_eq!(found.standings.len(), MAX_LINES);
    assert_eq!(found.standings[0].model, "simulated:m0151");
    assert_eq!(found.standings[MAX_LINES - 1].model, "simulated:m0011");
}
