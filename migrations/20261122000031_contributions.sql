-- What happened to aliases, and changes that people propose to prompts of others.
create table prompt_alias_changes (
    id bigint generated always as identity primary key,
    prompt_id uuid not null references prompts on delete cascade,
    name text not null,
    prompt_version_id uuid references prompt_versions on delete cascade,
    user_id bigint references users on delete set null,
    at timestamptz not null default now()
);
create index prompt_alias_changes_prompt_id_idx on prompt_alias_changes (prompt_id, id);
comment on table prompt_alias_changes is 'every move of an alias, oldest first';
comment on column prompt_alias_changes.prompt_version_id is 'where the alias pointed from then on; null when it was removed';

create type change_request_state as enum ('open', 'accepted', 'declined', 'withdrawn');

create table change_requests (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    author_id bigint not null references users on delete cascade,
    base_version_id uuid not null references prompt_versions on delete cascade,
    title text not null check (char_length(title) between 1 and 200),
    note text not null default '' check (char_length(note) <= 2000),
    body jsonb not null,
    variables jsonb not null default '[]',
    parameters jsonb not null default '{}',
    state change_request_state not null default 'open',
    decided_by bigint references users on delete set null,
    decided_at timestamptz,
    reason text not null default '' check (char_length(reason) <= 2000),
    prompt_version_id uuid references prompt_versions on delete set null,
    created_at timestamptz not null default now(),
    check ((state = 'open') = (decided_at is null))
);
create index change_requests_prompt_id_idx on change_requests (prompt_id, id);
create index change_requests_author_id_idx on change_requests (author_id, id);
comment on table change_requests is 'versions that somebody proposes for a prompt of somebody else';
comment on column change_requests.base_version_id is 'the version that the author started from';
comment on column change_requests.prompt_version_id is 'the version that an accepted request became';

create table change_request_comments (
    id uuid primary key,
    change_request_id uuid not null references change_requests on delete cascade,
    author_id bigint not null references users on delete cascade,
    text text not null check (char_length(text) between 1 and 10000),
    created_at timestamptz not null default now()
);
create index change_request_comments_request_idx on change_request_comments (change_request_id, id);
create index change_request_comments_author_id_idx on change_request_comments (author_id);
comment on table change_request_comments is 'the discussion of a change request; Markdown, stored as written';
