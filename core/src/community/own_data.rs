//! Everything that is one user's, for that user. Secrets are not in it: no password, no token, no key, no hash of one.
//!
//! It is one JSON object with a list for each kind, and comes in pieces: however much there is, no more than a piece is in
//! memory, and no connection is held between two.
//!
//! Items of benchmarks and evaluations of runs can be millions; their addresses stand in their place. So does the address of
//! the export of prompts where the versions of a prompt have more than 16 MiB.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser};

/// An export on its way: what comes next.
#[derive(Debug, Default)]
pub struct OwnData {
    /// How many lists are done; nothing before the head of the document.
    done: Option<usize>,
    /// The last entry of the list that is on its way.
    after: Option<Uuid>,
}

/// A list of the document, with the text before and after its entries.
struct List {
    before: &'static str,
    kind: Kind,
    after: &'static str,
}

/// What a list holds.
#[derive(Clone, Copy)]
enum Kind {
    Sessions,
    ApiKeys,
    Identities,
    AuditLog,
    Prompts,
    VersionsElsewhere,
    Proposed,
    RequestComments,
    SavedSearches,
    Benchmarks,
    Runs,
    Votes,
    Favourites,
    Comments,
    Reports,
    Collections,
    Preferences,
}

/// An entry of a list; lists are ordered by the key.
struct Entry {
    key: Uuid,
    value: Value,
}

const LISTS: [List; 17] = [
    List {
        before: ",\"sessions\":[",
        kind: Kind::Sessions,
        after: "]",
    },
    List {
        before: ",\"api_keys\":[",
        kind: Kind::ApiKeys,
        after: "]",
    },
    List {
        before: ",\"identities\":[",
        kind: Kind::Identities,
        after: "]",
    },
    List {
        before: ",\"audit_log\":[",
        kind: Kind::AuditLog,
        after: "]",
    },
    List {
        before: ",\"prompts\":[",
        kind: Kind::Prompts,
        after: "]",
    },
    List {
        before: ",\"versions_of_others_prompts\":[",
        kind: Kind::VersionsElsewhere,
        after: "]",
    },
    List {
        before: ",\"change_requests\":{\"proposed\":[",
        kind: Kind::Proposed,
        after: "]",
    },
    List {
        before: ",\"comments\":[",
        kind: Kind::RequestComments,
        after: "]}",
    },
    List {
        before: ",\"saved_searches\":[",
        kind: Kind::SavedSearches,
        after: "]",
    },
    List {
        before: ",\"benchmarks\":[",
        kind: Kind::Benchmarks,
        after: "]",
    },
    List {
        before: ",\"runs\":[",
        kind: Kind::Runs,
        after: "]",
    },
    List {
        before: ",\"votes\":[",
        kind: Kind::Votes,
        after: "]",
    },
    List {
        before: ",\"favourites\":[",
        kind: Kind::Favourites,
        after: "]",
    },
    List {
        before: ",\"comments\":[",
        kind: Kind::Comments,
        after: "]",
    },
    List {
        before: ",\"reports\":[",
        kind: Kind::Reports,
        after: "]",
    },
    List {
        before: ",\"collections\":[",
        kind: Kind::Collections,
        after: "]",
    },
    List {
        before: ",\"preferences\":[",
        kind: Kind::Preferences,
        after: "]",
    },
];

impl OwnData {
    /// The next piece of the document; none at its end.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn next(
        &mut self,
        conn: &mut PgConnection,
        user: &CurrentUser,
    ) -> Result<Option<Vec<u8>>> {
        let Some(done) = self.done else {
            self.done = Some(0);
            return head(conn, user.id).await.map(Some);
        };
        let Some(list) = LISTS.get(done) else {
            let is_last = done == LISTS.len();
            self.done = Some(LISTS.len() + 1);
            return Ok(is_last.then(|| b"}\n".to_vec()));
        };
        let (is_first, limit) = (self.after.is_none(), list.kind.entries());
        let entries = list.kind.read(conn, user.id, self.after, limit).await?;
        let mut piece = Vec::new();
        if is_first {
            piece.extend_from_slice(list.before.as_bytes());
        }
        for (at, entry) in entries.iter().enumerate() {
            piece.extend_from_slice(if is_first && at == 0 { b"\n" } else { b",\n" });
            write(&mut piece, &entry.value)?;
        }
        match entries.last() {
            Some(entry) if i64::try_from(entries.len()) == Ok(limit) => {
                self.after = Some(entry.key);
            }
            _ => {
                piece.extend_from_slice(list.after.as_bytes());
                (self.done, self.after) = (Some(done + 1), None);
            }
        }
        Ok(Some(piece))
    }
}

