//! Change requests: versions that a user proposes for another user's prompt.
//!
//! An accepted change request becomes a version whose author is the user who proposed it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    NewPromptVersion, Parameters, SavedVersion, Variable, find_prompt, resolve_version, versions,
};
use crate::{
    Error, Result, auth::CurrentUser, locks::lock_count, paging::Page, quotas::check_stored,
    template::PromptBody, texts,
};

/// Maximum number of change requests per user and hour, over all prompts.
const PER_HOUR: i64 = 60;

/// A proposed version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequest {
    /// The request's id.
    pub id: Uuid,
    /// The slug of the prompt.
    pub prompt: String,
    /// The prompt's id, which is unique where slugs are not.
    #[serde(skip)]
    pub prompt_id: Uuid,
    /// The user who proposes it.
    pub author: String,
    /// A short summary.
    pub title: String,
    /// The note of the resulting version.
    pub note: String,
    /// The number of the version that the author started from.
    pub base_version: i32,
    /// The proposed text or chat messages.
    #[schema(value_type = PromptBody)]
    pub body: Json<PromptBody>,
    /// The proposed variables.
    #[schema(value_type = Vec<Variable>)]
    pub variables: Json<Vec<Variable>>,
    /// The proposed model parameters.
    #[schema(value_type = Parameters)]
    pub parameters: Json<Parameters>,
    /// The state.
    pub state: ChangeRequestState,
    /// The user who accepted, declined or withdrew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// When it was accepted, declined or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<DateTime<Utc>>,
    /// The reason of the decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The number of the version that it became, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// When it was proposed.
    pub created_at: DateTime<Utc>,
}

/// The state of a change request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "change_request_state", rename_all = "lowercase")]
pub enum ChangeRequestState {
    /// Not decided yet.
    Open,
    /// It became a version.
    Accepted,
    /// The owner declined it.
    Declined,
    /// Its author withdrew it.
    Withdrawn,
}

/// A change request to create.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewChangeRequest {
    /// A short summary, 1 to 200 characters.
    pub title: String,
    /// The number of the version that you started from; absent: the newest version.
    #[serde(default)]
    pub base_version: Option<i32>,
    /// The proposed version.
    pub version: NewPromptVersion,
}

/// The reason for accepting, declining or withdrawing a change request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// At most 2,000 characters.
    #[serde(default)]
    pub reason: String,
}

/// A valid change request. Only [`NewChangeRequest::checked`] creates one.
#[derive(Debug, Clone)]
pub struct CheckedChangeRequest {
    new: NewChangeRequest,
    content_hash: Vec<u8>,
}

impl NewChangeRequest {
    /// Validates the change request, which includes rendering it once. Do not call it while holding a connection.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every invalid field.
    pub fn checked(self) -> Result<CheckedChangeRequest> {
        texts::check_line("title", &self.title, 1..=200)?;
        let version = self
            .version
            .checked()
            .map_err(|error| error.below("version"))?;
        Ok(CheckedChangeRequest {
            content_hash: version.content_hash,
            new: Self {
                version: version.new,
                ..self
            },
        })
    }
}

/// Proposes a version for a prompt.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`] for an archived prompt or content that already is a version,
/// [`Error::Invalid`] for an unknown base version, [`Error::TooManyAttempts`], [`Error::QuotaExceeded`].
pub async fn create_change_request(
    conn: &mut PgConnection,
    author: &CurrentUser,
    prompt: &str,
    CheckedChangeRequest { new, content_hash }: CheckedChangeRequest,
) -> Result<ChangeRequest> {
    let prompt = find_prompt(conn, Some(author), prompt).await?;
    if prompt.archived {
        return Err(Error::Conflict(format!(
            "the prompt `{}` is archived and takes no versions",
            prompt.slug
        )));
    }
    let wanted = new
        .base_version
        .map_or("latest".to_owned(), |n| n.to_string());
    let base = resolve_version(conn, Some(author), &format!("{}@{wanted}", prompt.id)).await;
    let base = base.map_err(|error| match error {
        Error::NotFound(what) => Error::invalid("base_version", format!("{what} was not found")),
        other => other,
    })?;
    let known = sqlx::query_scalar!(
        "-- change_requests::create_change_request (known)
        select number from prompt_versions where prompt_id = $1 and content_hash = $2",
        prompt.id,
        content_hash
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(number) = known {
        return Err(Error::Conflict(format!(
            "version {number} of the prompt has exactly this content"
        )));
    }
    let id = Uuid::now_v7();
    let mut tx = conn.begin().await?;
    slow_down(&mut tx, author).await?;
    sqlx::query!(
        "-- change_requests::create_change_request
        insert into change_requests (id, prompt_id, author_id, base_version_id, title, note, body, variables, parameters)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        prompt.id,
        author.id,
        base.id,
        new.title,
        new.version.note,
        Json(&new.version.body) as _,
        Json(&new.version.variables) as _,
        Json(&new.version.parameters) as _
    )
    .execute(&mut *tx)
    .await?;
    let request = find_change_request(&mut tx, Some(author), id).await?;
    check_stored(&mut tx, author.id).await?;
    tx.commit().await?;
    Ok(request)
}

/// A change request of a prompt that the viewer may read.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find_change_request(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    id: Uuid,
) -> Result<ChangeRequest> {
    let found = read(conn, viewer, Wanted::one(id)).await?;
    let found = found.into_iter().next();
    found.ok_or_else(|| Error::NotFound(format!("the change request `{id}`")))
}

