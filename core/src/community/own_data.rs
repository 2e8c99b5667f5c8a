//! Everything that is one user's, for that user. Secrets are not in it: no password, no token, no key, no hash of one.

use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::{Result, auth::CurrentUser};

/// Gathers what belongs to a user and what the user did, as one JSON object with a list for each kind.
///
/// Items of benchmarks and evaluations of runs can be millions; their addresses stand in their place. So does the address
/// of the export of prompts where their versions have more than 16 MiB.
///
/// # Errors
/// The database does not answer.
pub async fn export_own_data(conn: &mut PgConnection, user: &CurrentUser) -> Result<Value> {
    let mut data = Map::new();
    data.insert("format".into(), json!("openpromptbank-own-data-1"));
    let mut keep = |name: &str, value: Value| data.insert(name.to_owned(), value);
    let id = user.id;
    keep("account", account(conn, id).await?);
    keep("profile", profile(conn, id).await?);
    keep("sessions", sessions(conn, id).await?);
    keep("api_keys", api_keys(conn, id).await?);
    keep("identities", identities(conn, id).await?);
    keep("audit_log", audit_log(conn, id).await?);
    keep("prompts", prompts(conn, id).await?);
    keep(
        "versions_of_others_prompts",
        versions_elsewhere(conn, id).await?,
    );
    keep("change_requests", change_requests(conn, id).await?);
    keep("saved_searches", saved_searches(conn, id).await?);
    keep("benchmarks", benchmarks(conn, id).await?);
    keep("runs", runs(conn, id).await?);
    keep("votes", votes(conn, id).await?);
    keep("favourites", favourites(conn, id).await?);
    keep("comments", comments(conn, id).await?);
    keep("reports", reports(conn, id).await?);
    keep("collections", collections(conn, id).await?);
    keep("preferences", preferences(conn, id).await?);
    Ok(Value::Object(data))
}

