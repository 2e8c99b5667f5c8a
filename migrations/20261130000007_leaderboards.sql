-- Leaderboards: computed while a run goes on and when it ends, never while a page is read.
-- Two kinds of boards: the public one of a benchmark version, and one for each user with all of their own runs.
create type hidden_by as enum ('owner', 'moderator');

create table run_summaries (
    run_id uuid not null references runs on delete cascade,
    first_item integer not null,
    prompt_position smallint not null,
    model_position smallint not null,
    sums jsonb not null,
    item_scores real[] not null,
    item_passes integer[] not null,
    item_costs bigint[] not null,
    latencies_ms integer[] not null,
    latency_counts integer[] not null,
    first_tokens_ms integer[] not null,
    first_token_counts integer[] not null,
    primary key (run_id, first_item, prompt_position, model_position)
);
comment on table run_summaries is 'an open run, summed up by columns and blocks of items whose evaluations are all recorded; computed from evaluations alone and gone when the run ends';
comment on column run_summaries.item_scores is 'mean score of each item of the block, null where nothing was scored';
comment on column run_summaries.item_costs is 'micro-dollars of all evaluations of each item, null when one is unknown';
comment on column run_summaries.latencies_ms is 'the latencies that occurred; latency_counts says how often each did';
comment on column run_summaries.sums is 'what is only added up, as core/src/leaderboards/summary.rs names it';

create table provisional_standings (
    run_id uuid not null references runs on delete cascade,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    simulated boolean not null,
    evaluations bigint not null,
    errors bigint not null,
    item_scores real[] not null,
    figures jsonb not null,
    worse_than bigint[] not null default '{}',
    better_than bigint[] not null default '{}',
    score double precision not null generated always as ((figures ->> 'score')::float8) stored,
    cost_per_1000_microusd bigint generated always as ((figures ->> 'cost_per_1000_microusd')::bigint) stored,
    latency_p95_ms double precision generated always as ((figures ->> 'latency_p95_ms')::float8) stored,
    updated_at timestamptz not null default now(),
    primary key (run_id, prompt_version_id, model_id)
);
create index provisional_standings_board_idx on provisional_standings (benchmark_version_id, simulated);
create index provisional_standings_prompt_version_id_idx on provisional_standings (prompt_version_id);
create index provisional_standings_model_id_idx on provisional_standings (model_id);
comment on table provisional_standings is 'what the columns of an open run have reached so far; gone when the run ends';
comment on column provisional_standings.worse_than is 'ids of the standings that are surely better than what was reached so far';
comment on column provisional_standings.better_than is 'ids of the standings that are surely worse';

-- A point holds everything that a standing shows, so that a board can be made anew from the points at any time.
create table standing_points (
    run_id uuid not null references runs on delete cascade,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    measured_at timestamptz not null default now(),
    simulated boolean not null,
    evaluations bigint not null,
    errors bigint not null,
    item_scores real[] not null,
    figures jsonb not null,
    stopped_early boolean not null,
    items integer not null generated always as ((figures ->> 'items')::integer) stored,
    primary key (run_id, prompt_version_id, model_id)
);
create index standing_points_board_idx on standing_points (benchmark_version_id, prompt_version_id, model_id, measured_at);
create index standing_points_prompt_version_idx on standing_points (prompt_version_id);
create index standing_points_model_id_idx on standing_points (model_id);
comment on table standing_points is 'what each completed run measured of each of its columns; boards and their courses are made of it';
comment on column standing_points.measured_at is 'when the run ended; a run that is retried or extended keeps one point';
comment on column standing_points.item_scores is 'mean score by item position; drift is looked for item by item';

create table standings (
    id bigint generated always as identity primary key,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    audience_id bigint references users on delete cascade,
    run_id uuid not null references runs on delete cascade,
    simulated boolean not null,
    evaluations bigint not null,
    errors bigint not null,
    item_scores real[] not null,
    figures jsonb not null,
    stopped_early boolean not null default false,
    worse_than bigint[] not null default '{}',
    rank_low integer not null,
    rank_high integer not null,
    tie_group integer not null,
    items integer not null generated always as ((figures ->> 'items')::integer) stored,
    score double precision not null generated always as ((figures ->> 'score')::float8) stored,
    score_low double precision not null generated always as ((figures ->> 'score_low')::float8) stored,
    score_high double precision not null generated always as ((figures ->> 'score_high')::float8) stored,
    cost_per_1000_microusd bigint generated always as ((figures ->> 'cost_per_1000_microusd')::bigint) stored,
    latency_p95_ms double precision generated always as ((figures ->> 'latency_p95_ms')::float8) stored,
    runs integer not null check (runs >= 1),
    trend double precision,
    trend_low double precision,
    trend_high double precision,
    updated_at timestamptz not null default now(),
    constraint standings_column_key unique nulls not distinct (benchmark_version_id, prompt_version_id, model_id, audience_id)
);
create index standings_board_idx on standings (benchmark_version_id, audience_id, simulated);
create index standings_prompt_version_id_idx on standings (prompt_version_id);
create index standings_model_id_idx on standings (model_id);
create index standings_run_id_idx on standings (run_id);
create index standings_audience_idx on standings (audience_id) where audience_id is not null;
comment on table standings is 'one line of a board: a prompt version on a model, by the run of the board''s audience with the most items, and of those the newest';
comment on column standings.id is 'what worse_than names';
comment on column standings.audience_id is 'whose board it is: null for the public one, made of runs that everybody may read; else the user of whose runs it is made. Boards are ranked among themselves';
comment on column standings.simulated is 'simulated results are ranked apart from real ones';
comment on column standings.item_scores is 'mean score by item position, null where nothing was scored; comparisons are paired on it';
comment on column standings.figures is 'the figures of the column, as core/src/leaderboards/figures.rs names them; what statements filter or sort by is generated from it';
comment on column standings.stopped_early is 'true when not every evaluation of the column was asked, because its place was decided';
comment on column standings.worse_than is 'ids of the standings of the same board that are surely better; ranks within any selection are read off it';
comment on column standings.runs is 'completed runs of this prompt version on this model that count for the board';
comment on column standings.trend is 'by how much the score lies above that of the run before, on the items of both; null when there was none';
comment on column standings.updated_at is 'when the run that it shows was measured';

