//! The yardstick of reading: GET requests at a fixed rate, whatever the server does. A latency counts from the time at
//! which the request was due, not from when it could be sent, so that no stall of the server hides what it delayed
//! (coordinated omission).
//!
//! `cargo bench -p opb-api --bench fixed_rate -- --help`; usually `make bench-read` calls it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use tokio::{sync::mpsc, time::MissedTickBehavior};

/// Asks one address at a fixed rate, and prints percentiles of the latency.
#[derive(Parser)]
struct Options {
    /// What to ask for.
    #[arg(long)]
    url: String,
    /// Requests a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// The most milliseconds that the 99th percentile may take.
    #[arg(long, default_value_t = 10.0)]
    limit_ms: f64,
    /// `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// When a request was due, when it was answered, and the size of the body, or why there is none.
type Answered = (Duration, Result<usize, String>);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()?;
    // Connections are open and the first answers made before anything counts.
    ask(&client, &options.url, 1, options.rate).await?;
    let mut answers = ask(&client, &options.url, options.seconds, options.rate).await?;
    answers.sort_unstable_by_key(|(latency, _)| *latency);
    let at = |share: f64| {
        let place = (share * (answers.len() - 1) as f64).ceil() as usize;
        answers[place].0.as_secs_f64() * 1e3
    };
    let failed: Vec<&String> = answers
        .iter()
        .filter_map(|(_, body)| body.as_ref().err())
        .collect();
    let bytes = answers
        .iter()
        .filter_map(|(_, body)| body.as_ref().ok())
        .max();
    println!(
        "{} requests at {} a second, {} bytes each: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms; {} errors",
        answers.len(),
        options.rate,
        bytes.copied().unwrap_or(0),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        failed.len()
    );
    if let Some(first) = failed.first() {
        anyhow::bail!("{} requests failed, one of them: {first}", failed.len());
    }
    ensure!(
        at(0.99) <= options.limit_ms,
        "the promise is p99 <= {} ms",
        options.limit_ms
    );
    Ok(())
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
    seconds: u32,
    rate: u32,
) -> anyhow::Result<Vec<Answered>> {
    let planned = rate * seconds;
    let (done, mut answered) = mpsc::unbounded_channel();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begin = Instant::now();
    let mut sent = 0;
    while sent < planned {
        ticks.tick().await;
        while sent < planned {
            let due = begin + Duration::from_secs_f64(f64::from(sent) / f64::from(rate));
            if due > Instant::now() {
                break;
            }
            sent += 1;
            let (request, done) = (client.get(url), done.clone());
            tokio::spawn(async move {
                let body = read(request).await.map_err(|error| format!("{error:#}"));
                // The receiver lives until all have been counted.
                let _ = done.send((due.elapsed(), body));
            });
        }
    }
    drop(done);
    let mut answers = Vec::with_capacity(planned as usize);
    while let Some(answer) = answered.recv().await {
        answers.push(answer);
    }
    ensure!(answers.len() == planned as usize, "some requests got lost");
    Ok(answers)
}

async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<usize> {
    let response = request.send().await.context("no answer")?;
    let response = response.error_for_status().context("an error")?;
    Ok(response.bytes().await.context("no body")?.len())
}
