-- Which workers and schedulers live: each says so every few seconds.
create type process_kind as enum ('worker', 'scheduler');
create table processes (
    id uuid primary key,
    kind process_kind not null,
    version text not null,
    host text not null,
    key_variables text[] not null default '{}',
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
comment on table processes is 'workers and schedulers that were heard of lately; only a sign of life, nothing depends on it being complete';
comment on column processes.kind is 'what the process does';
comment on column processes.version is 'the version of its program';
comment on column processes.host is 'the name of its machine or container';
comment on column processes.key_variables is 'the names of the environment variables with operator''s credentials that it has; never their values';
comment on column processes.started_at is 'when it was first heard of';
comment on column processes.seen_at is 'when it was last heard of; after twenty seconds it counts as gone';
create index processes_seen_at on processes (kind, seen_at);

create function no_worker_reason(submitted_at timestamptz) returns text language sql stable as $$
    select 'no worker has been heard of for 20 s; start one (opb-worker), or look at its log'
    where submitted_at < now() - interval '20 seconds'
      and not exists (select 1 from processes where kind = 'worker' and seen_at > now() - interval '20 seconds')
$$;
comment on function no_worker_reason is 'what a run submitted then waits for when no worker lives; null while one does';
