-- Deleted users, invitations, and when a session was last used.
alter table users add column deleted_at timestamptz;
alter table users add constraint users_deleted_check
    check (deleted_at is null or (disabled_at is not null and password_hash is null and role = 'user'));
comment on column users.deleted_at is 'the row stays, without name, address and password, so that what others use keeps an owner';
comment on column users.disabled_at is 'cannot log in, and no credential of theirs works';

alter table sessions add column last_used_at timestamptz not null default now();
comment on column sessions.last_used_at is 'when a token of the session was last used, to the minute';

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

-- What a user used is looked for when the user is deleted.
create index if not exists run_prompts_prompt_version_id_idx on run_prompts (prompt_version_id);
create index if not exists runs_benchmark_version_id_idx on runs (benchmark_version_id);
create index if not exists standings_run_id_idx on standings (run_id);

alter type audit_event add value 'role_changed';
alter type audit_event add value 'user_disabled';
alter type audit_event add value 'user_enabled';
alter type audit_event add value 'invitation_created';
alter type audit_event add value 'invitation_revoked';
