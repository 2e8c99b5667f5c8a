//! Imports prompts: from the CSV of prompts.chat, our own JSON, and folders of files.
//!
//! Every row has its own transaction and its own line in the report; content that exists already is not added again. A
//! dry run does exactly the same and rolls back every row.

mod chat_csv;
mod csv_rows;
mod files;
mod line_ends;
mod placeholders;
mod portable;

pub use files::{FrontMatter, PromptFile, is_prompt_file, to_files};
pub use portable::PortablePrompt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;

use super::{
    CheckedVersion, PromptChange, SetAlias, Warning, aliases, change_prompt, find_prompt, prompts,
    versions,
};
use crate::{
    Error, FieldError, Result,
    auth::{CurrentUser, Visibility},
    texts::path_of_nul,
};

/// Maximum number of prompts in one request.
const MAX_ROWS: usize = 1_000;
/// Maximum number of versions of all its prompts together.
const MAX_VERSIONS: usize = 5_000;
/// Maximum number of aliases of a prompt.
const MAX_ALIASES: usize = 100;

/// The source of an import. The response of an export is a valid source.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "format", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ImportSource {
    /// The file `prompts.csv` of prompts.chat.
    PromptsChatCsv {
        /// The file's text.
        content: String,
    },
    /// Prompts in the form of an export.
    Json {
        /// The prompts, each in the form of an export. A row of a different form is refused in its line of the report
        /// and does not affect the others.
        #[schema(value_type = Vec<Value>)]
        prompts: Vec<Value>,
    },
    /// A folder of files in the form of an export: `.md` with or without front matter, `.txt`, `.yaml`.
    Files {
        /// The files.
        files: Vec<PromptFile>,
    },
}

/// The options of an import.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Roll back every row and only report.
    pub dry_run: bool,
    /// Who may read the prompts, overriding the source.
    pub visibility: Option<Visibility>,
    /// Who may read a new prompt if neither the source nor the request says so.
    pub default_visibility: Visibility,
}

/// The outcome of every row.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// True if nothing was kept.
    pub dry_run: bool,
    /// Number of new prompts.
    pub created: usize,
    /// Number of prompts with a new version or changed metadata.
    pub updated: usize,
    /// Number of prompts that existed already.
    pub unchanged: usize,
    /// Number of invalid rows.
    pub refused: usize,
    /// The rows, in order.
    pub rows: Vec<ImportedRow>,
}

/// The outcome of a row.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportedRow {
    /// The number of the row, from 1; in a folder, the number of the file.
    pub row: usize,
    /// The prompt's slug, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// The outcome.
    pub outcome: ImportOutcome,
    /// The errors of a refused row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Warnings for the author.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// The possible outcomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// The prompt is new.
    Created,
    /// The prompt has a new version or changed metadata.
    Updated,
    /// The prompt existed already.
    Unchanged,
    /// The row is invalid.
    Refused,
}

/// A prompt, or the errors of its row.
pub type ParsedRow = Result<PortablePrompt, Vec<FieldError>>;

/// A parsed and validated row of a source.
#[derive(Debug)]
pub struct SourceRow {
    slug: Option<String>,
    prompt: Result<(PortablePrompt, Vec<CheckedVersion>)>,
}

/// Parses a source and validates every row, which renders each version once. Every prompt gets a slug. Do not call it
/// while holding a connection.
///
/// # Errors
/// [`Error::Invalid`] if the source as a whole cannot be parsed or has too many rows; rows beyond the limit are not
/// read.
pub fn read_source(source: ImportSource) -> Result<Vec<SourceRow>> {
    let mut rows = parse(source, MAX_ROWS)?;
    let versions = rows.iter().flatten().map(|prompt| prompt.versions.len());
    if versions.sum::<usize>() > MAX_VERSIONS {
        let message = format!("has more than {MAX_VERSIONS} versions; send fewer prompts at once");
        return Err(Error::invalid("source", message));
    }
    portable::name(&mut rows);
    Ok(rows.into_iter().map(checked).collect())
}

