//! The courses of standings over time: the point of every run, the step changes between them, and models that drift.

mod drift;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::drift::model_drifts;
use super::{BoardFilter, BoardKind, CONFIDENCE, Figures, audience::Audience};
use crate::{Result, auth::CurrentUser, benchmarks::resolve_benchmark, computing::Loaded, stats};

/// Maximum number of columns whose courses are shown at once: those with the newest points.
const MOST_COURSES: i64 = 50;
/// Maximum number of points of a course: the newest.
const MOST_POINTS: i64 = 100;
/// The half-width of a standing's interval in standard errors.
const Z: f64 = 1.959_963_984_540_054;

/// The courses of a benchmark version's standings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaderboardHistory {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// The runs behind the points: those that everybody may read, or your own.
    pub board: BoardKind,
    /// True if the models are simulated.
    pub simulated: bool,
    /// The confidence level of all intervals and alarms.
    pub confidence: f64,
    /// The courses of columns, by prompt and model; at most 50, those that were measured last.
    pub courses: Vec<Course>,
    /// The drift of models that were measured at least twice with the same prompt, by name.
    pub models: Vec<ModelDrift>,
}

/// The course of one prompt version on one model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Course {
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// The points, oldest first; at most the newest 100.
    pub points: Vec<CoursePoint>,
}

/// The results of one run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CoursePoint {
    /// The run's id.
    pub run_id: Uuid,
    /// When it ended.
    pub measured_at: DateTime<Utc>,
    /// True if a step change was detected here: a new level begins with this point.
    pub change: bool,
    /// Number of evaluations, including errors.
    pub evaluations: i64,
    /// Number of evaluations that ended in an error.
    pub errors: i64,
    /// The measured figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Whether a model's results have changed since its first run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModelDrift {
    /// `provider:name` of the model.
    pub model: String,
    /// The model's parameters.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// The run that the later ones are compared with.
    pub first_run_id: Uuid,
    /// When that run ended.
    pub first_measured_at: DateTime<Utc>,
    /// True if a later run differs significantly.
    pub drifted: bool,
    /// The later runs, oldest first.
    pub runs: Vec<DriftPoint>,
}

/// The difference between a run of a model and its first one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DriftPoint {
    /// The run's id.
    pub run_id: Uuid,
    /// When it ended.
    pub measured_at: DateTime<Utc>,
    /// The mean difference of the items' scores, over the prompts of both runs.
    pub difference: f64,
    /// Lower bound of the difference; it stays valid however often the data is inspected.
    pub low: f64,
    /// Upper bound of the difference.
    pub high: f64,
    /// Number of items for which both runs have a score.
    pub items: i32,
    /// True if a difference of zero is ruled out.
    pub drifted: bool,
}

struct Row {
    run_id: Uuid,
    measured_at: DateTime<Utc>,
    prompt_version_id: Uuid,
    prompt: String,
    model_id: Uuid,
    model: String,
    parameters: serde_json::Value,
    evaluations: i64,
    errors: i64,
    figures: Json<Figures>,
    item_scores: Vec<Option<f32>>,
}

/// A selection of courses.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryFilter {
    /// The public board, or that of your own runs; absent: your own if you have results there, else the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub board: Option<BoardKind>,
    /// Simulated or real models; absent: the real ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// `slug`, or `slug@number` of a prompt version; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// `provider:name` of a model; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Loads the courses of a benchmark version's standings, of all columns or of those of a prompt, of a model, or of
