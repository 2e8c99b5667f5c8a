-- Accounts: who may log in, how, what they may do and take. The ids of users are integers because the inherited APIs show integers.
create type user_role as enum ('user', 'moderator', 'admin');
create type api_key_scope as enum ('prompts:read', 'prompts:write', 'runs:read', 'runs:write', 'admin');
create type one_time_token_purpose as enum ('password_reset', 'email_verification');
create type audit_event as enum (
    'registered', 'logged_in', 'login_failed', 'logged_out', 'logged_out_everywhere', 'refresh_replayed',
    'password_changed', 'profile_changed', 'api_key_created', 'api_key_revoked', 'user_deleted',
    'role_changed', 'user_disabled', 'user_enabled', 'invitation_created', 'invitation_revoked',
    'password_reset_requested', 'password_reset_link_printed', 'password_reset', 'email_verified',
    'identity_linked', 'identity_removed',
    'run_deleted', 'benchmark_deleted', 'benchmark_version_deleted', 'prompt_version_deleted',
    'standings_hidden', 'standings_shown'
);

create table users (
    id bigint generated always as identity primary key,
    username text not null check (username ~ '^[A-Za-z0-9_.-]{3,32}$'),
    email text not null check (char_length(email) between 3 and 254),
    email_verified_at timestamptz,
    password_hash text,
    role user_role not null default 'user',
    daily_budget_microusd bigint check (daily_budget_microusd >= 0),
    free_evaluations bigint check (free_evaluations >= 0),
    open_runs bigint check (open_runs >= 0),
    stored_bytes bigint check (stored_bytes >= 0),
    disabled_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    constraint users_deleted_check
        check (deleted_at is null or (disabled_at is not null and password_hash is null and role = 'user'))
);
create unique index users_username_key on users (lower(username));
create unique index users_email_key on users (lower(email));
comment on table users is 'people and machines that may log in';
comment on column users.username is 'never holds an @, so one login field can take a username or an email address';
comment on column users.email_verified_at is 'when the user showed that the email address is theirs; null after it changed';
comment on column users.password_hash is 'argon2id in PHC format; null for an account that only uses API keys';
comment on column users.daily_budget_microusd is 'what the runs of 24 hours may cost; null for no bound for administrators, and for the setting of the server for others';
comment on column users.free_evaluations is 'the user''s own quota instead of that in quotas; null for none';
comment on column users.open_runs is 'the user''s own quota instead of that in quotas; null for none';
comment on column users.stored_bytes is 'the user''s own quota instead of that in quotas; null for none';
comment on column users.disabled_at is 'cannot log in, and no credential of theirs works';
comment on column users.deleted_at is 'the row stays, without name, address and password, so that what others use keeps an owner';

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
    last_used_at timestamptz not null default now(),
    check (idle_expires_at <= expires_at)
);
create index sessions_user_id_idx on sessions (user_id);
create index sessions_idle_expires_at_idx on sessions (idle_expires_at);
comment on table sessions is 'logins; every access and refresh token belongs to one and dies with it';
comment on column sessions.counter is 'the number of the newest refresh token; the tokens themselves are not kept';
comment on column sessions.idle_expires_at is 'the session ends here unless it is refreshed before';
comment on column sessions.expires_at is 'the session ends here whatever happens';
comment on column sessions.address is 'where the login came from';
comment on column sessions.last_used_at is 'when a token of the session was last used, to the minute';

