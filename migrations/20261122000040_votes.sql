-- Votes on prompts, and the one row a prompt from which every order of the community is read.
-- Counters and quality are moved by triggers, so that no writer can forget them, not even a cascading deletion.
create type vote_direction as enum ('up', 'down');

create table prompt_votes (
    prompt_id uuid not null references prompts on delete cascade,
    user_id bigint not null references users on delete cascade,
    direction vote_direction not null,
    cast_at timestamptz not null default now(),
    primary key (prompt_id, user_id)
);
create index prompt_votes_user_id_idx on prompt_votes (user_id);
comment on table prompt_votes is 'one vote per user and prompt; nobody votes on their own';
comment on column prompt_votes.cast_at is 'when the vote took its direction; the trend counts from here';

create function wilson_low(up integer, down integer) returns double precision
language sql immutable strict parallel safe
return case when up = 0 then 0 else greatest(0,
    (up + 3.8414588206941236 / 2 - 1.959963984540054 * sqrt(up::double precision * down / (up + down) + 3.8414588206941236 / 4))
    / (up + down + 3.8414588206941236)) end;
comment on function wilson_low is 'lower end of the 95 % Wilson interval of up of up + down; the same as stats::wilson';

create function vote_weight(at timestamptz) returns double precision
language sql immutable strict parallel safe
return power(2::double precision, (extract(epoch from at - timestamptz '2026-01-01 00:00:00+00') / 604800)::double precision);
comment on function vote_weight is 'doubles every week; a vote''s weight divided by the weight of now halves every week';

create table prompt_ranks (
    prompt_id uuid primary key references prompts on delete cascade,
    up integer not null default 0 check (up >= 0),
    down integer not null default 0 check (down >= 0),
    favourites integer not null default 0 check (favourites >= 0),
    wilson double precision not null generated always as (wilson_low(up, down)) stored,
    trend double precision not null default 0,
    quality double precision not null default 0 check (quality between 0 and 1),
    quality_benchmark_version_id uuid,
    quality_prompt_version_id uuid,
    quality_model_id uuid,
    combined double precision not null generated always as (0.6 * quality + 0.4 * wilson_low(up, down)) stored,
    check (num_nonnulls(quality_benchmark_version_id, quality_prompt_version_id, quality_model_id) in (0, 3))
);
create index prompt_ranks_wilson_idx on prompt_ranks (wilson desc, prompt_id desc);
create index prompt_ranks_trend_idx on prompt_ranks (trend desc, prompt_id desc);
create index prompt_ranks_quality_idx on prompt_ranks (quality desc, prompt_id desc);
create index prompt_ranks_combined_idx on prompt_ranks (combined desc, prompt_id desc);
comment on table prompt_ranks is 'what prompts are ordered by; made and moved by triggers only; the formulas are explained in docs/COMMUNITY.md';
comment on column prompt_ranks.trend is 'sum of vote_weight(cast_at), votes against subtracted; divided by vote_weight(now()) it is the number of fresh votes. All rows share that divisor, so the order needs no nightly rewriting; the numbers fit until 2045';
comment on column prompt_ranks.quality is 'lower end of the score''s interval of the best standing; 0 when unmeasured';
comment on column prompt_ranks.quality_benchmark_version_id is 'with the next two: the primary key of that standing';

create function make_prompt_rank() returns trigger language plpgsql as $$
begin
    insert into prompt_ranks (prompt_id) select id from added;
    return null;
end $$;
comment on function make_prompt_rank is 'gives every prompt its row in prompt_ranks, all new ones of a statement at once';
create trigger prompts_make_rank after insert on prompts referencing new table as added
    for each statement execute function make_prompt_rank();
insert into prompt_ranks (prompt_id) select id from prompts;

create function count_prompt_vote() returns trigger language plpgsql as $$
begin
    update prompt_ranks
    set up = up + (case when new.direction = 'up' then 1 else 0 end) - (case when old.direction = 'up' then 1 else 0 end),
        down = down + (case when new.direction = 'down' then 1 else 0 end) - (case when old.direction = 'down' then 1 else 0 end),
        trend = trend
            + coalesce(case new.direction when 'up' then 1 else -1 end * vote_weight(new.cast_at), 0)
            - coalesce(case old.direction when 'up' then 1 else -1 end * vote_weight(old.cast_at), 0)
    where prompt_id = coalesce(new.prompt_id, old.prompt_id);
    return null;
end $$;
comment on function count_prompt_vote is 'moves a prompt''s counters with every vote that comes, changes or goes';
create trigger prompt_votes_count after insert or update or delete on prompt_votes
    for each row execute function count_prompt_vote();

create function drop_own_vote() returns trigger language plpgsql as $$
begin
    delete from prompt_votes where prompt_id = new.id and user_id = new.owner_id;
    return null;
end $$;
comment on function drop_own_vote is 'whoever is given a prompt loses the vote on it';
create trigger prompts_drop_own_vote after update of owner_id on prompts for each row execute function drop_own_vote();

create index standings_prompt_version_id_idx on standings (prompt_version_id);

create function refresh_prompt_quality(prompt_ids uuid[]) returns void language plpgsql as $$
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
          and benchmarks.visibility = 'public'
          and not exists (select 1 from benchmark_versions newer
                          where newer.benchmark_id = benchmarks.id and newer.number > benchmark_versions.number)
        order by standings.score_low desc, prompt_versions.number desc, standings.benchmark_version_id, standings.model_id
        limit 1) best on true
    where prompt_ranks.prompt_id = wanted.id;
end $$;
comment on function refresh_prompt_quality is 'finds the best real standing of each prompt on the newest versions of public benchmarks';

create function refresh_quality_of_standing() returns trigger language plpgsql as $$
begin
    perform refresh_prompt_quality(array(
        select prompt_id from prompt_versions where id = coalesce(new.prompt_version_id, old.prompt_version_id)));
    return null;
end $$;
create trigger standings_refresh_quality after insert or delete or update of score_low, simulated on standings
    for each row execute function refresh_quality_of_standing();

create function refresh_quality_of_benchmark() returns trigger language plpgsql as $$
begin
    perform refresh_prompt_quality(array(
        select distinct prompt_versions.prompt_id
        from benchmark_versions
        join standings on standings.benchmark_version_id = benchmark_versions.id
        join prompt_versions on prompt_versions.id = standings.prompt_version_id
        where benchmark_versions.benchmark_id = (to_jsonb(new) ->> tg_argv[0])::uuid));
    return null;
end $$;
comment on function refresh_quality_of_benchmark is 'its argument is the column that holds the benchmark''s id';
create trigger benchmark_versions_refresh_quality after insert on benchmark_versions
    for each row execute function refresh_quality_of_benchmark('benchmark_id');
create trigger benchmarks_refresh_quality after update of visibility on benchmarks
    for each row execute function refresh_quality_of_benchmark('id');
select refresh_prompt_quality(array(select id from prompts));
