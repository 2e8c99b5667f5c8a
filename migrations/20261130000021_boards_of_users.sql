-- Two kinds of boards: the public one of a benchmark version, and one for each user with all of their own runs.
-- A point holds everything that a standing shows, so that a board can be made anew from the points at any time.
alter table standing_points
    add column pass_rate double precision,
    add column interval_method text not null default 'wilson',
    add column stopped_early boolean not null default false,
    add column cost_per_1000_low_microusd bigint,
    add column cost_per_1000_high_microusd bigint,
    add column cost_per_pass_microusd double precision,
    add column cost_per_pass_low_microusd double precision,
    add column cost_per_pass_high_microusd double precision,
    add column latency_p50_low_ms double precision,
    add column latency_p50_high_ms double precision,
    add column latency_p95_low_ms double precision,
    add column latency_p95_high_ms double precision,
    add column first_token_p50_ms double precision,
    add column output_tokens_per_second double precision;
update standing_points
set pass_rate = standings.pass_rate, interval_method = standings.interval_method, stopped_early = standings.stopped_early,
    cost_per_1000_low_microusd = standings.cost_per_1000_low_microusd,
    cost_per_1000_high_microusd = standings.cost_per_1000_high_microusd,
    cost_per_pass_microusd = standings.cost_per_pass_microusd,
    cost_per_pass_low_microusd = standings.cost_per_pass_low_microusd,
    cost_per_pass_high_microusd = standings.cost_per_pass_high_microusd,
    latency_p50_low_ms = standings.latency_p50_low_ms, latency_p50_high_ms = standings.latency_p50_high_ms,
    latency_p95_low_ms = standings.latency_p95_low_ms, latency_p95_high_ms = standings.latency_p95_high_ms,
    first_token_p50_ms = standings.first_token_p50_ms, output_tokens_per_second = standings.output_tokens_per_second
from standings
where standings.run_id = standing_points.run_id and standings.prompt_version_id = standing_points.prompt_version_id
  and standings.model_id = standing_points.model_id;
alter table standing_points alter column interval_method drop default, alter column stopped_early drop default;
create index standing_points_prompt_version_idx on standing_points (prompt_version_id);
comment on table standing_points is 'what each completed run measured of each of its columns; boards and their courses are made of it';

alter table standings
    add column audience_id bigint references users on delete cascade,
    drop constraint standings_pkey,
    alter column runs drop default;
drop index standings_id_key;
drop index standings_board_idx;
alter table standings
    add primary key (id),
    add constraint standings_column_key unique nulls not distinct (benchmark_version_id, prompt_version_id, model_id, audience_id);
create index standings_board_idx on standings (benchmark_version_id, audience_id, simulated);
create index standings_audience_idx on standings (audience_id) where audience_id is not null;
comment on table standings is 'one line of a board: a prompt version on a model, by the run of the board''s audience with the most items, and of those the newest';
comment on column standings.audience_id is 'whose board it is: null for the public one, made of runs that everybody may read; else the user of whose runs it is made. Boards are ranked among themselves';
comment on column standings.runs is 'completed runs of this prompt version on this model that count for the board';
comment on column standings.updated_at is 'when the run that it shows was measured';
comment on column prompt_ranks.quality_benchmark_version_id is 'with the next two: the standing on a public board';

create type hidden_by as enum ('owner', 'moderator');
create table hidden_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    hidden_by hidden_by not null,
    user_id bigint references users on delete set null,
    hidden_at timestamptz not null default now(),
    primary key (run_id, prompt_version_id, model_id, hidden_by)
);
create index hidden_columns_user_id_idx on hidden_columns (user_id);
comment on table hidden_columns is 'columns of runs that count for no board';
comment on column hidden_columns.hidden_by is 'the run''s owner: for no board at all; a moderator: not for the public one';
comment on column hidden_columns.user_id is 'who hid it';

create table stale_boards (
    id bigint primary key generated always as identity,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    simulated boolean not null,
    audience_id bigint references users on delete cascade,
    marked_at timestamptz not null default now()
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

create or replace function refresh_prompt_quality(prompt_ids uuid[]) returns void language plpgsql as $$
begin
    -- Locked first, so that the next statement sees what others wrote before they let go; in one order, so that two never wait for each other.
    perform 1 from prompt_ranks where prompt_id = any(prompt_ids) order by prompt_id for update;
    update prompt_ranks
    set quality = coalesce(best.score_low, 0),
        quality_benchmark_version_id = best.benchmark_version_id,
        quality_prompt_version_id = best.prompt_version_id,
        quality_model_id = best.model_id
    from unnest(prompt_ids) as wanted (id)
    left join lateral (
        select standings.score_low, standings.benchmark_version_id, standings.prompt_version_id, standings.model_id
        from prompt_versions
        join standings on standings.prompt_version_id = prompt_versions.id
        join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        where prompt_versions.prompt_id = wanted.id
          and not standings.simulated
          and standings.audience_id is null
          and is_public_run(standings.run_id)
          and not exists (select 1 from benchmark_versions newer
                          where newer.benchmark_id = benchmarks.id and newer.withdrawn_at is null
                            and newer.number > benchmark_versions.number)
        order by standings.score_low desc, prompt_versions.number desc, standings.benchmark_version_id, standings.model_id
        limit 1) best on true
    where prompt_ranks.prompt_id = wanted.id;
end $$;
comment on function refresh_prompt_quality is 'finds the best real standing of each prompt on the public boards of the newest versions of benchmarks';

-- Until now every standing was public, also those of runs on private prompts and benchmarks: all boards are made anew.
-- Own boards begin with them, too.
insert into stale_boards (benchmark_version_id, simulated, audience_id)
select distinct points.benchmark_version_id, points.simulated, audience.id
from standing_points points
join runs on runs.id = points.run_id
cross join lateral (select null::bigint as id union all select runs.owner_id) audience;
select refresh_prompt_quality(array(select id from prompts));
