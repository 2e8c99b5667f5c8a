-- Alerts: rules on the runs of a schedule, and what they have said.
create type alert_kind as enum ('score_drop', 'cost', 'latency', 'failure_rate', 'budget');
create type alert_state as enum ('firing', 'resolved');

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

alter table firings add column checked_state run_state;
create index firings_unchecked_idx on firings (fired_at) where run_id is not null and (checked_state is null or checked_state = 'paused');
comment on column firings.checked_state is 'in which state of its run the alerts of the schedule were last checked; null before';

alter type mail_kind add value 'alert';
comment on type mail_kind is 'what a mail is about';