/// A page of the change requests of a prompt, newest first.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn list_change_requests(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    state: Option<ChangeRequestState>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Page<ChangeRequest>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let wanted = Wanted {
        prompt_id: Some(prompt.id),
        state,
        before,
        limit: limit + 1,
        ..Wanted::default()
    };
    let found = read(conn, viewer, wanted).await?;
    Ok(Page::cut(found, limit, |request| request.id.to_string()))
}

/// Accepts a change request: it becomes the newest version of the prompt and keeps its author.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for everybody but the owner, [`Error::Conflict`] if it is already decided.
pub async fn accept_change_request(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    decision: &Decision,
) -> Result<SavedVersion> {
    check_reason(decision)?;
    let mut tx = conn.begin().await?;
    let request = find_change_request(&mut tx, Some(user), id).await?;
    let prompt_id = versions::lock_own(&mut tx, user, &request.prompt_id.to_string()).await?;
    let author_id = lock_open(&mut tx, id).await?;
    let new = NewPromptVersion {
        note: if request.note.is_empty() {
            request.title
        } else {
            request.note
        },
        variables: request.variables.0,
        parameters: request.parameters.0,
        body: request.body.0,
    };
    let saved = versions::insert(&mut tx, prompt_id, author_id, new.known_to_be_right()?).await?;
    decide(
        &mut tx,
        user,
        id,
        ChangeRequestState::Accepted,
        decision,
        Some(saved.version.id),
    )
    .await?;
    tx.commit().await?;
    Ok(saved)
}

/// Declines a change request.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for everybody but the owner, [`Error::Conflict`] if it is already decided.
pub async fn decline_change_request(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    decision: &Decision,
) -> Result<ChangeRequest> {
    check_reason(decision)?;
    let mut tx = conn.begin().await?;
    let request = find_change_request(&mut tx, Some(user), id).await?;
    let prompt = find_prompt(&mut tx, Some(user), &request.prompt_id.to_string()).await?;
    if prompt.owner != user.username && !user.is_admin() {
        return Err(Error::Forbidden(
            "only the owner of a prompt can decline changes to it",
        ));
    }
    lock_open(&mut tx, id).await?;
    decide(
        &mut tx,
        user,
        id,
        ChangeRequestState::Declined,
        decision,
        None,
    )
    .await?;
    let request = find_change_request(&mut tx, Some(user), id).await?;
    tx.commit().await?;
    Ok(request)
}

/// Withdraws a change request, even if its author may no longer read the prompt.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`] for everybody but its author, [`Error::Conflict`] if it is already
/// decided.
pub async fn withdraw_change_request(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    decision: &Decision,
) -> Result<ChangeRequest> {
    check_reason(decision)?;
    let mut tx = conn.begin().await?;
    let request = find_own(&mut tx, user, id).await?;
    if request.author != user.username {
        return Err(Error::Forbidden(
            "only its author can withdraw a change request",
        ));
    }
    lock_open(&mut tx, id).await?;
    decide(
        &mut tx,
        user,
        id,
        ChangeRequestState::Withdrawn,
        decision,
        None,
    )
    .await?;
    let request = find_own(&mut tx, user, id).await?;
    tx.commit().await?;
    Ok(request)
}

