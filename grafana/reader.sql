-- The role that Grafana reads with, and the views that it may read. It sees public leaderboards and Postgres' own
-- statistics, and nothing else: no prompt text, no output, no user, no credential.
--
-- Run it with scripts/grafana-reader as the owner of the tables, after every `opb migrate`; it may be run again at any time.
-- The role's password is in the environment, because everybody can read the words of a command in the list of processes.
\getenv password OPB_READER_PASSWORD

-- What is there already is no news.
set client_min_messages = warning;
begin;

select not exists (select 1 from pg_roles where rolname = 'opb_reader') as is_new \gset
\if :is_new
create role opb_reader;
\endif
alter role opb_reader with login nosuperuser nocreatedb nocreaterole noreplication connection limit 10 password :'password';
alter role opb_reader set default_transaction_read_only = on;
alter role opb_reader set statement_timeout = '15s';
alter role opb_reader set search_path = reader;
-- Sizes, activity and statistics of the whole server, for the dashboard about Postgres.
grant pg_read_all_stats to opb_reader;

create schema if not exists reader;
comment on schema reader is 'what the role opb_reader may read; made by grafana/reader.sql';

create or replace view reader.leaderboard with (security_barrier) as
select benchmarks.slug as benchmark,
       benchmark_versions.number as benchmark_version,
       prompts.slug as prompt,
       prompt_versions.number as prompt_version,
       providers.name || ':' || models.name as model,
       standings.simulated,
       standings.items,
       standings.evaluations,
       standings.errors,
       standings.score,
       standings.score_low,
       standings.score_high,
       (standings.figures ->> 'pass_rate')::float8 as pass_rate,
       standings.rank_low,
       standings.rank_high,
       standings.tie_group,
       standings.cost_per_1000_microusd / 1e6 as cost_per_1000_dollars,
       (standings.figures ->> 'latency_p50_ms')::float8 / 1e3 as latency_p50_seconds,
       standings.latency_p95_ms / 1e3 as latency_p95_seconds,
       standings.updated_at
from standings
join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
join prompt_versions on prompt_versions.id = standings.prompt_version_id
join prompts on prompts.id = prompt_versions.prompt_id
join models on models.id = standings.model_id
join providers on providers.id = models.provider_id
join runs on runs.id = standings.run_id
where standings.audience_id is null
  and runs.visibility = 'public' and runs.deleted_at is null
  and benchmarks.visibility = 'public' and benchmarks.deleted_at is null and benchmark_versions.withdrawn_at is null
  and not exists (select from hidden_columns hidden
                  where hidden.run_id = standings.run_id and hidden.prompt_version_id = standings.prompt_version_id
                    and hidden.model_id = standings.model_id)
  -- The same as is_public_run, written out: a view reads tables as its owner, and a function in it as its reader.
  and not exists (select from run_prompts
                  join prompt_versions versions on versions.id = run_prompts.prompt_version_id
                  join prompts parts on parts.id = versions.prompt_id
                  where run_prompts.run_id = runs.id
                    and (parts.visibility <> 'public' or parts.deleted_at is not null or versions.withdrawn_at is not null));
comment on view reader.leaderboard is 'public standings: score with its interval, rank, cost and latency';

create or replace view reader.runs with (security_barrier) as
select benchmarks.slug as benchmark,
       benchmark_versions.number as benchmark_version,
       runs.state::text as state,
       runs.planned,
       run_counts.recorded,
       run_counts.passed,
       run_counts.errors,
       run_counts.cost_microusd / 1e6 as cost_dollars,
       runs.created_at,
       runs.finished_at
from runs
join run_counts on run_counts.run_id = runs.id
join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
where runs.visibility = 'public' and runs.deleted_at is null
  and benchmarks.visibility = 'public' and benchmarks.deleted_at is null and benchmark_versions.withdrawn_at is null
  and not exists (select from run_prompts
                  join prompt_versions versions on versions.id = run_prompts.prompt_version_id
                  join prompts parts on parts.id = versions.prompt_id
                  where run_prompts.run_id = runs.id
                    and (parts.visibility <> 'public' or parts.deleted_at is not null or versions.withdrawn_at is not null));
comment on view reader.runs is 'public runs, without their names and owners';

create or replace view reader.tables as
select relname as table_name,
       n_live_tup as live_rows,
       n_dead_tup as dead_rows,
       pg_total_relation_size(relid) as size_bytes,
       pg_indexes_size(relid) as index_bytes,
       greatest(last_vacuum, last_autovacuum) as vacuumed_at,
       seq_scan as sequential_scans,
       idx_scan as index_scans
from pg_stat_user_tables
where schemaname in ('public', 'apalis');
comment on view reader.tables is 'size and state of every table';

revoke all on schema reader from public;
grant usage on schema reader to opb_reader;
grant select on all tables in schema reader to opb_reader;

commit;
