//! Import and export of many prompts at once. The output of an export is valid input of an import.

use std::collections::VecDeque;

use axum::{
    Json as JsonResponse,
    body::{Body, Bytes},
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::IntoResponse,
};
use futures::stream;
use opb_core::{
    Error,
    auth::Visibility,
    computing::Asker,
    library::{self, ImportOptions, ImportReport, ImportSource, PortablePrompt},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Watch},
    parameters::Query,
    problem::Result,
    seats::Seat,
};

/// Number of prompts that are read at once; bounds the memory of an export of any length.
const BATCH: i64 = 1;

/// Prompts to import.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportRequest {
    /// True to get the report without saving anything.
    #[serde(default)]
    dry_run: bool,
    /// Visibility of the prompts, overriding the source's; the source's when absent. A new prompt without either gets
    /// the server's default.
    #[serde(default)]
    visibility: Option<Visibility>,
    /// The prompts.
    source: ImportSource,
}

/// Options of an export.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `json`, the default, or `files` for a set of files with front matter.
    #[serde(default)]
    #[param(inline, required = false)]
    format: ExportFormat,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    /// One object per prompt.
    #[default]
    Json,
    /// One file per version.
    Files,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(import_prompts))
        .routes(routes!(export_prompts))
}

/// Imports prompts for the caller, at most 1,000.
///
/// Prompts that already exist are not added again; an invalid row does not affect other rows.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/import",
    tag = "library",
    request_body = ImportRequest,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The result of every row", body = ImportReport),
        (status = 429, description = "The caller has an import in progress, or too many large requests", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn import_prompts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Json(body): Json<ImportRequest>,
) -> Result<JsonResponse<ImportReport>> {
    let reading = move || library::read_source(body.source);
    let rows = state.checking.run(asker, reading).await??;
    let options = ImportOptions {
        dry_run: body.dry_run,
        visibility: body.visibility,
        default_visibility: state.rules.default_visibility,
    };
    let _place = state.imports.take(user.id).await?;
    let mut conn = state.conn().await?;
    let report = library::import_prompts(&mut conn, &user, rows, options).await?;
    Ok(JsonResponse(report))
}

/// Exports all prompts of the caller with all versions, by slug, in the format that an import reads.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/export",
    tag = "library",
    params(ExportQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The prompts", body = ImportSource),
        (status = 429, description = "The caller has too many live streams and exports", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn export_prompts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    watch: Watch,
    Query(query): Query<ExportQuery>,
) -> Result<impl IntoResponse> {
    let export = Export {
        _seat: state.seats.take(Asker::User(user.id))?,
        state,
        watch,
        format: query.format,
        waiting: VecDeque::new(),
        after: None,
        stage: Stage::Start,
    };
    let body = Body::from_stream(stream::try_unfold(export, Export::next));
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_DISPOSITION, "attachment; filename=\"prompts.json\""),
    ];
    Ok((headers, body))
}

/// An export in progress. No database connection is held while the client reads.
struct Export {
    state: AppState,
    watch: Watch,
    format: ExportFormat,
    waiting: VecDeque<PortablePrompt>,
    after: Option<String>,
    stage: Stage,
    _seat: Seat,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    First,
    Further,
    Done,
}

impl Export {
    /// The next piece of the document.
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        if self.stage == Stage::Start {
            self.stage = Stage::First;
            let head = match self.format {
                ExportFormat::Json => "{\"format\":\"json\",\"prompts\":[",
                ExportFormat::Files => "{\"format\":\"files\",\"files\":[",
            };
            return Ok(Some((Bytes::from_static(head.as_bytes()), self)));
        }
        if self.stage == Stage::Done {
            return Ok(None);
        }
        if self.waiting.is_empty() {
            self.read().await.map_err(std::io::Error::other)?;
        }
        let Some(prompt) = self.waiting.pop_front() else {
            self.stage = Stage::Done;
            return Ok(Some((Bytes::from_static(b"\n]}\n"), self)));
        };
        let mut piece = Vec::new();
        match self.format {
            ExportFormat::Json => self.write(&mut piece, &prompt)?,
            ExportFormat::Files => {
                for file in library::to_files(&prompt) {
                    self.write(&mut piece, &file)?;
                }
            }
        }
        Ok(Some((piece.into(), self)))
    }

    async fn read(&mut self) -> opb_core::Result<()> {
        // A user who has logged out or was disabled gets no more data.
        let viewer = self.watch.viewer(&self.state).await?;
        let owner = viewer.ok_or(Error::Unauthenticated("the login has ended"))?;
        let mut conn = self.state.pool.acquire().await?;
        let after = self.after.as_deref();
        let prompts = library::export_prompts(&mut conn, &owner, after, BATCH).await?;
        self.after = prompts.last().and_then(|prompt| prompt.slug.clone());
        self.waiting = prompts.into();
        Ok(())
    }

    fn write(&mut self, piece: &mut Vec<u8>, value: &impl Serialize) -> std::io::Result<()> {
        piece.extend_from_slice(if self.stage == Stage::First {
            b"\n"
        } else {
            b",\n"
        });
        self.stage = Stage::Further;
        Ok(serde_json::to_writer(piece, value)?)
    }
}