async fn account(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::account
        select jsonb_build_object('id', id, 'username', username, 'email', email, 'role', role, 'created_at', created_at) as "value!"
        from users where id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn profile(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::profile
        select coalesce(
            (select to_jsonb(profiles) - 'user_id' from profiles where user_id = $1), 'null') as "value!""#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn sessions(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::sessions
        select coalesce(jsonb_agg(jsonb_build_object('id', id, 'created_at', created_at, 'last_rotated_at', last_rotated_at,
                   'expires_at', expires_at, 'revoked_at', revoked_at, 'address', address, 'user_agent', user_agent)
                   order by id), '[]') as "value!"
        from sessions where user_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn api_keys(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::api_keys
        select coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', name, 'prefix', prefix, 'scopes', scopes,
                   'created_at', created_at, 'expires_at', expires_at, 'last_used_at', last_used_at, 'revoked_at', revoked_at)
                   order by id), '[]') as "value!"
        from api_keys where user_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn identities(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::identities
        select coalesce(jsonb_agg(jsonb_build_object('provider', provider, 'issuer', issuer, 'subject', subject, 'email', email,
                   'created_at', created_at, 'last_login_at', last_login_at)
                   order by id), '[]') as "value!"
        from identities where user_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn audit_log(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::audit_log
        select coalesce(jsonb_agg(jsonb_build_object('at', at, 'event', event, 'address', address, 'user_agent', user_agent)
                   order by id), '[]') as "value!"
        from audit_log where user_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn prompts(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::prompts
        select coalesce(jsonb_agg(to_jsonb(prompts) - array['owner_id', 'offered_to', 'head', 'document'] || jsonb_build_object('versions',
                   case when (select sum(size_bytes) from prompt_versions join prompts as own on own.id = prompt_id
                              where own.owner_id = $1) > 16777216 then '"/api/v1/prompts/export"'::jsonb else
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'body', body, 'variables', variables,
                               'parameters', parameters, 'note', note, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at) order by number), '[]')
                    from prompt_versions where prompt_id = prompts.id) end)
                   order by id), '[]') as "value!"
        from prompts where owner_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn versions_elsewhere(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::versions_elsewhere
        select coalesce(jsonb_agg(jsonb_build_object('prompt', slug, 'number', number, 'body', body, 'note', note,
                   'created_at', prompt_versions.created_at)
                   order by prompt_versions.id), '[]') as "value!"
        from prompt_versions join prompts on prompts.id = prompt_id
        where author_id = $1 and owner_id <> $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn benchmarks(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::benchmarks
        select coalesce(jsonb_agg(to_jsonb(benchmarks) - 'owner_id' || jsonb_build_object('versions',
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'scorers', scorers, 'source', source,
                               'item_count', item_count, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at,
                               'items_at', '/api/v1/benchmarks/' || slug || '@' || number || '/items') order by number), '[]')
                    from benchmark_versions where benchmark_id = benchmarks.id))
                   order by id), '[]') as "value!"
        from benchmarks where owner_id = $1 and deleted_at is null"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn runs(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::runs
        select coalesce(jsonb_agg((to_jsonb(runs) || to_jsonb(run_counts)) - 'run_id' - 'owner_id' - 'request_hash' || jsonb_build_object(
                   'evaluations_at', '/api/v1/runs/' || id || '/evaluations')
                   order by id), '[]') as "value!"
        from runs join run_counts on run_id = id where owner_id = $1 and deleted_at is null"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn votes(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::votes
        select coalesce(jsonb_agg(jsonb_build_object('prompt', slug, 'vote', direction, 'cast_at', cast_at)
                   order by cast_at, slug), '[]') as "value!"
        from prompt_votes join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn favourites(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::favourites
        select coalesce(jsonb_agg(jsonb_build_object('prompt', slug, 'created_at', favourites.created_at)
                   order by favourites.id), '[]') as "value!"
        from favourites join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn comments(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::comments
        select coalesce(jsonb_agg(jsonb_build_object('id', comments.id, 'reply_to', parent_id, 'body', body,
                   'created_at', comments.created_at, 'edited_at', edited_at, 'deleted_at', comments.deleted_at,
                   'hidden_reason', hidden_reason,
                   'prompt', case when prompts.deleted_at is null and can_see(visibility, owner_id, $1, false) then slug end)
                   order by comments.id), '[]') as "value!"
        from comments join prompts on prompts.id = prompt_id
        where author_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn reports(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::reports
        select coalesce(jsonb_agg(jsonb_build_object('comment', comment_id, 'reason', reason, 'note', note,
                   'created_at', created_at, 'resolved_at', resolved_at)
                   order by created_at, comment_id), '[]') as "value!"
        from comment_reports where reporter_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn collections(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::collections
        select coalesce(jsonb_agg(to_jsonb(collections) - 'owner_id' || jsonb_build_object('prompts',
                   (select coalesce(jsonb_agg(slug order by position), '[]')
                    from collection_prompts join prompts on prompts.id = prompt_id
                    where collection_id = collections.id and prompts.deleted_at is null and can_see(prompts.visibility, prompts.owner_id, $1, false)))
                   order by id), '[]') as "value!"
        from collections where owner_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn preferences(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::preferences
        select coalesce(jsonb_agg(jsonb_build_object('id', id, 'choice', choice, 'created_at', created_at, 'decided_at', decided_at)
                   order by id), '[]') as "value!"
        from preferences where user_id = $1 and choice is not null"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn change_requests(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::change_requests
        select jsonb_build_object(
            'proposed',
            (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'title', title, 'note', note, 'body', body,
                    'variables', variables, 'parameters', parameters, 'state', state, 'created_at', created_at) order by id), '[]')
             from change_requests where author_id = $1),
            'comments',
            (select coalesce(jsonb_agg(jsonb_build_object('change_request', change_request_id, 'text', text,
                    'created_at', created_at) order by id), '[]')
             from change_request_comments where author_id = $1)) as "value!""#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}

async fn saved_searches(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
    let value = sqlx::query_scalar!(
        r#"-- own_data::saved_searches
        select coalesce(jsonb_agg(jsonb_build_object('name', name, 'query', query, 'created_at', created_at) order by id), '[]')
                   as "value!"
        from saved_searches where user_id = $1"#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(value)
}
