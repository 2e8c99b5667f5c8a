-- Runs, their shards and their evaluations: the tables are the truth, and the shards are the queue.
create type run_state as enum ('queued', 'running', 'paused', 'finishing', 'completed', 'cancelled', 'failed');
create type pause_reason as enum ('request', 'budget', 'storage', 'hidden_parts');
create type shard_state as enum ('available', 'running', 'done', 'dead');
create type evaluation_state as enum ('scored', 'error');
create type process_kind as enum ('worker', 'scheduler');

create table runs (
    id uuid primary key,
    number bigint generated always as identity,
    owner_id bigint not null references users,
    name text not null default '',
    visibility visibility not null default 'private',

    -- What was asked for.
    benchmark_version_id uuid not null references benchmark_versions,
    repeats smallint not null check (repeats between 1 and 1000),
    seed bigint not null default 0,
    priority smallint not null default 0 check (priority between -5 and 5),
    cache boolean not null default true,
    answers_of uuid,
    foreign_answers boolean not null default false check (not foreign_answers or visibility = 'private'),
    stop_early boolean not null default false,
    concurrency integer check (concurrency between 1 and 10000),
    budget_microusd bigint check (budget_microusd >= 0),
    idempotency_key text,
    request_hash bytea,
    request_id uuid,

    -- How far it is.
    state run_state not null default 'queued',
    state_reason text not null default '',
    paused_for pause_reason,
    waiting_reason text,
    waiting_until timestamptz,
    item_count integer not null check (item_count >= 1),
    planned bigint not null check (planned >= 1),
    shards_open integer check (shards_open >= 0),
    recorded bigint not null default 0,
    skipped bigint not null default 0 check (skipped >= 0),
    passed bigint not null default 0,
    errors bigint not null default 0,
    retries bigint not null default 0,
    unpriced bigint not null default 0 check (unpriced >= 0),
    next_look bigint not null default 0,
    settled integer not null default 0 check (settled >= 0),

    -- What it took.
    cost_microusd bigint not null default 0,
    spend_microusd bigint not null default 0,
    reserved_microusd bigint not null default 0 check (reserved_microusd >= 0),
    awaits_money boolean not null default false,
    unaccounted_microusd bigint not null default 0 check (unaccounted_microusd >= 0),
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    output_bytes bigint not null default 0,

    created_at timestamptz not null default now(),
    active_since timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    pruned_at timestamptz,
    deleted_at timestamptz,
    erased_at timestamptz,

    constraint runs_counted_check check (recorded + skipped <= planned),
    constraint runs_budget_check
        check (budget_microusd is null or spend_microusd + unaccounted_microusd + reserved_microusd <= budget_microusd),
    constraint runs_awaits_money_check check (not awaits_money or reserved_microusd > 0),
    constraint runs_finished_check check ((state in ('completed', 'cancelled', 'failed')) = (finished_at is not null)),
    constraint runs_paused_check check (state <> 'paused' or paused_for is not null),
    constraint runs_deleted_check check (deleted_at is null or finished_at is not null)
);
create unique index runs_number_key on runs (number);
create unique index runs_idempotency_key on runs (owner_id, idempotency_key);
create index runs_owner_idx on runs (owner_id, id desc);
create index runs_owner_finished_idx on runs (owner_id, finished_at);
create index runs_benchmark_version_id_idx on runs (benchmark_version_id);
create index runs_open_idx on runs (id) where state in ('queued', 'running', 'finishing');
create index runs_unfinished_idx on runs (id) where finished_at is null;
comment on index runs_unfinished_idx is 'what housekeeping looks at: runs that are queued, running, paused or finishing';
create index runs_deleted_idx on runs (deleted_at) where deleted_at is not null;
-- The ids of runs begin with their time, so people shorten them to their ends. An id's characters are 0-9, a-f and the
-- dash: whatever begins with some of them lies between these and the same with a `g`.
create index runs_id_end_idx on runs ((reverse(id::text)) collate "C");
comment on index runs_id_end_idx is 'finds runs by the end of their id';
comment on table runs is 'one request: benchmark version x prompt versions x models x repeats';
comment on column runs.number is 'a short number for people, in the order of submission; never used again';
comment on column runs.visibility is 'what its owner wished; whoever reads a run must be allowed to see its benchmark and its prompts, too: can_see_run';
comment on column runs.paused_for is 'why it is paused, or was the last time: somebody asked for it, its budget has no room for the next call, its owner stores too much, or may no longer see its benchmark or a prompt; rules look at this, and never at state_reason, which is for people';
comment on column runs.priority is 'each step doubles the share of the workers that the run gets';
comment on column runs.cache is 'may answers of earlier runs be taken, and those of this one be kept for later ones?';
comment on column runs.answers_of is 'the run whose answers this one scores, without calling a model; null for a run that asks';
comment on column runs.foreign_answers is 'true when these answers are another user''s, or were: then nobody else may see the run';
comment on column runs.concurrency is 'how many calls of the run each worker process makes to a provider at once, from the first one on; null for as many as the worker finds to be possible';
comment on column runs.stop_early is 'are columns whose place among the others is decided not asked any more?';
comment on column runs.budget_microusd is 'the most that the run may spend; null for no bound';
comment on column runs.request_hash is 'SHA-256 of the request that came with the idempotency key';
comment on column runs.request_id is 'the request that submitted it, as the logs of the API have it; null when a schedule did';
comment on column runs.waiting_reason is 'what its evaluations wait for, such as a provider that is down';
comment on column runs.waiting_until is 'workers say it again before; after this moment waiting_reason means nothing';
comment on column runs.shards_open is 'shards not yet done or dead; null until what the run lacks is cut into shards; whoever brings it to zero enqueues the finishing';
comment on column runs.recorded is 'evaluations of the shards that are done or dead; run_counts adds the open ones, here and for the other counters';
comment on column runs.skipped is 'evaluations that are not asked any more, of the shards that are done or dead';
comment on column runs.unpriced is 'recorded evaluations with an answer whose cost nobody knows, because the model has no price or the provider counted no tokens';
comment on column runs.next_look is 'how many evaluations are recorded when the columns are compared next';
comment on column runs.settled is 'how many rows of settled_columns the run has; workers see by it that there are more';
comment on column runs.cost_microusd is 'accepted cost: once per recorded evaluation';
comment on column runs.spend_microusd is 'cost of every call, also of those whose result was dropped';
comment on column runs.reserved_microusd is 'what the shards at work may still spend: the bounds of their calls';
comment on column runs.awaits_money is 'a shard found no room in the budget, so none is claimed until money that others have reserved comes back; nobody waits when nobody holds money';
comment on column runs.unaccounted_microusd is 'bounds of calls that may have been paid for without telling their cost, such as those of a killed worker';
comment on column runs.output_bytes is 'bytes of all recorded texts: outputs, log probabilities, reasons and errors; 0 once they are pruned';
comment on column runs.active_since is 'when the run was submitted, or last resumed, retried or extended: from here on its owner has waited';
comment on column runs.pruned_at is 'when its texts were forgotten: outputs, and the reasons of scorers; null while they are there';
comment on column runs.deleted_at is 'since when it is gone for everybody; housekeeping erases its evaluations, and the row once its money counts in no quota';
comment on column runs.erased_at is 'when the evaluations of a deleted run were erased';