/// Parses a source of any size without validating the prompts, for clients that send them in parts. Every prompt gets a
/// slug.
///
/// # Errors
/// [`Error::Invalid`] if the source as a whole cannot be parsed.
pub fn parse_source(source: ImportSource) -> Result<Vec<ParsedRow>> {
    let mut rows = parse(source, usize::MAX)?;
    portable::name(&mut rows);
    Ok(rows)
}

/// Parses the files of a folder: each prompt with the path of its main file, by path. Every prompt gets a slug. A file
/// that does not hold a prompt becomes a row with an error.
#[must_use]
pub fn read_prompt_files(files: Vec<PromptFile>) -> Vec<(String, ParsedRow)> {
    // Cannot fail without a limit: every file becomes a row.
    files::read(files, usize::MAX).unwrap_or_default()
}

fn parse(source: ImportSource, most: usize) -> Result<Vec<ParsedRow>> {
    Ok(match source {
        ImportSource::PromptsChatCsv { content } => chat_csv::read(&content, most)?,
        ImportSource::Files { files } => files::read(files, most)?
            .into_iter()
            .map(|(_, row)| row)
            .collect(),
        ImportSource::Json { prompts } => {
            require_room(prompts.len(), most)?;
            prompts.into_iter().map(portable::parse).collect()
        }
    })
}

/// Refuses more rows than a request may have. Parsers call it before each row.
fn require_room(rows: usize, most: usize) -> Result<()> {
    if rows <= most {
        return Ok(());
    }
    let message =
        format!("has more than {most} prompts, the maximum of one request; send fewer at once");
    Err(Error::invalid("source", message))
}

fn checked(row: ParsedRow) -> SourceRow {
    let slug = row.as_ref().ok().and_then(|prompt| prompt.slug.clone());
    let check = |mut prompt: PortablePrompt| {
        if prompt.aliases.len() > MAX_ALIASES {
            let message = format!("must be at most {MAX_ALIASES}");
            return Err(Error::invalid("aliases", message));
        }
        // Files and CSV bypass the check of the request body for this character.
        let written =
            serde_json::to_value(&prompt).map_err(|error| Error::Internal(error.to_string()))?;
        if let Some(path) = path_of_nul(&written) {
            return Err(Error::invalid(path, "must not hold a NUL character"));
        }
        // A new prompt is created from the first version, which also stays in the list.
        let first = prompt.versions.first().cloned();
        let versions = std::mem::take(&mut prompt.versions).into_iter().enumerate();
        let versions = versions.map(|(at, version)| {
            let checked = version.checked();
            checked.map_err(|error| error.below(&format!("versions[{at}]")))
        });
        let versions = versions.collect::<Result<Vec<_>>>()?;
        prompt.versions.extend(first);
        Ok((prompt, versions))
    };
    SourceRow {
        slug,
        prompt: row.map_err(Error::Invalid).and_then(check),
    }
}

/// Imports prompts for the caller.
///
/// # Errors
/// The database does not respond. Invalid rows are reported, not returned as errors.
pub async fn import_prompts(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    rows: Vec<SourceRow>,
    options: ImportOptions,
) -> Result<ImportReport> {
    let mut report = ImportReport {
        dry_run: options.dry_run,
        ..ImportReport::default()
    };
    for (at, row) in rows.into_iter().enumerate() {
        let SourceRow { slug, prompt } = row;
        let done = match prompt {
            Ok(prompt) => import_prompt(conn, owner, prompt, options).await,
            Err(error) => Err(error),
        };
        let (outcome, warnings, errors) = match done {
            Ok((outcome, warnings)) => (outcome, warnings, Vec::new()),
            Err(Error::Invalid(errors)) => (ImportOutcome::Refused, Vec::new(), errors),
            Err(Error::QuotaExceeded(message)) => {
                let errors = vec![FieldError::new("", message)];
                (ImportOutcome::Refused, Vec::new(), errors)
            }
            Err(Error::Conflict(message)) => {
                let errors = vec![FieldError::new("slug", message)];
                (ImportOutcome::Refused, Vec::new(), errors)
            }
            Err(error) => return Err(error),
        };
        match outcome {
            ImportOutcome::Created => report.created += 1,
            ImportOutcome::Updated => report.updated += 1,
            ImportOutcome::Unchanged => report.unchanged += 1,
            ImportOutcome::Refused => report.refused += 1,
        }
        report.rows.push(ImportedRow {
            row: at + 1,
            slug,
            outcome,
            errors,
            warnings,
        });
    }
    Ok(report)
}