create table hidden_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    hidden_by hidden_by not null,
    user_id bigint references users on delete set null,
    hidden_at timestamptz not null default now(),
    primary key (run_id, prompt_version_id, model_id, hidden_by)
);
create index hidden_columns_prompt_version_id_idx on hidden_columns (prompt_version_id);
create index hidden_columns_model_id_idx on hidden_columns (model_id);
create index hidden_columns_user_id_idx on hidden_columns (user_id);
comment on table hidden_columns is 'columns of runs that count for no board';
comment on column hidden_columns.hidden_by is 'the run''s owner: for no board at all; a moderator: not for the public one';
comment on column hidden_columns.user_id is 'who hid it';

create table stale_boards (
    id bigint primary key generated always as identity,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    simulated boolean not null,
    audience_id bigint references users on delete cascade
);
create index stale_boards_board_idx on stale_boards (benchmark_version_id, simulated);
create index stale_boards_audience_idx on stale_boards (audience_id) where audience_id is not null;
comment on table stale_boards is 'boards that are to be made anew, since a run, a prompt or a benchmark has become visible to others or is so no more; readers leave out what may not be shown even before';

create function mark_boards(run_ids uuid[], also_own boolean) returns void language plpgsql as $$
begin
    insert into stale_boards (benchmark_version_id, simulated, audience_id)
    select distinct points.benchmark_version_id, points.simulated, audience.id
    from standing_points points
    join runs on runs.id = points.run_id
    cross join lateral (select null::bigint as id union all select runs.owner_id where also_own) audience
    where points.run_id = any(run_ids);
    -- Answers that are kept for readers are forgotten at once.
    perform pg_notify('opb_leaderboards', id::text)
    from (select distinct benchmark_version_id as id from runs where runs.id = any(run_ids)) changed;
end $$;
comment on function mark_boards is 'marks the public boards of these runs as stale, and those of their owners, too, if so told';

create function mark_boards_of_run() returns trigger language plpgsql as $$
begin
    perform mark_boards(array[new.id], new.deleted_at is distinct from old.deleted_at);
    return null;
end $$;
create trigger runs_mark_boards after update of visibility, deleted_at on runs
    for each row when ((old.visibility, old.deleted_at) is distinct from (new.visibility, new.deleted_at))
    execute function mark_boards_of_run();

create function mark_boards_of_prompt() returns trigger language plpgsql as $$
begin
    perform mark_boards(array(
        select run_prompts.run_id from prompt_versions
        join run_prompts on run_prompts.prompt_version_id = prompt_versions.id
        where prompt_versions.prompt_id = new.id), false);
    return null;
end $$;
create trigger prompts_mark_boards after update of visibility, deleted_at on prompts
    for each row when ((old.visibility, old.deleted_at) is distinct from (new.visibility, new.deleted_at))
    execute function mark_boards_of_prompt();

create function mark_boards_of_prompt_version() returns trigger language plpgsql as $$
begin
    perform mark_boards(array(select run_id from run_prompts where prompt_version_id = new.id), false);
    return null;
end $$;
create trigger prompt_versions_mark_boards after update of withdrawn_at on prompt_versions
    for each row execute function mark_boards_of_prompt_version();

create function mark_boards_of_benchmark() returns trigger language plpgsql as $$
begin
    perform mark_boards(array(
        select runs.id from benchmark_versions
        join runs on runs.benchmark_version_id = benchmark_versions.id
        where benchmark_versions.benchmark_id = new.id), false);
    return null;
end $$;
create trigger benchmarks_mark_boards after update of visibility, deleted_at on benchmarks
    for each row when ((old.visibility, old.deleted_at) is distinct from (new.visibility, new.deleted_at))
    execute function mark_boards_of_benchmark();

create function mark_boards_of_benchmark_version() returns trigger language plpgsql as $$
begin
    perform mark_boards(array(select id from runs where benchmark_version_id = new.id), false);
    return null;
end $$;
create trigger benchmark_versions_mark_boards after update of withdrawn_at on benchmark_versions
    for each row execute function mark_boards_of_benchmark_version();

create function mark_boards_of_hidden_column() returns trigger language plpgsql as $$
declare
    moved record := coalesce(new, old);
begin
    perform mark_boards(array[moved.run_id], moved.hidden_by = 'owner');
    return null;
end $$;
create trigger hidden_columns_mark_boards after insert or delete on hidden_columns
    for each row execute function mark_boards_of_hidden_column();