create table run_prompts (
    run_id uuid not null references runs on delete cascade,
    position smallint not null,
    prompt_version_id uuid not null references prompt_versions,
    primary key (run_id, position),
    unique (run_id, prompt_version_id)
);
create index run_prompts_prompt_version_id_idx on run_prompts (prompt_version_id);
comment on table run_prompts is 'the prompt versions of a run; position is part of the natural key of an evaluation';

create table run_models (
    run_id uuid not null references runs on delete cascade,
    position smallint not null,
    model_id uuid not null references models,
    primary key (run_id, position),
    unique (run_id, model_id)
);
create index run_models_model_id_idx on run_models (model_id);
comment on index run_models_model_id_idx is 'finds the runs of a model, for the list of models that a reader may see';
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
    reserved_microusd bigint not null default 0 check (reserved_microusd >= 0),

    -- What was recorded for it, to be added to its run when it is done or dead.
    recorded integer not null default 0,
    skipped integer not null default 0 check (skipped >= 0),
    passed integer not null default 0,
    errors integer not null default 0,
    retries integer not null default 0,
    unpriced integer not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_microusd bigint not null default 0,
    spend_microusd bigint not null default 0,
    output_bytes bigint not null default 0,

    constraint shards_counted_check check (recorded + skipped <= size),
    check ((state = 'running') = (lease_until is not null))
) with (fillfactor = 70);
create index shards_run_idx on shards (run_id);
create index shards_open_idx on shards (run_id) where state in ('available', 'running');
comment on index shards_open_idx is 'the shards that run_counts adds up';
create index shards_lease_idx on shards (lease_until) where state = 'running';
-- A worker that is free takes the first waiting shard of the run that is owed most.
create index shards_waiting_idx on shards (run_id, first_ordinal) where state = 'available';
comment on index shards_waiting_idx is 'the waiting shards of each run, in order';
comment on table shards is 'ranges of a run''s evaluations; workers claim them by leases';
comment on column shards.first_ordinal is 'ordinals number a run''s evaluations: item, then repeat, then prompt, then model';
comment on column shards.available_at is 'from when on it can be claimed: since when it waits, or the end of a pause after a crash';
comment on column shards.fence is 'counts claims; a write is accepted only with the number of the latest claim';
comment on column shards.crashes is 'leases that ran out; counted apart from retries of single calls';
comment on column shards.reserved_microusd is 'the part of runs.reserved_microusd that this shard holds';
comment on column shards.recorded is 'evaluations that were recorded for this shard; it and the other counters are those of the run once the shard is done or dead';
comment on column shards.skipped is 'evaluations of the shard that are not asked any more';
comment on column shards.spend_microusd is 'what its calls have cost; 0 in a run with a budget, whose spend is counted by the run at once';