/// Imports one prompt; a dry run rolls it back.
async fn import_prompt(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    (mut new, versions): (PortablePrompt, Vec<CheckedVersion>),
    options: ImportOptions,
) -> Result<(ImportOutcome, Vec<Warning>)> {
    new.visibility = options.visibility.or(new.visibility);
    let mut tx = conn.begin().await?;
    let slug = new.slug.clone().unwrap_or_default();
    let known = match prompts::find_own(&mut tx, owner, &slug).await? {
        Some(id) => Some(find_prompt(&mut tx, Some(owner), &id.to_string()).await?),
        None => None,
    };
    let mut outcome = ImportOutcome::Unchanged;
    let id = if let Some(known) = &known {
        known.id
    } else {
        outcome = ImportOutcome::Created;
        let mut first = new.first()?;
        first.visibility = first.visibility.or(Some(options.default_visibility));
        prompts::insert(&mut tx, owner, &first, None).await?
    };
    let reference = id.to_string();
    let latest_before = known.as_ref().map_or(0, |known| known.latest_version);
    let mut numbers = Vec::new();
    let mut warnings = Vec::new();
    for version in versions {
        let saved = versions::insert(&mut tx, id, owner.id, version).await?;
        numbers.push(saved.version.number);
        warnings = saved.warnings;
    }
    if known.is_some() && numbers.iter().any(|number| *number > latest_before) {
        outcome = ImportOutcome::Updated;
    }
    if let Some(known) = &known {
        let change = new.difference(known)?;
        if change != PromptChange::default() {
            outcome = ImportOutcome::Updated;
            change_prompt(&mut tx, owner, &reference, change).await?;
        }
    }
    if point_aliases(&mut tx, owner, &reference, &new, &numbers).await? && known.is_some() {
        outcome = ImportOutcome::Updated;
    }
    if known.is_none() && new.archived {
        let change = PromptChange {
            archived: Some(true),
            ..PromptChange::default()
        };
        change_prompt(&mut tx, owner, &reference, change).await?;
    }
    if options.dry_run {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok((outcome, warnings))
}

/// Sets the aliases of the source; true if one of them moved.
async fn point_aliases(
    tx: &mut PgConnection,
    owner: &CurrentUser,
    prompt: &str,
    new: &PortablePrompt,
    numbers: &[i32],
) -> Result<bool> {
    if new.aliases.is_empty() {
        return Ok(false);
    }
    let known = aliases::list_aliases(tx, Some(owner), prompt).await?;
    let mut moved = false;
    for (name, place) in &new.aliases {
        let number = place.checked_sub(1).and_then(|at| numbers.get(at));
        let Some(&version) = number else {
            let message = "must be the position of a version in `versions`, from 1";
            return Err(Error::invalid(format!("aliases.{name}"), message));
        };
        if known
            .iter()
            .any(|alias| alias.name == *name && alias.version == version)
        {
            continue;
        }
        aliases::set_alias(tx, owner, prompt, name, &SetAlias { version }).await?;
        moved = true;
    }
    Ok(moved)
}
