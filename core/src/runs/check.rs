//! Validates a request for a run: all references exist, all variables are present, and the size is allowed.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    ExtendRun, Run, RunShape, SubmitRun,
    budget::{check_bounded, check_parameters},
    early,
    visibility::{Parts, load_parts},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    benchmarks::{BenchmarkVersion, outdated_check, resolve_benchmark},
    library::{PromptVersion, resolve_version},
    models::{ModelRequest, check_parameters_together, find_or_create_model, model_label},
    texts,
};

/// Maximum number of prompts, and of models, in a run.
const MAX_COLUMNS: usize = 100;
/// Maximum number of evaluations in a run.
pub(super) const MAX_EVALUATIONS: i64 = 10_000_000;

/// A request with all references resolved.
pub(super) struct Checked {
    pub(super) benchmark: BenchmarkVersion,
    pub(super) prompts: Vec<PromptVersion>,
    pub(super) model_ids: Vec<Uuid>,
    pub(super) shape: RunShape,
    /// The parts that bound the visibility of the run.
    pub(super) parts: Parts,
}

pub(super) async fn check(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    request: &SubmitRun,
) -> Result<Checked> {
    let mut wrong = check_numbers(request);
    if request.priority > 0 && !owner.is_admin() {
        let message = "must be at most 0; only administrators can put a run before those of others";
        wrong.push(FieldError::new("priority", message));
    }
    let benchmark = match resolve_benchmark(tx, Some(owner), &request.benchmark).await {
        Err(Error::NotFound(what)) => {
            return Err(Error::invalid("benchmark", format!("{what} was not found")));
        }
        other => other?,
    };
    let items = request
        .limit
        .unwrap_or(benchmark.item_count)
        .min(benchmark.item_count);
    if let Some(message) = outdated_check(tx, benchmark.id).await? {
        wrong.push(FieldError::new("benchmark", message));
    }
    let known = Vec::new();
    let prompts = check_prompts(
        tx,
        owner,
        known,
        &request.prompts,
        (&benchmark, items),
        &mut wrong,
    )
    .await?;
    let model_ids = check_models(tx, Vec::new(), &request.models, &mut wrong).await?;
    if model_ids.len() == request.models.len() {
        let budgeted = request.budget_microusd.is_some();
        check_parameters(tx, owner, &model_ids, budgeted, &mut wrong).await?;
        if budgeted {
            // Without budget, a run can still use cached responses.
            let budget = request.budget_microusd;
            let budget = budget.filter(|budget| *budget > 0 || !request.cache);
            check_bounded(tx, &model_ids, budget, &mut wrong).await?;
        }
    }
    if request.stop_early {
        check_comparable(prompts.len(), model_ids.len(), &mut wrong);
    }
    let parts = check_parts(tx, owner, &benchmark, &prompts, &mut wrong).await?;
    if let Some(Err(Error::Invalid(fields))) = request.visibility.map(|it| parts.allow(it)) {
        wrong.extend(fields);
    }
    let repeats = request.repeats;
    finish_check(
        (benchmark, prompts, model_ids, parts),
        items,
        repeats,
        wrong,
    )
}

/// Loads the parts that bound the visibility of a run; refuses withdrawn versions.
async fn check_parts(
    tx: &mut PgConnection,
    user: &CurrentUser,
    benchmark: &BenchmarkVersion,
    prompts: &[PromptVersion],
    wrong: &mut Vec<FieldError>,
) -> Result<Parts> {
    let ids: Vec<Uuid> = prompts.iter().map(|version| version.id).collect();
    let withdrawn = sqlx::query_scalar!(
        "-- check::check_parts
        select id from prompt_versions where id = any($1) and withdrawn_at is not null",
        &ids
    )
    .fetch_all(&mut *tx)
    .await?;
    if is_withdrawn(tx, benchmark.id).await? {
        let message = "was withdrawn by its owner and takes no more runs";
        wrong.push(FieldError::new("benchmark", message));
    }
    for version in prompts {
        if withdrawn.contains(&version.id) {
            let message = format!(
                "{}@{} was withdrawn by its owner and takes no more runs",
                version.prompt, version.number
            );
            wrong.push(FieldError::new("prompts", message));
        }
    }
    load_parts(tx, user, benchmark.id, &ids).await
}

