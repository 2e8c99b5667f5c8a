-- Runs, their shards and their evaluations: the tables are the truth, the queue only carries ids of shards.
create type run_state as enum ('queued', 'running', 'finishing', 'completed', 'cancelled', 'failed');
create type shard_state as enum ('available', 'running', 'done', 'dead');
create type evaluation_state as enum ('scored', 'error');

create table runs (
    id uuid primary key,
    owner_id bigint not null references users,
    name text not null default '',
    benchmark_version_id uuid not null references benchmark_versions,
    state run_state not null default 'queued',
    state_reason text not null default '',
    seed bigint not null default 0,
    repeats smallint not null check (repeats between 1 and 1000),
    item_count integer not null check (item_count >= 1),
    visibility visibility not null default 'public',
    planned bigint not null check (planned >= 1),
    shards_open integer not null check (shards_open >= 0),
    recorded bigint not null default 0,
    passed bigint not null default 0,
    errors bigint not null default 0,
    retries bigint not null default 0,
    cost_microusd bigint not null default 0,
    spend_microusd bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    idempotency_key text,
    request_hash bytea,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    check (recorded <= planned),
    check ((state in ('completed', 'cancelled', 'failed')) = (finished_at is not null))
);
create unique index runs_idempotency_key on runs (owner_id, idempotency_key);
create index runs_owner_idx on runs (owner_id, id desc);
create index runs_open_idx on runs (id) where state in ('queued', 'running', 'finishing');
comment on table runs is 'one request: benchmark version x prompt versions x models x repeats';
comment on column runs.shards_open is 'shards not yet done or dead; whoever brings it to zero enqueues the finishing';
comment on column runs.cost_microusd is 'accepted cost: once per recorded evaluation';
comment on column runs.spend_microusd is 'cost of every call, also of those whose result was dropped';
comment on column runs.request_hash is 'SHA-256 of the request that came with the idempotency key';

create table run_prompts (
    run_id uuid not null references runs on delete cascade,
    position smallint not null,
    prompt_version_id uuid not null references prompt_versions,
    primary key (run_id, position),
    unique (run_id, prompt_version_id)
);
comment on table run_prompts is 'the prompt versions of a run; position is part of the natural key of an evaluation';

create table run_models (
    run_id uuid not null references runs on delete cascade,
    position smallint not null,
    model_id uuid not null references models,
    primary key (run_id, position),
    unique (run_id, model_id)
);
comment on table run_models is 'the models of a run; position is part of the natural key of an evaluation';

create table shards (
    id uuid primary key,
    run_id uuid not null references runs on delete cascade,
    first_ordinal bigint not null check (first_ordinal >= 0),
    size integer not null check (size between 1 and 10000),
    state shard_state not null default 'available',
    available_at timestamptz not null default now(),
    fence bigint not null default 0,
    lease_until timestamptz,
    worker text,
    crashes integer not null default 0,
    task_id text not null,
    enqueued_at timestamptz not null default now(),
    check ((state = 'running') = (lease_until is not null))
);
create index shards_run_idx on shards (run_id);
create index shards_lease_idx on shards (lease_until) where state = 'running';
create index shards_available_idx on shards (enqueued_at) where state = 'available';
comment on table shards is 'ranges of a run''s evaluations; the unit that the queue delivers';
comment on column shards.first_ordinal is 'ordinals number a run''s evaluations: item, then repeat, then prompt, then model';
comment on column shards.fence is 'counts claims; a write is accepted only with the number of the latest claim';
comment on column shards.crashes is 'leases that ran out; counted apart from retries of single calls';
comment on column shards.task_id is 'the queue row that last carried this shard';

create table evaluations (
    run_id uuid not null references runs on delete cascade,
    item_position integer not null,
    repeat smallint not null,
    prompt_position smallint not null,
    model_position smallint not null,
    state evaluation_state not null,
    score real check (score between 0 and 1),
    passed boolean,
    scores jsonb,
    output text,
    finish_reason text,
    error_kind text,
    error text,
    attempts smallint not null,
    cached boolean not null default false,
    latency_ms integer,
    first_token_ms integer,
    input_tokens integer,
    output_tokens integer,
    cost_microusd bigint,
    recorded_at timestamptz not null default now(),
    primary key (run_id, item_position, repeat, prompt_position, model_position),
    check ((state = 'error') = (error_kind is not null))
);
comment on table evaluations is 'one item under one prompt version on one model, one repeat: called, scored, recorded once';
comment on column evaluations.score is 'weighted mean of the scorers; null when no scorer applied';
comment on column evaluations.scores is 'one entry per scorer: {scorer, metric, outcome, score, pass, reason}';
comment on column evaluations.attempts is 'calls made for this result; waits for a rate limit are not attempts';
comment on column evaluations.cost_microusd is 'null when the price of the model is unknown';
