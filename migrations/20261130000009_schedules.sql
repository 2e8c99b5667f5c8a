-- Schedules: runs that are submitted again and again, at the times of a cron expression; and alerts on those runs.
create type catch_up as enum ('skip', 'once', 'all');
create type firing_state as enum ('submitted', 'refused', 'skipped');
create type alert_kind as enum ('score_drop', 'cost', 'latency', 'failure_rate', 'budget');
create type alert_state as enum ('firing', 'resolved');

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
create unique index schedules_owner_id_name_key on schedules (owner_id, name);
create index schedules_next_at_idx on schedules (next_at) where next_at is not null;
comment on table schedules is 'recurring runs: what to submit, and when';
comment on column schedules.cron is 'five fields: minute, hour, day of the month, month, day of the week';
comment on column schedules.time_zone is 'an IANA name; the cron expression speaks of its wall clock';
comment on column schedules.request is 'the request of a run, with ids in the place of slugs, which may change hands; a reference without a version means the newest one at that time';
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
    checked_state run_state,
    primary key (schedule_id, due_at)
);
create index firings_fired_at_idx on firings (fired_at);
create index firings_unchecked_idx on firings (fired_at) where run_id is not null and (checked_state is null or checked_state = 'paused');
comment on table firings is 'what became of a tick of a schedule; inserted with its run in one transaction, so each tick fires once';
comment on column firings.due_at is 'the time by the cron expression, without jitter';
comment on column firings.missed is 'so many ticks before this one were passed over by the catch-up policy';
comment on column firings.run_id is 'the run, if it was submitted and has not been deleted';
comment on column firings.reason is 'why nothing was submitted';
comment on column firings.fired_at is 'by the clock of the database, as every time here';
comment on column firings.checked_state is 'in which state of its run the alerts of the schedule were last checked; null before';

create table alerts (
    id uuid primary key,
    owner_id bigint not null references users on delete cascade,
    schedule_id uuid not null references schedules on delete cascade,
    name text not null check (char_length(name) between 1 and 100),
    kind alert_kind not null,
    threshold double precision not null check (threshold >= 0),
    false_alarm_runs integer not null check (false_alarm_runs between 100 and 1000000),
    mail boolean not null,
    silenced_until timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index alerts_owner_id_idx on alerts (owner_id, id desc);
create unique index alerts_owner_id_name_key on alerts (owner_id, name);
create index alerts_schedule_id_idx on alerts (schedule_id);
comment on table alerts is 'rules on the runs of a schedule';
comment on column alerts.threshold is 'score_drop: the smallest drop that matters, as a share; cost: micro-dollars of a run; latency: milliseconds at the 95th percentile; failure_rate and budget: a share';
comment on column alerts.false_alarm_runs is 'score_drop: noise alone makes a column fire once in so many runs at most, on average';

create table alert_subjects (
    alert_id uuid not null references alerts on delete cascade,
    subject text not null check (char_length(subject) <= 200),
    label text not null,
    firing_since timestamptz,
    summary text not null default '',
    course_since timestamptz,
    primary key (alert_id, subject)
);
comment on table alert_subjects is 'what an alert knows of each column that it watches, or of the run as a whole';
comment on column alert_subjects.subject is 'ids of prompt and model; empty for the run as a whole';
comment on column alert_subjects.firing_since is 'null while all is well';
comment on column alert_subjects.course_since is 'score_drop: the due time of the first run of the course that is watched; null for all runs';

create table alert_events (
    id uuid primary key,
    alert_id uuid not null references alerts on delete cascade,
    subject text not null,
    label text not null,
    state alert_state not null,
    summary text not null,
    data jsonb not null,
    run_id uuid references runs on delete set null,
    silenced boolean not null,
    mail_waits boolean not null,
    created_at timestamptz not null default now()
);
create index alert_events_alert_id_idx on alert_events (alert_id, id desc);
create index alert_events_mail_idx on alert_events (id) where mail_waits;
create index alert_events_run_id_idx on alert_events (run_id);
comment on table alert_events is 'the history of alerts: when each began to fire and when it was resolved';
comment on column alert_events.mail_waits is 'true until whoever carries mail has written one';