-- Sums of money end at 10^15 micro-dollars, however dear a model is said to be.
create view run_counts as
select runs.id as run_id,
       runs.recorded + coalesce(open.recorded, 0) as recorded,
       runs.skipped + coalesce(open.skipped, 0) as skipped,
       runs.passed + coalesce(open.passed, 0) as passed,
       runs.errors + coalesce(open.errors, 0) as errors,
       runs.retries + coalesce(open.retries, 0) as retries,
       runs.unpriced + coalesce(open.unpriced, 0) as unpriced,
       runs.input_tokens + coalesce(open.input_tokens, 0) as input_tokens,
       runs.output_tokens + coalesce(open.output_tokens, 0) as output_tokens,
       least(runs.cost_microusd + coalesce(open.cost_microusd, 0), 1000000000000000) as cost_microusd,
       least(runs.spend_microusd + coalesce(open.spend_microusd, 0), 1000000000000000) as spend_microusd,
       runs.output_bytes + coalesce(open.output_bytes, 0) as output_bytes
from runs
left join lateral (
    select sum(recorded)::bigint as recorded,
           sum(skipped)::bigint as skipped,
           sum(passed)::bigint as passed,
           sum(errors)::bigint as errors,
           sum(retries)::bigint as retries,
           sum(unpriced)::bigint as unpriced,
           sum(input_tokens)::bigint as input_tokens,
           sum(output_tokens)::bigint as output_tokens,
           least(coalesce(sum(cost_microusd), 0), 1000000000000000)::bigint as cost_microusd,
           least(coalesce(sum(spend_microusd), 0), 1000000000000000)::bigint as spend_microusd,
           sum(output_bytes)::bigint as output_bytes
    from shards
    where run_id = runs.id and runs.finished_at is null and state in ('available', 'running')
) as open on true;
comment on view run_counts is 'the counters of each run with those of its open shards: what there is to say about a run that goes on';

-- No foreign key to runs: each recorded result would look its run up, a third of what Postgres does for it. The lock on
-- the shard keeps the run meanwhile: a run cannot be deleted before its shards, and nothing is recorded without a shard.
-- A null takes no room, so logprobs cost nothing where none are asked for; what there is lies out of line, compressed.
create table evaluations (
    run_id uuid not null,
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
    cached_input_tokens integer,
    reasoning_tokens integer,
    answer_key uuid,
    logprobs jsonb,
    primary key (run_id, item_position, repeat, prompt_position, model_position),
    check ((state = 'error') = (error_kind is not null))
);
-- A shard looks all its questions up at once.
create index evaluations_answer_key_idx on evaluations (answer_key) where answer_key is not null;
-- Errors are few, and whoever looks at a run asks for them first.
create index evaluations_errors_idx on evaluations (run_id, item_position, repeat, prompt_position, model_position) where state = 'error';
comment on index evaluations_errors_idx is 'the errors of a run, in the order in which evaluations are listed';
comment on table evaluations is 'one item under one prompt version on one model, one repeat: called, scored, recorded once';
comment on column evaluations.score is 'weighted mean of the scorers; null when no scorer applied';
comment on column evaluations.scores is 'one entry per scorer: {scorer, metric, outcome, score, pass, reason}';
comment on column evaluations.attempts is 'calls made for this result; waits for a rate limit are not attempts';
comment on column evaluations.cached is 'the answer was there already: latency and cost are those of the call that was made for it, and nothing was spent';
comment on column evaluations.cost_microusd is 'null when the price of the model is unknown';
comment on column evaluations.cached_input_tokens is 'the part of input_tokens that the provider had in its cache; null when it did not say';
comment on column evaluations.reasoning_tokens is 'the part of output_tokens that was spent on reasoning; null when it did not say';
comment on column evaluations.answer_key is 'hash of who asked, which model with which parameters, the messages and the repeat, of an answer that may be taken again; the answers of a column lie together, since their keys begin alike';
comment on column evaluations.logprobs is 'log probabilities of the answer''s tokens: {mean, tokens: [{token, logprob, top}], left_out}; null where none were asked for or the texts were forgotten';

create function delete_evaluations() returns trigger language plpgsql as $$
begin
    delete from evaluations where run_id = old.id;
    return null;
end $$;
create trigger runs_delete_evaluations after delete on runs for each row execute function delete_evaluations();

