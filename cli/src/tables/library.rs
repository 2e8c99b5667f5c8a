//! Tables of benchmarks, prompts and models.

use opb_core::{
    benchmarks::{Benchmark, Import},
    library::{PromptPage, PromptVersion},
    models::Model,
    template::PromptBody,
};

use super::{
    Report,
    layout::{Column, Table},
    parameters::Parameters,
    word,
};
use crate::text;

/// A list of benchmarks.
pub fn benchmarks(benchmarks: &[Benchmark]) -> Report {
    let mut table = Table::new([
        Column::name("benchmark", 14),
        Column::right("items"),
        Column::prose("title", 16).optional(4),
        Column::new("visibility").optional(3),
        Column::name("owner", 10).optional(1),
        Column::new("created").optional(2),
    ]);
    for benchmark in benchmarks {
        let name = format!("{}@{}", benchmark.slug, benchmark.latest_version);
        table.add_row([
            text::plain(&name).into(),
            text::count(benchmark.item_count.into()).into(),
            text::plain(&benchmark.title).into(),
            word(&benchmark.visibility).into(),
            text::plain(&benchmark.owner).into(),
            text::time(benchmark.created_at).into(),
        ]);
    }
    table.into()
}

/// A benchmark.
pub fn benchmark(benchmark: &Benchmark) -> Report {
    let mut report = Report::of(format!(
        "{}@{}: {}",
        text::plain(&benchmark.slug),
        benchmark.latest_version,
        text::plain(&benchmark.title)
    ));
    report.line(format!(
        "{}, {}, owned by {}, created {}",
        text::counted(benchmark.item_count, "item"),
        word(&benchmark.visibility),
        text::plain(&benchmark.owner),
        text::time(benchmark.created_at)
    ));
    if !benchmark.description.is_empty() {
        report.line(text::plain_lines(&benchmark.description));
    }
    report
}

/// A list of interrupted imports.
pub fn imports(imports: &[Import]) -> Report {
    let mut table = Table::new([
        Column::new("import"),
        Column::name("benchmark", 10),
        Column::right("items").optional(1),
        Column::right("MB"),
        Column::new("ends").optional(2),
    ]);
    for import in imports {
        table.add_row([
            import.id.to_string().into(),
            text::plain(&import.benchmark).into(),
            text::count(import.item_count.into()).into(),
            format!("{:.1}", megabytes(import.size_bytes)).into(),
            text::time(import.expires_at).into(),
        ]);
    }
    table.into()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / 1e6
}

/// A list of prompts.
pub fn prompts(page: &PromptPage) -> Report {
    if page.items.is_empty() {
        return Report::of("no prompts found");
    }
    let mut table = Table::new([
        Column::name("prompt", 14),
        Column::prose("title", 16),
        Column::new("kind").optional(2),
        Column::name("category", 10).optional(3),
        Column::new("visibility").optional(5),
        Column::name("owner", 10).optional(1),
        Column::new("updated").optional(4),
    ]);
    for found in &page.items {
        let prompt = &found.prompt;
        table.add_row([
            text::plain(&format!("{}@{}", prompt.slug, prompt.latest_version)).into(),
            text::plain(&prompt.title).into(),
            word(&prompt.kind).into(),
            text::plain(prompt.category.as_deref().unwrap_or("-")).into(),
            word(&prompt.visibility).into(),
            text::plain(&prompt.owner).into(),
            text::time(prompt.updated_at).into(),
        ]);
    }
    let mut report = Report::default();
    if let Some(words) = &page.corrected_query {
        report.line(format!(
            "No results for these words; showing results for: {}",
            text::plain(words)
        ));
    }
    report.table(table);
    if page.next_cursor.is_some() {
        report.line("There are more: raise --limit, or search with words.");
    }
    report
}

/// A version of a prompt with its text.
pub fn prompt(title: &str, version: &PromptVersion) -> Report {
    let mut report = Report::of(format!(
        "{}@{}: {}",
        text::plain(&version.prompt),
        version.number,
        text::plain(title)
    ));
    report.line(format!(
        "by {}, {}",
        text::plain(&version.author),
        text::time(version.created_at)
    ));
    let parameters = serde_json::to_value(&version.parameters).unwrap_or_default();
    let parameters = Parameters::of([Some(&parameters)]).shared;
    if !parameters.is_empty() {
        report.line(format!("recommended parameters: {parameters}"));
    }
    let names = version
        .variables
        .iter()
        .map(|variable| variable.name.as_str());
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        report.line(format!("variables: {}", text::plain(&names.join(", "))));
    }
    match &version.body.0 {
        PromptBody::Text { text } => report.line(format!("\n{}", text::plain_lines(text))),
        PromptBody::Chat { messages } => {
            for message in messages {
                let content = message.content.shown();
                report.line(format!(
                    "\n[{}]\n{}",
                    word(&message.role),
                    text::plain_lines(&content)
                ));
            }
        }
    }
    report
}

/// A list of models.
pub fn models(models: &[Model]) -> Report {
    let rows = models.iter().map(|model| Some(&model.parameters));
    let parameters = Parameters::of(rows);
    let mut table = Table::new([
        Column::name("model", 20),
        Column::name("parameters", 16),
        Column::right("input").optional(2),
        Column::right("output").optional(3),
        Column::new("simulated").optional(1),
    ]);
    let price = |price: Option<i64>| price.map_or_else(|| "-".to_owned(), text::dollars);
    for (model, own) in models.iter().zip(&parameters.own) {
        table.add_row([
            text::plain(&model.model).into(),
            own.as_str().into(),
            price(model.input_microusd_per_mtok).into(),
            price(model.output_microusd_per_mtok).into(),
            if model.simulated { "simulated" } else { "" }.into(),
        ]);
    }
    let mut report = Report::from(table);
    if !parameters.shared.is_empty() {
        report.line(format!("All with {}.", parameters.shared));
    }
    report.line("Models that were used so far; prices in dollars per million tokens.");
    report
}
