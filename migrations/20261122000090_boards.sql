-- Leaderboards that can be trusted: standings that are summed up while a run goes on, and their courses over time.
alter table standings
    add column id bigint generated always as identity,
    add column worse_than bigint[] not null default '{}',
    add column cost_per_1000_low_microusd bigint,
    add column cost_per_1000_high_microusd bigint,
    add column cost_per_pass_microusd double precision,
    add column cost_per_pass_low_microusd double precision,
    add column cost_per_pass_high_microusd double precision,
    add column latency_p50_low_ms double precision,
    add column latency_p50_high_ms double precision,
    add column latency_p95_low_ms double precision,
    add column latency_p95_high_ms double precision,
    add column runs integer not null default 1 check (runs >= 1),
    add column trend double precision,
    add column trend_low double precision,
    add column trend_high double precision;
create unique index standings_id_key on standings (id);
comment on column standings.id is 'what worse_than names';
comment on column standings.worse_than is 'ids of the standings of the same board that are surely better; ranks within any selection are read off it';
comment on column standings.cost_per_pass_microusd is 'what one passed evaluation costs, failed ones paid along; null when a cost is unknown or nothing passed';
comment on column standings.cost_per_pass_high_microusd is 'null when too few passed to bound it';
comment on column standings.latency_p95_high_ms is 'null when too few calls were slow to bound it';
comment on column standings.runs is 'completed public runs of this prompt version on this model';
comment on column standings.trend is 'by how much the score lies above that of the run before, on the items of both; null when there was none';

create table provisional_standings (
    run_id uuid not null references runs on delete cascade,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    simulated boolean not null,
    items integer not null,
    evaluations bigint not null,
    errors bigint not null,
    score double precision not null,
    score_low double precision not null,
    score_high double precision not null,
    pass_rate double precision,
    interval_method text not null,
    item_scores real[] not null,
    worse_than bigint[] not null default '{}',
    better_than bigint[] not null default '{}',
    cost_per_1000_microusd bigint,
    cost_per_1000_low_microusd bigint,
    cost_per_1000_high_microusd bigint,
    cost_per_pass_microusd double precision,
    cost_per_pass_low_microusd double precision,
    cost_per_pass_high_microusd double precision,
    latency_p50_ms double precision,
    latency_p50_low_ms double precision,
    latency_p50_high_ms double precision,
    latency_p95_ms double precision,
    latency_p95_low_ms double precision,
    latency_p95_high_ms double precision,
    first_token_p50_ms double precision,
    output_tokens_per_second double precision,
    updated_at timestamptz not null default now(),
    primary key (run_id, prompt_version_id, model_id)
);
create index provisional_standings_board_idx on provisional_standings (benchmark_version_id, simulated);
comment on table provisional_standings is 'what the columns of an open run have reached so far; gone when the run ends';
comment on column provisional_standings.worse_than is 'ids of the standings that are surely better than what was reached so far';
comment on column provisional_standings.better_than is 'ids of the standings that are surely worse';

create table run_summaries (
    run_id uuid not null references runs on delete cascade,
    first_item integer not null,
    prompt_position smallint not null,
    model_position smallint not null,
    evaluations bigint not null,
    errors bigint not null,
    scored bigint not null,
    passed bigint not null,
    full_or_nothing boolean not null,
    item_scores real[] not null,
    item_passes integer[] not null,
    item_costs bigint[] not null,
    priced bigint not null,
    cost_microusd bigint not null,
    latencies_ms integer[] not null,
    latency_counts integer[] not null,
    first_tokens_ms integer[] not null,
    first_token_counts integer[] not null,
    output_tokens bigint not null,
    output_ms bigint not null,
    primary key (run_id, first_item, prompt_position, model_position)
);
comment on table run_summaries is 'an open run, summed up by columns and blocks of items whose evaluations are all recorded; computed from evaluations alone and gone when the run ends';
comment on column run_summaries.item_scores is 'mean score of each item of the block, null where nothing was scored';
comment on column run_summaries.item_costs is 'micro-dollars of all evaluations of each item, null when one is unknown';
comment on column run_summaries.latencies_ms is 'the latencies that occurred; latency_counts says how often each did';
comment on column run_summaries.output_ms is 'latency of the evaluations whose output tokens are known';

create table standing_points (
    run_id uuid not null references runs on delete cascade,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    measured_at timestamptz not null default now(),
    simulated boolean not null,
    items integer not null,
    evaluations bigint not null,
    errors bigint not null,
    score double precision not null,
    score_low double precision not null,
    score_high double precision not null,
    cost_per_1000_microusd bigint,
    latency_p50_ms double precision,
    latency_p95_ms double precision,
    item_scores real[] not null,
    primary key (run_id, prompt_version_id, model_id)
);
create index standing_points_board_idx on standing_points (benchmark_version_id, prompt_version_id, model_id, measured_at);
comment on table standing_points is 'the courses of the standings: one point for every completed public run of a column';
comment on column standing_points.measured_at is 'when the run ended; a run that is retried or extended keeps one point';
comment on column standing_points.item_scores is 'mean score by item position; drift is looked for item by item';
insert into standing_points (run_id, benchmark_version_id, prompt_version_id, model_id, measured_at, simulated, items,
    evaluations, errors, score, score_low, score_high, cost_per_1000_microusd, latency_p50_ms, latency_p95_ms, item_scores)
select run_id, benchmark_version_id, prompt_version_id, model_id, updated_at, simulated, items,
    evaluations, errors, score, score_low, score_high, cost_per_1000_microusd, latency_p50_ms, latency_p95_ms, item_scores
from standings;
