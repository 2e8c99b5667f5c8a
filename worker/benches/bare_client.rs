//! The yardstick of the engine: a client that asks a chat completions API so many times at once, reads the answers and
//! stores them in Postgres, and nothing else. No queue, no leases, no retries, no scoring, no governor.
//!
//! `cargo bench -p opb-worker --bench bare_client -- --help`; usually `make bench-engine` calls it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde::Deserialize;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;

/// Asks, reads and stores; prints seconds and CPU seconds as JSON.
#[derive(Parser)]
struct Options {
    /// Where the chat completions API is, such as `http://127.0.0.1:8900/v1`.
    #[arg(long)]
    base_url: String,
    /// The model's name.
    #[arg(long, default_value = "strong")]
    model: String,
    /// The Postgres to store in; a table `bare_results` is made there.
    #[arg(long, env = "DATABASE_URL")]
    database_url: String,
    /// How often to ask.
    #[arg(long, default_value_t = 100_000)]
    evaluations: i64,
    /// How many calls at once.
    #[arg(long, default_value_t = 256)]
    concurrency: usize,
    /// Rows of one insert.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Row {
    number: i64,
    output: String,
    latency_ms: i32,
    input_tokens: i32,
    output_tokens: i32,
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: i32,
    completion_tokens: i32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Arc::new(Options::parse());
    let mut conn = PgConnection::connect(&options.database_url).await?;
    sqlx::raw_sql(
        "drop table if exists bare_results;
        create table bare_results (number bigint primary key, output text, latency_ms int, input_tokens int,
            output_tokens int, recorded_at timestamptz not null default now())",
    )
    .execute(&mut conn)
    .await?;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_mins(2))
        .pool_max_idle_per_host(usize::MAX)
        .tcp_nodelay(true)
        .no_proxy()
        .build()?;
    let started = Instant::now();
    let next = Arc::new(AtomicI64::new(0));
    let (sender, mut receiver) = mpsc::channel::<Row>(options.batch * 4);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..options.concurrency {
        let (client, next, sender) = (client.clone(), Arc::clone(&next), sender.clone());
        clients.spawn(ask(Arc::clone(&options), client, next, sender));
    }
    drop(sender);
    let mut rows = Vec::with_capacity(options.batch);
    while receiver.recv_many(&mut rows, options.batch).await > 0 {
        // Waits until the batch is full, as a client that cares for its database does.
        while rows.len() < options.batch {
            let left = options.batch - rows.len();
            if receiver.recv_many(&mut rows, left).await == 0 {
                break;
            }
        }
        store(&mut conn, &rows).await?;
        rows.clear();
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let stored: i64 = sqlx::query_scalar("select count(*) from bare_results")
        .fetch_one(&mut conn)
        .await?;
    ensure!(stored == options.evaluations, "only {stored} were stored");
    println!(
        "{}",
        json!({"evaluations": stored, "seconds": seconds, "cpu_seconds": cpu_seconds()?})
    );
    Ok(())
}

async fn ask(
    options: Arc<Options>,
    client: reqwest::Client,
    next: Arc<AtomicI64>,
    sender: mpsc::Sender<Row>,
) -> anyhow::Result<()> {
    let url = format!("{}/chat/completions", options.base_url);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.evaluations {
            return Ok(());
        }
        let question = format!("Answer with one word.\n\nWhat is the code of item {number}?");
        let body = json!({
            "model": options.model, "stream": false, "messages": [{"role": "user", "content": question}],
        });
        let began = Instant::now();
        let response = client.post(&url).json(&body).send().await?;
        let answer: Answer = response.error_for_status()?.json().await?;
        let choice = answer.choices.into_iter().next().context("no choice")?;
        let row = Row {
            number,
            output: choice.message.content,
            latency_ms: i32::try_from(began.elapsed().as_millis())?,
            input_tokens: answer.usage.prompt_tokens,
            output_tokens: answer.usage.completion_tokens,
        };
        sender.send(row).await.context("the storing has ended")?;
    }
}

async fn store(conn: &mut PgConnection, rows: &[Row]) -> anyhow::Result<()> {
    let column = |of: fn(&Row) -> i32| rows.iter().map(of).collect::<Vec<i32>>();
    let outputs: Vec<&str> = rows.iter().map(|row| row.output.as_str()).collect();
    sqlx::query(
        "insert into bare_results (number, output, latency_ms, input_tokens, output_tokens)
        select * from unnest($1::bigint[], $2::text[], $3::int[], $4::int[], $5::int[])",
    )
    .bind(rows.iter().map(|row| row.number).collect::<Vec<_>>())
    .bind(outputs)
    .bind(column(|row| row.latency_ms))
    .bind(column(|row| row.input_tokens))
    .bind(column(|row| row.output_tokens))
    .execute(conn)
    .await?;
    Ok(())
}

/// The processor time that this process has taken, from `/proc/self/stat` (clock ticks are hundredths on Linux).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("no process name")?.1;
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
