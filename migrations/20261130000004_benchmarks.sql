-- Benchmarks: named sets of items and scorers, versioned.
create table benchmarks (
    id uuid primary key,
    slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '',
    visibility visibility not null default 'private',
    owner_id bigint not null references users,
    deleted_at timestamptz,
    created_at timestamptz not null default now()
);
-- As with prompts, a slug that is taken says nothing about what is private; the first index also finds benchmarks by it.
create unique index benchmarks_owner_slug_key on benchmarks (slug, owner_id);
create unique index benchmarks_slug_key on benchmarks (slug) where visibility <> 'private';
comment on index benchmarks_owner_slug_key is 'a user has one benchmark of a slug';
comment on index benchmarks_slug_key is 'unlisted and public benchmarks share one namespace';
create index benchmarks_slug_trigrams_idx on benchmarks using gin (slug gin_trgm_ops);
create index benchmarks_owner_id_idx on benchmarks (owner_id);
create index benchmarks_deleted_idx on benchmarks (deleted_at) where deleted_at is not null;
comment on table benchmarks is 'a named set of items and scorers; the content lives in benchmark_versions';
comment on column benchmarks.visibility is 'private unless its owner says otherwise';
comment on column benchmarks.deleted_at is 'since when it is in no list and takes no runs; housekeeping erases the versions that no run rests on';

create table benchmark_versions (
    id uuid primary key,
    benchmark_id uuid not null references benchmarks on delete cascade,
    number integer not null check (number >= 1),
    scorers jsonb not null,
    source jsonb not null default '{}',
    item_count integer not null check (item_count >= 1),
    item_rules smallint not null default 0,
    content_hash bytea not null,
    size_bytes bigint not null default 0,
    withdrawn_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index benchmark_versions_number_key on benchmark_versions (benchmark_id, number);
create unique index benchmark_versions_content_key on benchmark_versions (benchmark_id, content_hash);
create index benchmark_versions_withdrawn_idx on benchmark_versions (withdrawn_at) where withdrawn_at is not null;
comment on table benchmark_versions is 'an immutable, content-hashed state of a benchmark';
comment on column benchmark_versions.scorers is 'scorers that apply to every item without scorers of its own';
comment on column benchmark_versions.source is 'where the items come from: name, licence, address';
comment on column benchmark_versions.item_rules is 'the rules that every item was checked by when the version was published, as a number that grows with each new rule; a run checks the items of versions of older rules itself';
comment on column benchmark_versions.content_hash is 'SHA-256 over the scorers and all items in order';
comment on column benchmark_versions.size_bytes is 'bytes of scorers and items as JSON';
comment on column benchmark_versions.withdrawn_at is 'since when it takes no runs and is read only by those whose runs rest on it; erased once none does';

create table items (
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    position integer not null check (position >= 0),
    key text not null check (char_length(key) between 1 and 200),
    vars jsonb not null,
    expected jsonb,
    metadata jsonb not null default '{}',
    scorers jsonb,
    primary key (benchmark_version_id, position)
);
create unique index items_key_key on items (benchmark_version_id, key);
comment on table items is 'test cases; position counts from 0 and is part of the natural key of an evaluation';
comment on column items.key is 'the item''s own id in the file that it came from';
comment on column items.scorers is 'replaces the scorers of the benchmark for this item';

create trigger benchmark_versions_immutable before update on benchmark_versions
    for each row execute function refuse_update_of_version();
create trigger items_immutable before update on items
    for each row execute function refuse_update();
