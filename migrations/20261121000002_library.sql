-- The prompt library: prompts and their immutable versions.
create type visibility as enum ('private', 'unlisted', 'public');

create table prompts (
    id uuid primary key,
    slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '',
    visibility visibility not null default 'public',
    owner_id bigint not null references users,
    created_at timestamptz not null default now()
);
create unique index prompts_slug_key on prompts (slug);
comment on table prompts is 'a library entry; its text lives in prompt_versions';

create table prompt_versions (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    number integer not null check (number >= 1),
    body jsonb not null,
    content_hash bytea not null,
    note text not null default '',
    author_id bigint not null references users,
    created_at timestamptz not null default now()
);
create unique index prompt_versions_number_key on prompt_versions (prompt_id, number);
create unique index prompt_versions_content_key on prompt_versions (prompt_id, content_hash);
comment on table prompt_versions is 'an immutable numbered text or chat template; never updated';
comment on column prompt_versions.body is '{"kind":"text","text":…} or {"kind":"chat","messages":[{"role":…,"content":…}]}';
comment on column prompt_versions.content_hash is 'SHA-256 of the canonical JSON of the body';

create table prompt_aliases (
    prompt_id uuid not null references prompts on delete cascade,
    name text not null check (name ~ '^[a-z][a-z0-9-]{0,39}$' and name <> 'latest'),
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    updated_at timestamptz not null default now(),
    primary key (prompt_id, name)
);
comment on table prompt_aliases is 'movable names such as production; latest is computed and never stored';

create function refuse_update() returns trigger language plpgsql as $$
begin
    raise exception '% rows never change', tg_table_name using errcode = 'restrict_violation';
end $$;
comment on function refuse_update is 'keeps versions immutable, whatever the code above does';
create trigger prompt_versions_immutable before update on prompt_versions
    for each row execute function refuse_update();
