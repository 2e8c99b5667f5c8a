//! The account of a user, and what came of using it.

use serde_json::Value;
use sqlx::PgConnection;

use super::reader;
use crate::Result;

pub(super) async fn account(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
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

pub(super) async fn profile(conn: &mut PgConnection, user_id: i64) -> Result<Value> {
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

reader!(
    /// Sessions, with where they came from.
    sessions,
    r#"-- own_data::sessions
        select id as "key!",
               jsonb_build_object('id', id, 'created_at', created_at, 'last_rotated_at', last_rotated_at,
                   'expires_at', expires_at, 'revoked_at', revoked_at, 'address', address, 'user_agent', user_agent) as "value!"
        from sessions where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// API keys, without the keys.
    api_keys,
    r#"-- own_data::api_keys
        select id as "key!",
               jsonb_build_object('id', id, 'name', name, 'prefix', prefix, 'scopes', scopes,
                   'created_at', created_at, 'expires_at', expires_at, 'last_used_at', last_used_at, 'revoked_at', revoked_at) as "value!"
        from api_keys where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// Logins at other providers.
    identities,
    r#"-- own_data::identities
        select id as "key!",
               jsonb_build_object('provider', provider, 'issuer', issuer, 'subject', subject, 'email', email,
                   'created_at', created_at, 'last_login_at', last_login_at) as "value!"
        from identities where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// What the audit log says of the user. Its ids are numbers; as keys they are written like the others.
    audit_log,
    r#"-- own_data::audit_log
        select lpad(to_hex(id), 32, '0')::uuid as "key!",
               jsonb_build_object('at', at, 'event', event, 'address', address, 'user_agent', user_agent) as "value!"
        from audit_log where user_id = $1
          and id > coalesce(('x' || right(replace($2::uuid::text, '-', ''), 16))::bit(64)::bigint, 0)
        order by id
        limit $3"#
);
