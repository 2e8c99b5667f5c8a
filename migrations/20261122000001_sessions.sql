-- Sessions that can be revoked, scopes of API keys, the throttle of guesses, and the audit log.
create table sessions (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    counter integer not null default 0 check (counter >= 0),
    last_rotated_at timestamptz not null default now(),
    idle_expires_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    user_agent text check (char_length(user_agent) <= 256),
    address text check (char_length(address) <= 45),
    created_at timestamptz not null default now(),
    check (idle_expires_at <= expires_at)
);
create index sessions_user_id_idx on sessions (user_id);
create index sessions_idle_expires_at_idx on sessions (idle_expires_at);
comment on table sessions is 'logins; every access and refresh token belongs to one and dies with it';
comment on column sessions.counter is 'the number of the newest refresh token; the tokens themselves are not kept';
comment on column sessions.idle_expires_at is 'the session ends here unless it is refreshed before';
comment on column sessions.expires_at is 'the session ends here whatever happens';
comment on column sessions.address is 'where the login came from';

create type api_key_scope as enum ('prompts:read', 'prompts:write', 'runs:read', 'runs:write', 'admin');
alter table api_keys add column scopes api_key_scope[] not null
    default array['prompts:read', 'prompts:write', 'runs:read', 'runs:write', 'admin']::api_key_scope[];
comment on column api_keys.scopes is 'what the key may be used for; keys that are older than scopes have all of them';

create table throttles (
    bucket text primary key check (char_length(bucket) <= 128),
    attempts integer not null check (attempts > 0),
    last_at timestamptz not null,
    locked_until timestamptz not null
);
create index throttles_last_at_idx on throttles (last_at);
comment on table throttles is 'failed logins per account and address, registrations per address; shared by all processes';
comment on column throttles.attempts is 'counted since the bucket was last quiet for an hour';
comment on column throttles.locked_until is 'at most 15 minutes ahead: nobody is locked out for ever';

create type audit_event as enum (
    'registered', 'logged_in', 'login_failed', 'logged_out', 'logged_out_everywhere', 'refresh_replayed',
    'password_changed', 'profile_changed', 'api_key_created', 'api_key_revoked', 'user_deleted'
);
create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    event audit_event not null,
    user_id bigint,
    username text,
    subject text check (char_length(subject) <= 128),
    address text check (char_length(address) <= 45),
    user_agent text check (char_length(user_agent) <= 256)
);
create index audit_log_at_idx on audit_log (at);
comment on table audit_log is 'who did what to accounts and keys; kept for 90 days';
comment on column audit_log.id is 'a line number, so that the triggers of the database can write lines too';
comment on column audit_log.user_id is 'no foreign key: an entry outlives its user';
comment on column audit_log.subject is 'what it was done to: a session, a key; never a secret';

-- Users are deleted by whoever operates the database or by later features: the log has it either way.
create function audit_user_deletion() returns trigger language plpgsql as $$
begin
    insert into audit_log (event, user_id, username) values ('user_deleted', old.id, old.username);
    return null;
end
$$;
create trigger users_audit_deletion after delete on users for each row execute function audit_user_deletion();