impl Kind {
    /// How many entries are read at once: few of those that can be large.
    fn entries(self) -> i64 {
        match self {
            Self::Prompts => 1,
            Self::VersionsElsewhere | Self::Proposed | Self::Benchmarks | Self::Collections => 8,
            _ => 200,
        }
    }

    async fn read(
        self,
        conn: &mut PgConnection,
        user_id: i64,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Entry>> {
        match self {
            Self::Sessions => sessions(conn, user_id, after, limit).await,
            Self::ApiKeys => api_keys(conn, user_id, after, limit).await,
            Self::Identities => identities(conn, user_id, after, limit).await,
            Self::AuditLog => audit_log(conn, user_id, after, limit).await,
            Self::Prompts => prompts(conn, user_id, after, limit).await,
            Self::VersionsElsewhere => versions_elsewhere(conn, user_id, after, limit).await,
            Self::Proposed => proposed(conn, user_id, after, limit).await,
            Self::RequestComments => request_comments(conn, user_id, after, limit).await,
            Self::SavedSearches => saved_searches(conn, user_id, after, limit).await,
            Self::Benchmarks => benchmarks(conn, user_id, after, limit).await,
            Self::Runs => runs(conn, user_id, after, limit).await,
            Self::Votes => votes(conn, user_id, after, limit).await,
            Self::Favourites => favourites(conn, user_id, after, limit).await,
            Self::Comments => comments(conn, user_id, after, limit).await,
            Self::Reports => reports(conn, user_id, after, limit).await,
            Self::Collections => collections(conn, user_id, after, limit).await,
            Self::Preferences => preferences(conn, user_id, after, limit).await,
        }
    }
}

async fn head(conn: &mut PgConnection, user_id: i64) -> Result<Vec<u8>> {
    let mut head = b"{\"format\":\"openpromptbank-own-data-1\",\"account\":".to_vec();
    write(&mut head, &account(conn, user_id).await?)?;
    head.extend_from_slice(b",\"profile\":");
    write(&mut head, &profile(conn, user_id).await?)?;
    Ok(head)
}

fn write(piece: &mut Vec<u8>, value: &Value) -> Result<()> {
    serde_json::to_writer(piece, value).map_err(|error| Error::Internal(error.to_string()))
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

async fn sessions(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::sessions
        select id as "key!",
               jsonb_build_object('id', id, 'created_at', created_at, 'last_rotated_at', last_rotated_at,
                   'expires_at', expires_at, 'revoked_at', revoked_at, 'address', address, 'user_agent', user_agent) as "value!"
        from sessions where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn api_keys(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::api_keys
        select id as "key!",
               jsonb_build_object('id', id, 'name', name, 'prefix', prefix, 'scopes', scopes,
                   'created_at', created_at, 'expires_at', expires_at, 'last_used_at', last_used_at, 'revoked_at', revoked_at) as "value!"
        from api_keys where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn identities(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::identities
        select id as "key!",
               jsonb_build_object('provider', provider, 'issuer', issuer, 'subject', subject, 'email', email,
                   'created_at', created_at, 'last_login_at', last_login_at) as "value!"
        from identities where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn audit_log(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::audit_log
        select lpad(to_hex(id), 32, '0')::uuid as "key!",
               jsonb_build_object('at', at, 'event', event, 'address', address, 'user_agent', user_agent) as "value!"
        from audit_log where user_id = $1
          and id > coalesce(('x' || right(replace($2::uuid::text, '-', ''), 16))::bit(64)::bigint, 0)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn prompts(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::prompts
        select id as "key!",
               to_jsonb(prompts) - array['owner_id', 'offered_to', 'head', 'document'] || jsonb_build_object('versions',
                   case when (select sum(size_bytes) from prompt_versions where prompt_id = prompts.id) > 16777216
                        then '"/api/v1/prompts/export"'::jsonb else
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'body', body, 'variables', variables,
                               'parameters', parameters, 'note', note, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at) order by number), '[]')
                    from prompt_versions where prompt_id = prompts.id) end) as "value!"
        from prompts where owner_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn versions_elsewhere(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::versions_elsewhere
        select prompt_versions.id as "key!",
               jsonb_build_object('prompt', slug, 'number', number, 'body', body, 'note', note,
                   'created_at', prompt_versions.created_at) as "value!"
        from prompt_versions join prompts on prompts.id = prompt_id
        where author_id = $1 and owner_id <> $1
          and ($2::uuid is null or prompt_versions.id > $2)
        order by prompt_versions.id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn proposed(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::proposed
        select id as "key!",
               jsonb_build_object('id', id, 'title', title, 'note', note, 'body', body,
                    'variables', variables, 'parameters', parameters, 'state', state, 'created_at', created_at) as "value!"
        from change_requests where author_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn request_comments(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::request_comments
        select id as "key!",
               jsonb_build_object('change_request', change_request_id, 'text', text, 'created_at', created_at) as "value!"
        from change_request_comments where author_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn saved_searches(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::saved_searches
        select id as "key!",
               jsonb_build_object('name', name, 'query', query, 'created_at', created_at) as "value!"
        from saved_searches where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn benchmarks(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::benchmarks
        select id as "key!",
               to_jsonb(benchmarks) - 'owner_id' || jsonb_build_object('versions',
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'scorers', scorers, 'source', source,
                               'item_count', item_count, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at,
                               'items_at', '/api/v1/benchmarks/' || slug || '@' || number || '/items') order by number), '[]')
                    from benchmark_versions where benchmark_id = benchmarks.id)) as "value!"
        from benchmarks where owner_id = $1 and deleted_at is null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn runs(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::runs
        select id as "key!",
               (to_jsonb(runs) || to_jsonb(run_counts)) - 'run_id' - 'owner_id' - 'request_hash' || jsonb_build_object(
                   'evaluations_at', '/api/v1/runs/' || id || '/evaluations') as "value!"
        from runs join run_counts on run_id = id where owner_id = $1 and deleted_at is null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn votes(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::votes
        select prompt_id as "key!",
               jsonb_build_object('prompt', slug, 'vote', direction, 'cast_at', cast_at) as "value!"
        from prompt_votes join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)
          and ($2::uuid is null or prompt_id > $2)
        order by prompt_id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn favourites(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::favourites
        select favourites.id as "key!",
               jsonb_build_object('prompt', slug, 'created_at', favourites.created_at) as "value!"
        from favourites join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)
          and ($2::uuid is null or favourites.id > $2)
        order by favourites.id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn comments(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::comments
        select comments.id as "key!",
               jsonb_build_object('id', comments.id, 'reply_to', parent_id, 'body', body,
                   'created_at', comments.created_at, 'edited_at', edited_at, 'deleted_at', comments.deleted_at,
                   'hidden_reason', hidden_reason,
                   'prompt', case when prompts.deleted_at is null and can_see(visibility, owner_id, $1, false) then slug end) as "value!"
        from comments join prompts on prompts.id = prompt_id
        where author_id = $1
          and ($2::uuid is null or comments.id > $2)
        order by comments.id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn reports(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::reports
        select comment_id as "key!",
               jsonb_build_object('comment', comment_id, 'reason', reason, 'note', note,
                   'created_at', created_at, 'resolved_at', resolved_at) as "value!"
        from comment_reports where reporter_id = $1
          and ($2::uuid is null or comment_id > $2)
        order by comment_id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn collections(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::collections
        select id as "key!",
               to_jsonb(collections) - 'owner_id' || jsonb_build_object('prompts',
                   (select coalesce(jsonb_agg(slug order by position), '[]')
                    from collection_prompts join prompts on prompts.id = prompt_id
                    where collection_id = collections.id and prompts.deleted_at is null and can_see(prompts.visibility, prompts.owner_id, $1, false))) as "value!"
        from collections where owner_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}

async fn preferences(
    conn: &mut PgConnection,
    user_id: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Entry>> {
    let entries = sqlx::query_as!(
        Entry,
        r#"-- own_data::preferences
        select id as "key!",
               jsonb_build_object('id', id, 'choice', choice, 'created_at', created_at, 'decided_at', decided_at) as "value!"
        from preferences where user_id = $1 and choice is not null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#,
        user_id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(entries)
}
