-- Schedules: runs that are submitted again and again, at the times of a cron expression.
create type catch_up as enum ('skip', 'once', 'all');
create type firing_state as enum ('submitted', 'refused', 'skipped');

create table schedules (
    id uuid primary key,
    owner_id bigint not null references users on delete cascade,
    name text not null check (char_length(name) between 1 and 100),
    cron text not null check (char_length(cron) between 9 and 200),
    time_zone text not null check (char_length(time_zone) between 1 and 100),
    request jsonb not null,
    catch_up catch_up not null,
    catch_up_limit integer not null check (catch_up_limit between 1 and 100),
    jitter_seconds integer not null check (jitter_seconds between 0 and 3600),
    last_due_at timestamptz not null default now(),
    next_at timestamptz,
    paused_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (paused_at is null or next_at is null)
);
create index schedules_owner_id_idx on schedules (owner_id, id desc);
create index schedules_next_at_idx on schedules (next_at) where next_at is not null;
comment on table schedules is 'recurring runs: what to submit, and when';
comment on column schedules.cron is 'five fields: minute, hour, day of the month, month, day of the week';
comment on column schedules.time_zone is 'an IANA name; the cron expression speaks of its wall clock';
comment on column schedules.request is 'the request of a run; a reference without a version means the newest one at that time';
comment on column schedules.catch_up is 'what becomes of ticks that were missed: none, the newest, or the newest catch_up_limit';
comment on column schedules.last_due_at is 'every tick up to this time is settled; ticks after it are computed, never stored ahead';
comment on column schedules.next_at is 'when a scheduler has to look next: the next tick and its jitter; null while paused, or when no tick is left';

create table firings (
    schedule_id uuid not null references schedules on delete cascade,
    due_at timestamptz not null,
    state firing_state not null,
    missed integer not null default 0 check (missed >= 0),
    run_id uuid unique references runs on delete set null,
    reason text not null default '' check (char_length(reason) <= 1000),
    fired_at timestamptz not null default now(),
    primary key (schedule_id, due_at)
);
create index firings_fired_at_idx on firings (fired_at);
comment on table firings is 'what became of a tick of a schedule; inserted with its run in one transaction, so each tick fires once';
comment on column firings.due_at is 'the time by the cron expression, without jitter';
comment on column firings.missed is 'so many ticks before this one were passed over by the catch-up policy';
comment on column firings.run_id is 'the run, if it was submitted and has not been deleted';
comment on column firings.reason is 'why nothing was submitted';
comment on column firings.fired_at is 'by the clock of the database, as every time here';