/// Validates a run as an extension would change it. Existing parts come first, in their order.
pub(super) async fn check_run(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    run: &Run,
    before: RunShape,
    request: &ExtendRun,
) -> Result<Checked> {
    let mut wrong = Vec::new();
    // Resolved by id, because names are not unique.
    let known = known_parts(tx, run_id).await?;
    let benchmark = resolve_benchmark(tx, Some(user), &known.benchmark).await?;
    let items = request.limit.unwrap_or(before.items);
    let items = items.min(benchmark.item_count);
    let repeats = request.repeats.unwrap_or(before.repeats.into());
    if !(1..=1000).contains(&repeats) {
        wrong.push(FieldError::new("repeats", "must be between 1 and 1000"));
    }
    if items > before.items
        && let Some(message) = outdated_check(tx, benchmark.id).await?
    {
        wrong.push(FieldError::new("limit", format!("its benchmark {message}")));
    }
    let mut versions = Vec::new();
    for reference in &known.prompts {
        let version = resolve_version(tx, Some(user), reference).await?;
        if let Some(message) = missing_variable(tx, &version, &benchmark, items).await? {
            let message = format!("{}@{} {message}", version.prompt, version.number);
            wrong.push(FieldError::new("limit", message));
        }
        versions.push(version);
    }
    let before_prompts = versions.len();
    let prompts = check_prompts(
        tx,
        user,
        versions,
        &request.prompts,
        (&benchmark, items),
        &mut wrong,
    )
    .await?;
    let known = sqlx::query_scalar!(
        "-- check::check_run
        select model_id from run_models where run_id = $1 order by position",
        run_id
    )
    .fetch_all(&mut *tx)
    .await?;
    wrong.extend(check_parameters_together(&request.models).err());
    let model_ids = check_models(tx, known, &request.models, &mut wrong).await?;
    let new = model_ids.get(run.models.len()..).unwrap_or_default();
    let budgeted = run.budget_microusd.is_some();
    check_parameters(tx, user, new, budgeted, &mut wrong).await?;
    if budgeted {
        check_bounded(tx, new, None, &mut wrong).await?;
    }
    for (path, count) in [("prompts", prompts.len()), ("models", model_ids.len())] {
        if count > MAX_COLUMNS {
            let message = format!("the run would have {count}, the maximum is {MAX_COLUMNS}");
            wrong.push(FieldError::new(path, message));
        }
    }
    if run.stop_early {
        check_comparable(prompts.len(), model_ids.len(), &mut wrong);
    }
    let parts = check_parts(tx, user, &benchmark, &prompts, &mut wrong).await?;
    // Existing parts may have become narrower since; added prompts must not be narrower than the run.
    let added: Vec<Uuid> = prompts[before_prompts..].iter().map(|it| it.id).collect();
    let added = load_parts(tx, user, benchmark.id, &added).await?;
    if let Some(prompt) = added.prompt_narrower_than(run.visibility) {
        let message = format!(
            "add `{prompt}`, which is narrower than the run; narrow the run first, by its `visibility`"
        );
        wrong.push(FieldError::new("prompts", message));
    }
    finish_check(
        (benchmark, prompts, model_ids, parts),
        items,
        repeats,
        wrong,
    )
}

/// Returns whether a benchmark version was withdrawn by its owner.
pub(super) async fn is_withdrawn(
    tx: &mut PgConnection,
    benchmark_version_id: Uuid,
) -> Result<bool> {
    let is_withdrawn = sqlx::query_scalar!(
        r#"-- check::is_withdrawn
        select deleted_at is not null or withdrawn_at is not null as "is_withdrawn!"
        from benchmark_versions join benchmarks on benchmarks.id = benchmark_id
        where benchmark_versions.id = $1"#,
        benchmark_version_id
    )
    .fetch_one(tx)
    .await?;
    Ok(is_withdrawn)
}

/// References to the existing parts of a run.
struct KnownParts {
    benchmark: String,
    prompts: Vec<String>,
}

async fn known_parts(tx: &mut PgConnection, run_id: Uuid) -> Result<KnownParts> {
    let known = sqlx::query_as!(
        KnownParts,
        r#"-- check::known_parts
        select benchmark_id || '@' || benchmark_versions.number as "benchmark!",
               array(select prompt_id || '@' || prompt_versions.number
                     from run_prompts join prompt_versions on prompt_versions.id = prompt_version_id
                     where run_id = runs.id order by position) as "prompts!"
        from runs join benchmark_versions on benchmark_versions.id = benchmark_version_id
        where runs.id = $1"#,
        run_id
    )
    .fetch_one(tx)
    .await?;
    Ok(known)
}

fn finish_check(
    (benchmark, prompts, model_ids, parts): (
        BenchmarkVersion,
        Vec<PromptVersion>,
        Vec<Uuid>,
        Parts,
    ),
    items: i32,
    repeats: i32,
    wrong: Vec<FieldError>,
) -> Result<Checked> {
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let measure =
        |count: usize| i16::try_from(count).map_err(|_| Error::invalid("", "the run is too large"));
    let shape = RunShape {
        items,
        repeats: i16::try_from(repeats).map_err(|_| Error::invalid("repeats", "is too large"))?,
        prompts: measure(prompts.len())?,
        models: measure(model_ids.len())?,
    };
    if shape.evaluations() > MAX_EVALUATIONS {
        let message = format!(
            "the run has {} evaluations, the maximum is {MAX_EVALUATIONS}",
            shape.evaluations()
        );
        return Err(Error::invalid("", message));
    }
    Ok(Checked {
        benchmark,
        prompts,
        model_ids,
        shape,
        parts,
    })
}

