-- Benchmarks: named sets of items and scorers, versioned.
create table benchmarks (
    id uuid primary key,
    slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '',
    visibility visibility not null default 'private',
    owner_id bigint not null references users,
    last_number integer not null default 0 check (last_number >= 0),
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
comment on column benchmarks.last_number is 'the number of the newest version that was ever published; a number is never given again, also when its version was deleted';
comment on column benchmarks.deleted_at is 'since when it is in no list and takes no runs; housekeeping erases the versions that no run rests on';

create table benchmark_versions (
    id uuid primary key,
    benchmark_id uuid not null references benchmarks on delete cascade,
    number integer check (number >= 1),
    scorers jsonb not null,
    source jsonb not null default '{}',
    item_count integer not null check (item_count >= 0),
    item_rules smallint not null default 0,
    variables text[] not null default '{}',
    content_hash bytea,
    size_bytes bigint not null default 0,
    withdrawn_at timestamptz,
    created_at timestamptz not null default now(),
    constraint benchmark_versions_published_check
        check (number is null or (item_count >= 1 and (content_hash is not null or withdrawn_at is not null)))
);
create unique index benchmark_versions_number_key on benchmark_versions (benchmark_id, number);
create unique index benchmark_versions_content_key on benchmark_versions (benchmark_id, content_hash);
create index benchmark_versions_withdrawn_idx on benchmark_versions (withdrawn_at) where withdrawn_at is not null;
comment on table benchmark_versions is 'an immutable, content-hashed state of a benchmark, or one that is being imported';
comment on column benchmark_versions.number is 'counts from 1; null while an import is under way, which nobody but its owner knows of';
comment on column benchmark_versions.scorers is 'scorers that apply to every item without scorers of its own';
comment on column benchmark_versions.source is 'where the items come from: name, licence, address';
comment on column benchmark_versions.item_rules is 'the rules that every item was checked by when the version was published, as a number that grows with each new rule; a version of older rules takes no runs until the same content has been published again';
comment on column benchmark_versions.variables is 'variables that every item has, so that a run need not look at the items; others are looked for in the items';
comment on column benchmark_versions.content_hash is
    'SHA-256 over the hash of the scorers and the hashes of all items in order, each of one line of JSON; of an import, what its client has announced; null once its items are being erased, so that the same content becomes a new version';
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
    size_bytes integer not null generated always as (
        octet_length(vars::text) + coalesce(octet_length(expected::text), 0) + octet_length(metadata::text)
        + coalesce(octet_length(scorers::text), 0)) stored,
    primary key (benchmark_version_id, position)
);
create unique index items_key_key on items (benchmark_version_id, key);
comment on table items is 'test cases; position counts from 0 and is part of the natural key of an evaluation';
comment on column items.key is 'the item''s own id in the file that it came from';
comment on column items.scorers is 'replaces the scorers of the benchmark for this item';
comment on column items.size_bytes is 'bytes of its values as text; whoever reads items reads so many bytes at a time';

-- Large benchmarks come in parts, and their items lie in `items` from the beginning.
create table imports (
    benchmark_version_id uuid primary key references benchmark_versions on delete cascade,
    title text not null,
    description text not null,
    visibility visibility,
    changed_at timestamptz not null default now()
);
comment on table imports is 'benchmark versions that are being sent part by part; a row ends when its version is published';
comment on column imports.title is 'that of the benchmark once it is published; so is the description, unless it is empty';
comment on column imports.visibility is 'who may see the benchmark once it is published; null for as it is';
comment on column imports.changed_at is 'when it was begun or the newest part came; one that nobody goes on with is given up';

create table import_parts (
    benchmark_version_id uuid not null references imports on delete cascade,
    number integer not null check (number >= 1),
    content_hash bytea not null,
    item_hashes bytea not null,
    primary key (benchmark_version_id, number)
);
comment on table import_parts is 'what has come of an import; the items themselves lie in items, where they stay';
comment on column import_parts.number is 'counts from 1; parts come in order';
comment on column import_parts.content_hash is 'SHA-256 over item_hashes: a part that comes again is recognised by it';
comment on column import_parts.item_hashes is 'the SHA-256 of each item in order, 32 bytes each, for the hash of the whole version';

create trigger benchmark_versions_immutable before update on benchmark_versions
    for each row when (old.number is not null) execute function refuse_update_of_version();
create trigger items_immutable before update on items
    for each row execute function refuse_update();
