-- Benchmarks: named sets of items and scorers, versioned.
create table benchmarks (
    id uuid primary key,
    slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '',
    visibility visibility not null default 'public',
    owner_id bigint not null references users,
    created_at timestamptz not null default now()
);
create unique index benchmarks_slug_key on benchmarks (slug);
comment on table benchmarks is 'a named set of items and scorers; the content lives in benchmark_versions';

create table benchmark_versions (
    id uuid primary key,
    benchmark_id uuid not null references benchmarks on delete cascade,
    number integer not null check (number >= 1),
    scorers jsonb not null,
    source jsonb not null default '{}',
    item_count integer not null check (item_count >= 1),
    content_hash bytea not null,
    created_at timestamptz not null default now()
);
create unique index benchmark_versions_number_key on benchmark_versions (benchmark_id, number);
create unique index benchmark_versions_content_key on benchmark_versions (benchmark_id, content_hash);
comment on table benchmark_versions is 'an immutable, content-hashed state of a benchmark';
comment on column benchmark_versions.scorers is 'scorers that apply to every item without scorers of its own';
comment on column benchmark_versions.source is 'where the items come from: name, licence, address';
comment on column benchmark_versions.content_hash is 'SHA-256 over the scorers and all items in order';
create trigger benchmark_versions_immutable before update on benchmark_versions
    for each row execute function refuse_update();

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
create trigger items_immutable before update on items
    for each row execute function refuse_update();