create table api_keys (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    name text not null,
    prefix text not null,
    secret_hash bytea not null,
    scopes api_key_scope[] not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index api_keys_secret_hash_key on api_keys (secret_hash);
create index api_keys_user_id_idx on api_keys (user_id);
-- A revoked key leaves its name to the next one.
create unique index api_keys_user_id_name_key on api_keys (user_id, name) where revoked_at is null;
comment on table api_keys is 'long-lived secrets for programs; shown once, stored as a hash';
comment on column api_keys.prefix is 'the first characters of the key, so that its owner can tell keys apart';
comment on column api_keys.secret_hash is 'SHA-256 of the key; the key has 256 random bits, so a slow hash would add nothing';
comment on column api_keys.scopes is 'what the key may be used for';

create table identities (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    provider text not null check (provider ~ '^[a-z0-9-]{1,32}$'),
    issuer text not null check (char_length(issuer) <= 2000),
    subject text not null check (char_length(subject) between 1 and 255),
    email text check (char_length(email) <= 254),
    last_login_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index identities_subject_key on identities (issuer, subject);
create index identities_user_id_idx on identities (user_id);
comment on table identities is 'who a user is at OpenID Connect providers';
comment on column identities.provider is 'what the operator called the provider when the identity was linked';
comment on column identities.subject is 'what the issuer calls its user; never reused by it, unlike an email address';
comment on column identities.email is 'what the issuer said last; for its owner to recognise, nothing is decided by it';

create table oidc_logins (
    id uuid primary key,
    code_hash bytea not null,
    browser_hash bytea not null,
    provider text not null check (provider ~ '^[a-z0-9-]{1,32}$'),
    issuer text not null check (char_length(issuer) <= 2000),
    subject text not null check (char_length(subject) between 1 and 255),
    email text check (char_length(email) <= 254),
    email_verified boolean not null,
    name text check (char_length(name) <= 64),
    may_register boolean not null,
    expires_at timestamptz not null
);
create unique index oidc_logins_code_hash_key on oidc_logins (code_hash);
create index oidc_logins_expires_at_idx on oidc_logins (expires_at);
comment on table oidc_logins is 'logins that a provider has confirmed and whose client has not yet come for its tokens; minutes old at most, a used one is deleted';
comment on column oidc_logins.code_hash is 'SHA-256 of the code that the browser was sent back with; it works once';
comment on column oidc_logins.browser_hash is 'SHA-256 of the secret in the cookie of the browser that began the login: no other browser can use the code';
comment on column oidc_logins.may_register is 'whether the provider and the registration mode let an unknown user in';

create table invitations (
    id uuid primary key,
    secret_hash bytea not null,
    first_admin boolean not null default false,
    email text check (char_length(email) between 3 and 254),
    uses_left integer not null check (uses_left >= 0),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    created_by bigint references users on delete set null,
    created_at timestamptz not null default now(),
    check (not first_admin or uses_left <= 1)
);
create unique index invitations_secret_hash_key on invitations (secret_hash);
create index invitations_created_by_idx on invitations (created_by);
comment on table invitations is 'secrets that let somebody register; shown once, stored as a hash';
comment on column invitations.secret_hash is 'SHA-256 of the invitation';
comment on column invitations.first_admin is 'makes whoever registers with it an administrator, while there is none';
comment on column invitations.email is 'only this address may register with it';
comment on column invitations.uses_left is 'how many may still register with it';

create table one_time_tokens (
    id uuid primary key,
    purpose one_time_token_purpose not null,
    user_id bigint not null references users on delete cascade,
    secret_hash bytea not null,
    email text check (char_length(email) between 3 and 254),
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    check (purpose <> 'email_verification' or email is not null)
);
create unique index one_time_tokens_secret_hash_key on one_time_tokens (secret_hash);
create index one_time_tokens_user_id_idx on one_time_tokens (user_id);
create index one_time_tokens_expires_at_idx on one_time_tokens (expires_at);
comment on table one_time_tokens is 'secrets of links that work once; a used one is deleted';
comment on column one_time_tokens.secret_hash is 'SHA-256 of the token; it has 256 random bits, so a slow hash would add nothing';
comment on column one_time_tokens.email is 'where the link was sent; it works only while this is the address of the user. Null for a link that the operator printed';

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

create table quotas (
    singleton boolean primary key default true check (singleton),
    free_evaluations bigint not null check (free_evaluations >= 0),
    open_runs bigint not null check (open_runs >= 0),
    stored_bytes bigint not null check (stored_bytes >= 0)
);
comment on table quotas is 'what every user who is no administrator may take, unless the user''s own row says otherwise; one row, written by the API at its start from its settings; without it nothing is bounded';
comment on column quotas.singleton is 'always true: there is one row';
comment on column quotas.free_evaluations is 'evaluations on models that cost nothing, in 24 hours';
comment on column quotas.open_runs is 'runs that have not ended';
comment on column quotas.stored_bytes is 'bytes of benchmarks, prompts and outputs, as JSON or text before compression';

create table free_evaluations (
    user_id bigint not null references users on delete cascade,
    hour timestamptz not null,
    evaluations bigint not null check (evaluations >= 0),
    primary key (user_id, hour)
);
comment on table free_evaluations is 'how many evaluations on models that cost nothing a user asked for, by the hour; a book of its own, so that neither deleting nor retrying a run changes what was asked';
comment on column free_evaluations.user_id is 'who asked';
comment on column free_evaluations.hour is 'the beginning of the hour; hours that are a day past are deleted when the user asks again';
comment on column free_evaluations.evaluations is 'what was submitted, extended, retried or rescored in this hour';

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

-- Whoever operates the database may delete rows of users by hand: the log has it all the same.
create function audit_user_deletion() returns trigger language plpgsql as $$
begin
    insert into audit_log (event, user_id, username) values ('user_deleted', old.id, old.username);
    return null;
end
$$;
create trigger users_audit_deletion after delete on users for each row execute function audit_user_deletion();

-- The row of a deleted user stays, so its foreign keys never act. This does for them what they say.
create function erase_what_goes_with_user(gone bigint) returns void language plpgsql as $$
declare
    link record;
begin
    for link in
        select conrelid::regclass as child, attname as column_name, confdeltype = 'c' as cascades
        from pg_constraint
        join pg_attribute on attrelid = conrelid and attnum = conkey[1]
        where contype = 'f' and confrelid = 'users'::regclass and confdeltype in ('c', 'n') and conparentid = 0
    loop
        if link.cascades then
            execute format('delete from %s where %I = $1', link.child, link.column_name) using gone;
        else
            execute format('update %s set %I = null where %I = $1', link.child, link.column_name, link.column_name) using gone;
        end if;
    end loop;
end
$$;
comment on function erase_what_goes_with_user is 'deletes rows that refer to the user with `on delete cascade`, and forgets the user in those with `on delete set null`';