/// A change request of a prompt that the user may read, or one of the user's own.
async fn find_own(tx: &mut PgConnection, user: &CurrentUser, id: Uuid) -> Result<ChangeRequest> {
    let found = read(
        tx,
        Some(user),
        Wanted {
            own: true,
            ..Wanted::one(id)
        },
    )
    .await?;
    let found = found.into_iter().next();
    found.ok_or_else(|| Error::NotFound(format!("the change request `{id}`")))
}

/// The filter of a query for change requests.
#[derive(Default)]
struct Wanted {
    prompt_id: Option<Uuid>,
    id: Option<Uuid>,
    state: Option<ChangeRequestState>,
    before: Option<Uuid>,
    /// Includes the viewer's own change requests on prompts that the viewer may not read.
    own: bool,
    limit: i64,
}

impl Wanted {
    fn one(id: Uuid) -> Self {
        Self {
            id: Some(id),
            limit: 1,
            ..Self::default()
        }
    }
}

async fn read(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    wanted: Wanted,
) -> Result<Vec<ChangeRequest>> {
    let found = sqlx::query_as!(
        ChangeRequest,
        r#"-- change_requests::read
        select change_requests.id, case when can_see(prompts.visibility, prompts.owner_id, $1, $2) then prompts.slug
                                        else '(hidden)' end as "prompt!", prompts.id as prompt_id, authors.username as author, change_requests.title,
               change_requests.note, base.number as base_version,
               change_requests.body as "body: Json<PromptBody>",
               change_requests.variables as "variables: Json<Vec<Variable>>",
               change_requests.parameters as "parameters: Json<Parameters>",
               state as "state: ChangeRequestState", deciders.username as "decided_by?", decided_at, reason,
               became.number as "version?", change_requests.created_at
        from change_requests
        join prompts on prompts.id = change_requests.prompt_id
        join users as authors on authors.id = change_requests.author_id
        join prompt_versions as base on base.id = base_version_id
        left join users as deciders on deciders.id = decided_by
        left join prompt_versions as became on became.id = prompt_version_id
        where ((prompts.deleted_at is null and can_see(prompts.visibility, prompts.owner_id, $1, $2))
               or ($8 and change_requests.author_id = $1))
          and ($3::uuid is null or change_requests.prompt_id = $3)
          and ($4::uuid is null or change_requests.id = $4)
          and ($5::change_request_state is null or state = $5)
          and ($6::uuid is null or change_requests.id < $6)
        order by change_requests.id desc
        limit $7"#,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        wanted.prompt_id,
        wanted.id,
        wanted.state as Option<ChangeRequestState>,
        wanted.before,
        wanted.limit,
        wanted.own
    )
    .fetch_all(conn)
    .await?;
    Ok(found)
}

/// Locks an open change request and returns its author.
async fn lock_open(tx: &mut PgConnection, id: Uuid) -> Result<i64> {
    let author_id = sqlx::query_scalar!(
        "-- change_requests::lock_open
        select author_id from change_requests where id = $1 and state = 'open' for update",
        id
    )
    .fetch_optional(tx)
    .await?;
    author_id.ok_or_else(|| Error::Conflict("the change request is decided already".into()))
}

async fn decide(
    tx: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    state: ChangeRequestState,
    decision: &Decision,
    version_id: Option<Uuid>,
) -> Result<()> {
    sqlx::query!(
        "-- change_requests::decide
        update change_requests
        set state = $2, decided_by = $3, decided_at = now(), reason = $4, prompt_version_id = $5
        where id = $1",
        id,
        state as ChangeRequestState,
        user.id,
        decision.reason,
        version_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn check_reason(decision: &Decision) -> Result<()> {
    if decision.reason.chars().count() > 2_000 || !texts::is_plain_text(&decision.reason) {
        return Err(Error::invalid(
            "reason",
            "must have at most 2,000 characters, and no control characters but line breaks and tabs",
        ));
    }
    Ok(())
}

/// Refuses more change requests than [`PER_HOUR`].
async fn slow_down(tx: &mut PgConnection, author: &CurrentUser) -> Result<()> {
    lock_count(tx, "change_requests", author.id).await?;
    let made = sqlx::query_scalar!(
        r#"-- change_requests::slow_down
        select count(*) as "made!" from change_requests
        where author_id = $1 and created_at > now() - interval '1 hour'"#,
        author.id
    )
    .fetch_one(tx)
    .await?;
    if made < PER_HOUR {
        return Ok(());
    }
    Err(Error::TooManyAttempts {
        retry_after_seconds: 600,
    })
}