create table settled_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_position smallint not null,
    model_position smallint not null,
    from_item integer not null check (from_item >= 0),
    primary key (run_id, prompt_position, model_position)
);
comment on table settled_columns is 'columns of runs that stop early whose place among the others is decided';
comment on column settled_columns.from_item is 'this item of the column and those after it are not asked any more';

create table run_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_position smallint not null,
    model_position smallint not null,
    measured jsonb not null,
    primary key (run_id, prompt_position, model_position)
);
comment on table run_columns is 'a run that has ended, summed up by columns, so that a million evaluations are summed up once; gone when the run is opened again, and computed anew from its evaluations where it is missing';
comment on column run_columns.measured is 'score, cost, latency, part scores and errors of the column, as GET /api/v1/runs/{run}/columns shows them, without the names';

-- Who may see a run: nobody who may not see every part of it now.
-- In PL/pgSQL, which keeps the plans of its statements: SQL functions with subqueries are planned anew for every row.
create function can_see_parts(wanted uuid, viewer_id bigint, is_admin boolean)
    returns boolean language plpgsql stable parallel safe as $$
begin
    return is_admin or (
        exists (
            select from runs
            join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
            join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
            where runs.id = wanted
              and can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                               benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                               runs.owner_id, viewer_id, false))
        and not exists (
            select from runs
            join run_prompts on run_prompts.run_id = runs.id
            join prompt_versions on prompt_versions.id = run_prompts.prompt_version_id
            join prompts on prompts.id = prompt_versions.prompt_id
            where runs.id = wanted
              and not can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                   prompt_versions.withdrawn_at is not null, runs.owner_id, viewer_id, false)));
end $$;
comment on function can_see_parts is 'true when the viewer (null for a caller without a login) may see the benchmark and every prompt of a run, now';

create function can_see_run(wanted uuid, viewer_id bigint, is_admin boolean)
    returns boolean language plpgsql stable parallel safe as $$
begin
    return exists (select from runs
                   where id = wanted and deleted_at is null and can_see(visibility, owner_id, viewer_id, is_admin))
        and can_see_parts(wanted, viewer_id, is_admin);
end $$;
comment on function can_see_run is
    'true when the viewer may read what a run holds: the run itself and every part of it, now. Its owner always sees its numbers, with the names of hidden parts left out';

create function is_public_run(wanted uuid) returns boolean language plpgsql stable parallel safe as $$
begin
    return exists (select from runs where id = wanted and deleted_at is null and visibility = 'public')
        and can_see_parts(wanted, null, false);
end $$;
comment on function is_public_run is 'true when everybody may read what a run holds: what public boards, lists and counts are made of';

create function public_runs(wanted uuid[]) returns setof uuid language sql stable parallel safe as $$
    select runs.id
    from runs
    join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
    join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
    where runs.id = any(wanted) and runs.deleted_at is null and runs.visibility = 'public'
      and can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                       benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                       runs.owner_id, null, false)
      and not exists (
          select from run_prompts
          join prompt_versions on prompt_versions.id = run_prompts.prompt_version_id
          join prompts on prompts.id = prompt_versions.prompt_id
          where run_prompts.run_id = runs.id
            and not can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                 prompt_versions.withdrawn_at is not null, runs.owner_id, null, false))
$$;
comment on function public_runs is 'those of many runs for which is_public_run holds, in one statement';

create function run_costs(of_run uuid) returns boolean language sql stable as $$
    select exists(select 1 from run_models where run_id = of_run and model_costs(model_id))
$$;
comment on function run_costs is 'whether some model of the run costs money, or may';

-- Which workers and schedulers live: each says so every few seconds.
create table processes (
    id uuid primary key,
    kind process_kind not null,
    version text not null,
    host text not null,
    key_variables text[] not null default '{}',
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
create index processes_seen_at on processes (kind, seen_at);
comment on table processes is 'workers and schedulers that were heard of lately; only a sign of life, nothing depends on it being complete';
comment on column processes.kind is 'what the process does';
comment on column processes.version is 'the version of its program';
comment on column processes.host is 'the name of its machine or container';
comment on column processes.key_variables is 'the names of the environment variables with operator''s credentials that it has; never their values';
comment on column processes.started_at is 'when it was first heard of';
comment on column processes.seen_at is 'when it was last heard of; after twenty seconds it counts as gone';

create function no_worker_reason(submitted_at timestamptz) returns text language sql stable as $$
    select 'no worker has been heard of for 20 s; start one (opb-worker), or look at its log'
    where submitted_at < now() - interval '20 seconds'
      and not exists (select 1 from processes where kind = 'worker' and seen_at > now() - interval '20 seconds')
$$;
comment on function no_worker_reason is 'what a run submitted then waits for when no worker lives; null while one does';
