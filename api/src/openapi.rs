//! The OpenAPI document, generated from the handlers, and the pages that show it.

use axum::{Router, http::HeaderMap, response::Redirect, routing::get};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    AppState, Problem, account_pages,
    dialects::{self, Dialect},
    etag,
    examples::document_examples,
    first_admin, routes,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenPromptBank",
        description = include_str!("openapi.md")
    ),
    tags(
        (name = "runs", description = "Run prompts on models; evaluations and live events"),
        (name = "leaderboards", description = "Ranks with intervals"),
        (name = "comparisons", description = "Is B really better than A?"),
        (name = "library", description = "Prompts, their versions, and finding them"),
        (name = "benchmarks", description = "Items and scorers"),
        (name = "models", description = "Providers, models, prices and limits"),
        (name = "schedules", description = "Recurring runs"),
        (name = "alerts", description = "Rules on the runs of schedules"),
        (name = "webhooks", description = "Signed messages about runs and alerts, as Standard Webhooks specifies"),
        (name = "auth", description = "Accounts, logins, tokens and API keys"),
        (name = "contributions", description = "Forks, change requests and handing over"),
        (name = "community", description = "Votes, rankings, blind preferences, favourites, comments, collections, profiles"),
        (name = "operations", description = "For operators and their tools"),
        (name = "inherited", description = "The authentication APIs of two older services; see Known quirks")
    ),
    components(schemas(Problem)),
    modifiers(&Bearer)
)]
struct ApiDocument;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("An access token, or an API key that begins with `opb_`".into());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI 3.1 document of this program.
#[must_use]
pub fn document() -> Document {
    let mut document = routes().into_openapi();
    complete(&mut document);
    document
}

/// Adds what the handlers' annotations do not say.
fn complete(document: &mut Document) {
    document_problems(document);
    document_examples(document);
}

/// The initial view of the documentation page: a list of resources to unfold, with a filter box.
///
/// A token stays in the page's memory and is gone after a reload: browsers keep stored data for a long time.
fn page() -> Config<'static> {
    Config::from("/api/openapi.json")
        .use_base_layout()
        .doc_expansion("none")
        .filter(true)
        .default_models_expand_depth(0)
        .try_it_out_enabled(true)
        .persist_authorization(false)
}

/// All routes that the document describes.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .merge(routes::auth::routes())
        .merge(routes::recovery::routes())
        .merge(routes::identities::routes())
        .merge(routes::api_keys::routes())
        .merge(routes::me::routes())
        .merge(routes::cookie::routes())
        .merge(routes::users::routes())
        .merge(routes::invitations::routes())
        .merge(routes::audit::routes())
        .merge(dialects::django::routes())
        .merge(dialects::flask::routes())
        .merge(routes::prompts::routes())
        .merge(routes::exchange::routes())
        .merge(routes::versions::routes())
        .merge(routes::aliases::routes())
        .merge(routes::contributions::routes())
        .merge(routes::change_requests::routes())
        .merge(routes::categories::routes())
        .merge(routes::saved_searches::routes())
        .merge(routes::benchmarks::routes())
        .merge(routes::imports::routes())
        .merge(routes::models::routes())
        .merge(routes::prices::routes())
        .merge(routes::limits::routes())
        .merge(routes::runs::routes())
        .merge(routes::run_results::routes())
        .merge(routes::run_export::routes())
        .merge(routes::control::routes())
        .merge(routes::events::routes())
        .merge(routes::schedules::routes())
        .merge(routes::alerts::routes())
        .merge(routes::webhooks::routes())
        .merge(routes::comparisons::routes())
        .merge(routes::leaderboards::routes())
        .merge(routes::votes::routes())
        .merge(routes::ranks::routes())
        .merge(routes::evidence::routes())
        .merge(routes::favourites::routes())
        .merge(routes::comments::routes())
        .merge(routes::collections::routes())
        .merge(routes::preferences::routes())
        .merge(routes::profiles::routes())
        .merge(routes::operations::routes())
        .merge(routes::processes::routes())
}

/// The document, the page that shows it, and the redirect to the page.
pub(crate) fn pages(mut document: Document) -> Router<AppState> {
    complete(&mut document);
    let text = document
        .to_json()
        .expect("the document is made of strings and numbers");
    let pages: Router<AppState> = SwaggerUi::new("/api/docs").config(page()).into();
    pages
        .merge(first_admin::pages())
        .merge(account_pages::pages())
        .route("/", get(async || Redirect::temporary("/api/docs/")))
        .route(
            "/api/openapi.json",
            get(async move |headers: HeaderMap| {
                etag::tagged_bytes(&headers, text.clone().into_bytes())
            }),
        )
}

/// Adds the problems that are common to all operations of its kind.
fn document_problems(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            if let Some(dialect) = dialects::of(path) {
                document_dialect(dialect, operation);
                continue;
            }
            for (status, description) in problems_of(path, operation) {
                let responses = &mut operation.responses.responses;
                responses
                    .entry(status.to_string())
                    .or_insert_with(|| RefOr::T(problem(description)));
            }
        }
    }
}

/// Adds the errors that are common to all operations of a dialect, in the dialect's own shape.
fn document_dialect(dialect: Dialect, operation: &mut Operation) {
    let schema = match dialect {
        Dialect::Django => "DjangoDetail",
        Dialect::Flask => "FlaskMessage",
    };
    let mut errors = vec![
        (400, "The request is malformed"),
        (500, "Internal server error"),
        (503, "The server is busy, or the database does not answer"),
    ];
    if operation.request_body.is_some() {
        errors.push((403, "Registration is closed, or by invitation"));
        errors.push((408, "The body arrived too slowly"));
        errors.push((413, "The body is too large"));
        errors.push((415, "The content type is not JSON"));
        errors.push((429, "Too many attempts"));
    }
    for (status, description) in errors {
        let response = ResponseBuilder::new().description(description).content(
            "application/json",
            Content::new(Some(Ref::from_schema_name(schema))),
        );
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_string())
            .or_insert_with(|| RefOr::T(response.build()));
    }
}

fn problems_of(path: &str, operation: &Operation) -> Vec<(u16, &'static str)> {
    let mut problems = vec![(500, "Internal server error")];
    if !path.starts_with("/api/") {
        return problems;
    }
    problems.push((503, "The server is busy, or the database does not answer"));
    if operation.request_body.is_some() {
        problems.push((
            400,
            "The body is not JSON, or the request has two credentials",
        ));
        problems.push((408, "The body arrived too slowly"));
        problems.push((413, "The body is too large"));
        problems.push((415, "The content type is not JSON"));
        problems.push((429, "Too many attempts, or too much data sent at once"));
    }
    if operation.security.is_some() {
        problems.push((400, "The request has two credentials"));
        problems.push((401, "The credential is missing or invalid"));
    }
    if path.contains('{') {
        problems.push((404, "Not found, or not visible to the caller"));
    }
    if path.contains('{') || operation.parameters.is_some() || operation.request_body.is_some() {
        problems.push((422, "Fields or parameters are invalid"));
    }
    problems
}

fn problem(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name("Problem"))),
        )
        .build()
}