/// both.
///
/// # Errors
/// [`crate::Error::NotFound`] if there is no such benchmark.
pub async fn load_history(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    filter: &HistoryFilter,
) -> Result<Loaded<LeaderboardHistory>> {
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let audience = Audience::choose(conn, viewer, filter.board, Some(version.id)).await?;
    let board_filter = BoardFilter {
        simulated: filter.simulated,
        ..BoardFilter::default()
    };
    let simulated = board_filter
        .wants_simulated(conn, version.id, audience)
        .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"-- history::load_history
        with shown_runs as materialized (
            select id from public_runs(array(select run_id from standing_points where benchmark_version_id = $1 and simulated = $2)) as id
            where $9::bigint is null
            union all
            select id from runs
            where id in (select run_id from standing_points where benchmark_version_id = $1 and simulated = $2) and owner_id = $9 and deleted_at is null
        ), points as (
            select standing_points.*,
                   case when is_seen then prompts.slug || '@' || prompt_versions.number else '(hidden)' end as prompt,
                   providers.name || ':' || models.name as model, models.parameters,
                   row_number() over (partition by prompt_version_id, model_id order by measured_at desc, run_id) as age
            from standing_points
            join prompt_versions on prompt_versions.id = prompt_version_id
            join prompts on prompts.id = prompt_id
            join models on models.id = model_id
            join providers on providers.id = provider_id
            cross join lateral (
                select can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                    prompt_versions.withdrawn_at is not null, $9, $3, $4) as is_seen) part
            where benchmark_version_id = $1 and simulated = $2
              and run_id in (select id from shown_runs)
              and not exists (select from hidden_columns hidden
                              where hidden.run_id = standing_points.run_id
                                and hidden.prompt_version_id = standing_points.prompt_version_id
                                and hidden.model_id = standing_points.model_id
                                and (hidden.hidden_by = 'owner' or $9::bigint is null))
              and ($5::text is null or (is_seen and $5 in (prompts.slug, prompts.slug || '@' || prompt_versions.number)))
              and ($6::text is null or providers.name || ':' || models.name = $6)
        ), shown as (
            select prompt_version_id, model_id from points where age = 1 order by measured_at desc, prompt, model limit $7
        )
        select run_id, measured_at, prompt_version_id, prompt as "prompt!", model_id, model as "model!",
               parameters as "parameters!", evaluations, errors, figures as "figures: Json<Figures>", item_scores as "item_scores: Vec<Option<f32>>"
        from points
        join shown using (prompt_version_id, model_id)
        where age <= $8
        order by prompt, model, model_id, measured_at, run_id"#,
        version.id,
        simulated,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        filter.prompt,
        filter.model,
        MOST_COURSES,
        MOST_POINTS,
        audience.id()
    )
    .fetch_all(conn)
    .await?;
    let history = LeaderboardHistory {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        board: audience.kind(),
        simulated,
        confidence: CONFIDENCE,
        courses: Vec::new(),
        models: Vec::new(),
    };
    Ok(Loaded::new(move || {
        Ok(LeaderboardHistory {
            courses: courses(&rows),
            models: model_drifts(&rows),
            ..history
        })
    }))
}

/// Groups the rows by course; they are sorted by course.
fn courses(rows: &[Row]) -> Vec<Course> {
    let same =
        |a: &Row, b: &Row| (a.prompt_version_id, a.model_id) == (b.prompt_version_id, b.model_id);
    rows.chunk_by(same).map(course).collect()
}

fn course(rows: &[Row]) -> Course {
    let scores: Vec<f64> = rows.iter().map(|row| row.figures.score).collect();
    let errors: Vec<f64> = rows
        .iter()
        .map(|row| (row.figures.score_high - row.figures.score_low) / (2.0 * Z))
        .collect();
    let changes = stats::change_points(&scores, Some(&errors));
    let point = |(at, row): (usize, &Row)| CoursePoint {
        run_id: row.run_id,
        measured_at: row.measured_at,
        change: changes.contains(&at),
        evaluations: row.evaluations,
        errors: row.errors,
        figures: row.figures.0.clone(),
    };
    Course {
        prompt: rows[0].prompt.clone(),
        model: rows[0].model.clone(),
        parameters: rows[0].parameters.clone(),
        points: rows.iter().enumerate().map(point).collect(),
    }
}