/// Refuses too many columns: a run that stops early compares them pairwise.
fn check_comparable(prompts: usize, models: usize, wrong: &mut Vec<FieldError>) {
    let columns = prompts * models;
    if columns > early::MAX_COLUMNS {
        let message = format!(
            "is for runs of at most {} columns; this one has {columns}",
            early::MAX_COLUMNS
        );
        wrong.push(FieldError::new("stop_early", message));
    }
}

fn check_numbers(request: &SubmitRun) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if !(1..=1000).contains(&request.repeats) {
        wrong.push(FieldError::new("repeats", "must be between 1 and 1000"));
    }
    if !(-5..=5).contains(&request.priority) {
        wrong.push(FieldError::new("priority", "must be between -5 and 5"));
    }
    let is_possible = |calls: i32| (1..=10_000).contains(&calls);
    if !request.concurrency.is_none_or(is_possible) {
        let message = "must be between 1 and 10000; leave it out to let workers find the number";
        wrong.push(FieldError::new("concurrency", message));
    }
    if request.limit.is_some_and(|limit| limit < 1) {
        wrong.push(FieldError::new("limit", "must be at least 1"));
    }
    if request.budget_microusd.is_some_and(|budget| budget < 0) {
        wrong.push(FieldError::new("budget_microusd", "must be at least 0"));
    }
    wrong.extend(texts::check_line("name", &request.name, 0..=200).err());
    wrong.extend(check_parameters_together(&request.models).err());
    for (path, count) in [
        ("prompts", request.prompts.len()),
        ("models", request.models.len()),
    ] {
        if !(1..=MAX_COLUMNS).contains(&count) {
            wrong.push(FieldError::new(
                path,
                format!("must hold 1 to {MAX_COLUMNS} entries"),
            ));
        }
    }
    wrong
}

/// Resolves these references and appends the prompts to those already resolved.
async fn check_prompts(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    mut prompts: Vec<PromptVersion>,
    references: &[String],
    (benchmark, items): (&BenchmarkVersion, i32),
    wrong: &mut Vec<FieldError>,
) -> Result<Vec<PromptVersion>> {
    for (index, reference) in references.iter().take(MAX_COLUMNS).enumerate() {
        let path = format!("prompts[{index}]");
        let version = match resolve_version(tx, Some(owner), reference).await {
            Err(Error::NotFound(what)) => {
                wrong.push(FieldError::new(path, format!("{what} was not found")));
                continue;
            }
            other => other?,
        };
        if prompts.iter().any(|other| other.id == version.id) {
            wrong.push(FieldError::new(
                path,
                "names a version that is already in the run",
            ));
            continue;
        }
        if let Some(message) = missing_variable(tx, &version, benchmark, items).await? {
            wrong.push(FieldError::new(path, message));
        }
        prompts.push(version);
    }
    Ok(prompts)
}

/// Returns an error for the first variable of the prompt that an item lacks.
async fn missing_variable(
    tx: &mut PgConnection,
    version: &PromptVersion,
    benchmark: &BenchmarkVersion,
    items: i32,
) -> Result<Option<String>> {
    let compiled = match version.compile() {
        Ok(compiled) => compiled,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let variables: Vec<String> = compiled.variables().into_iter().collect();
    // Usually every item has all variables, and the items need not be read.
    let doubtful = sqlx::query_scalar!(
        r#"-- check::missing_variable (doubtful)
        select array(select unnest($2::text[]) except select unnest(variables)) as "doubtful!"
        from benchmark_versions where id = $1"#,
        benchmark.id,
        &variables
    )
    .fetch_one(&mut *tx)
    .await?;
    if doubtful.is_empty() {
        return Ok(None);
    }
    let missing = sqlx::query!(
        r#"-- check::missing_variable
        select variable as "variable!", key
        from items, unnest($2::text[]) as variable
        where benchmark_version_id = $1 and position < $3 and not vars ? variable
        order by position, variable
        limit 1"#,
        benchmark.id,
        &doubtful,
        items
    )
    .fetch_optional(tx)
    .await?;
    Ok(missing.map(|missing| {
        format!(
            "needs the variable `{}`, which the item `{}` lacks",
            missing.variable,
            missing.key.chars().take(80).collect::<String>()
        )
    }))
}

/// Resolves these models and appends their ids to those already resolved.
async fn check_models(
    tx: &mut PgConnection,
    mut model_ids: Vec<Uuid>,
    models: &[ModelRequest],
    wrong: &mut Vec<FieldError>,
) -> Result<Vec<Uuid>> {
    for (index, model) in models.iter().take(MAX_COLUMNS).enumerate() {
        let path = format!("models[{index}]");
        match find_or_create_model(tx, model, &path).await {
            Ok(id) if model_ids.contains(&id) => {
                let (name, parameters) = model.parts();
                let message = format!(
                    "`{}` is already in the run; the same model may be added with other parameters",
                    model_label(name, &parameters)
                );
                wrong.push(FieldError::new(path, message));
            }
            Ok(id) => model_ids.push(id),
            Err(Error::Invalid(fields)) => wrong.extend(fields),
            Err(error) => return Err(error),
        }
    }
    Ok(model_ids)
}
