//! The preference board: prompt versions ranked by blind preferences, with a Bradley–Terry model.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::PreferenceChoice;
use crate::{
    Result,
    auth::CurrentUser,
    benchmarks::resolve_benchmark,
    leaderboards::{self, CONFIDENCE},
    stats::{Preference, bradley_terry},
};

/// The prior: 95 of 100 prompts are preferred to an average one between 12 and 88 % of the time.
const PENALTY: f64 = 1.0;
/// Maximum number of prompt versions that are ranked: those with the most choices.
const MOST_ENTRIES: usize = 200;
/// Maximum number of choices that are counted: the newest.
const MOST_CHOICES: i64 = 100_000;

/// The prompts of a benchmark version, ranked by blind preference.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PreferenceBoard {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// True if the models are simulated.
    pub simulated: bool,
    /// The confidence level of all intervals and comparisons.
    pub confidence: f64,
    /// Number of choices that count.
    pub choices: u64,
    /// Number of people who made them.
    pub voters: u64,
    /// The prompt versions, most preferred first.
    pub entries: Vec<PreferenceEntry>,
}

/// A prompt version, ranked by blind preference.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PreferenceEntry {
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// One plus the number of entries that are significantly preferred to it.
    pub rank_low: usize,
    /// The number of entries minus those that it is significantly preferred to.
    pub rank_high: usize,
    /// Log-odds of being preferred to an average entry.
    pub strength: f64,
    /// Lower bound of the strength's interval.
    pub strength_low: f64,
    /// Upper bound of the strength's interval.
    pub strength_high: f64,
    /// The estimated probability of being preferred to an average entry, 0 to 1.
    pub preferred: f64,
    /// Number of choices for it.
    pub wins: u64,
    /// Number of choices against it.
    pub losses: u64,
    /// Number of ties in which both are good.
    pub ties: u64,
    /// Number of ties in which both are bad.
    pub both_bad: u64,
}

/// Ranks the public prompts of a benchmark version by all choices made on it, over all models.
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound) if there is no such benchmark.
pub async fn read_preference_board(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    simulated: Option<bool>,
) -> Result<PreferenceBoard> {
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let simulated = match simulated {
        Some(simulated) => simulated,
        None => leaderboards::only_simulated_in_public(conn, version.id).await?,
    };
    let choices = load_choices(conn, version.id, simulated).await?;
    let ids = most_judged(&choices);
    let index: HashMap<Uuid, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut voters: HashMap<i64, usize> = HashMap::new();
    let mut tallies = vec![Tally::default(); ids.len()];
    let mut comparisons = Vec::new();
    for choice in &choices {
        let (Some(&left), Some(&right)) = (index.get(&choice.left), index.get(&choice.right))
        else {
            continue;
        };
        let next = voters.len();
        let voter = *voters.entry(choice.user_id).or_insert(next);
        tallies[left].count(choice.choice, PreferenceChoice::Left);
        tallies[right].count(choice.choice, PreferenceChoice::Right);
        let outcome = match choice.choice {
            PreferenceChoice::Left => 1.0,
            PreferenceChoice::Right => 0.0,
            PreferenceChoice::Tie | PreferenceChoice::BothBad => 0.5,
        };
        comparisons.push(Preference {
            left,
            right,
            outcome,
            voter,
        });
    }
    let names = load_names(conn, &ids).await?;
    let strengths = bradley_terry(ids.len(), &comparisons, PENALTY, CONFIDENCE);
    let mut entries: Vec<PreferenceEntry> = strengths
        .iter()
        .zip(&tallies)
        .zip(&ids)
        .map(|((strength, tally), id)| PreferenceEntry {
            prompt: names.get(id).cloned().unwrap_or_default(),
            rank_low: strength.rank_low,
            rank_high: strength.rank_high,
            strength: strength.strength,
            strength_low: strength.low,
            strength_high: strength.high,
            preferred: 1.0 / (1.0 + (-strength.strength).exp()),
            wins: tally.wins,
            losses: tally.losses,
            ties: tally.ties,
            both_bad: tally.both_bad,
        })
        .collect();
    entries.sort_by(|a, b| {
        b.strength
            .total_cmp(&a.strength)
            .then_with(|| a.prompt.cmp(&b.prompt))
    });
    Ok(PreferenceBoard {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        simulated,
        confidence: CONFIDENCE,
        choices: comparisons.len() as u64,
        voters: voters.len() as u64,
        entries,
    })
}

/// The counts of one entry's choices.
#[derive(Debug, Clone, Default)]
struct Tally {
    wins: u64,
    losses: u64,
    ties: u64,
    both_bad: u64,
}

impl Tally {
    fn count(&mut self, choice: PreferenceChoice, side: PreferenceChoice) {
        match choice {
            PreferenceChoice::Tie => self.ties += 1,
            PreferenceChoice::BothBad => self.both_bad += 1,
            choice if choice == side => self.wins += 1,
            _ => self.losses += 1,
        }
    }
}

/// A pair with its choice.
struct Judged {
    user_id: i64,
    left: Uuid,
    right: Uuid,
    choice: PreferenceChoice,
}

async fn load_choices(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
    simulated: bool,
) -> Result<Vec<Judged>> {
    let choices = sqlx::query_as!(
        Judged,
        r#"-- preference_board::load_choices
        with shown_runs as materialized (
            select run_id from (select distinct run_id from preferences
                                where benchmark_version_id = $1 and simulated = $2) judged
            where is_public_run(run_id)
        )
        select user_id, left_prompt_version_id as "left", right_prompt_version_id as "right",
               choice as "choice!: PreferenceChoice"
        from preferences
        where preferences.benchmark_version_id = $1 and simulated = $2 and choice is not null
          and run_id in (select run_id from shown_runs)
        order by decided_at desc, preferences.id
        limit $3"#,
        benchmark_version_id,
        simulated,
        MOST_CHOICES
    )
    .fetch_all(conn)
    .await?;
    Ok(choices)
}

/// The prompt versions with the most choices.
fn most_judged(choices: &[Judged]) -> Vec<Uuid> {
    let mut counts: HashMap<Uuid, usize> = HashMap::new();
    for choice in choices {
        *counts.entry(choice.left).or_default() += 1;
        *counts.entry(choice.right).or_default() += 1;
    }
    let mut ids: Vec<Uuid> = counts.keys().copied().collect();
    ids.sort_unstable_by_key(|id| (std::cmp::Reverse(counts[id]), *id));
    ids.truncate(MOST_ENTRIES);
    ids
}

async fn load_names(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, String>> {
    let names = sqlx::query!(
        r#"-- preference_board::load_names
        select prompt_versions.id, slug || '@' || number as "name!"
        from prompt_versions join prompts on prompts.id = prompt_id
        where prompt_versions.id = any($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(names.into_iter().map(|row| (row.id, row.name)).collect())
}
