-- What leaves the bank by itself: mails, webhooks, and the outboxes of both.
create type mail_state as enum ('waiting', 'sent', 'failed');
create type mail_kind as enum ('password_reset', 'password_changed', 'email_verification', 'email_changed', 'alert');
comment on type mail_kind is 'what a mail is about';
create type webhook_event as enum ('run.finished', 'budget.exhausted', 'alert.firing', 'alert.resolved', 'webhook.test');
create type webhook_format as enum ('standard', 'slack');
create type delivery_state as enum ('waiting', 'delivered', 'failed');

create table mails (
    id uuid primary key,
    kind mail_kind not null,
    recipient text not null check (char_length(recipient) between 3 and 254),
    subject text not null check (char_length(subject) between 1 and 200),
    sealed_text bytea,
    state mail_state not null default 'waiting',
    attempts integer not null default 0 check (attempts >= 0),
    next_attempt_at timestamptz not null default now(),
    give_up_at timestamptz not null,
    last_error text check (char_length(last_error) <= 500),
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    check ((state = 'waiting') = (sealed_text is not null)),
    check ((state = 'waiting') = (ended_at is null))
);
create index mails_waiting_idx on mails (next_attempt_at) where state = 'waiting';
create index mails_ended_at_idx on mails (ended_at) where state <> 'waiting';
comment on table mails is 'the outbox: mails that wait to be sent, and for a week what became of them';
comment on column mails.subject is 'readable, so it never holds a secret';
comment on column mails.sealed_text is 'sealed with the master key, because links in it are secrets; erased when the mail is sent or given up';
comment on column mails.attempts is 'counted when an attempt begins, so a crash in the middle of one counts too';
comment on column mails.next_attempt_at is 'moved ahead when an attempt begins: what crashes is tried again then';
comment on column mails.give_up_at is 'after this the mail is of no use any more';
comment on column mails.last_error is 'what the mail server said; never the text of the mail';

create table webhooks (
    id uuid primary key,
    owner_id bigint not null references users on delete cascade,
    name text not null check (char_length(name) between 1 and 100),
    host text not null,
    sealed_url bytea not null,
    sealed_secret bytea not null,
    format webhook_format not null,
    events webhook_event[] not null check (cardinality(events) between 1 and 10),
    busy_until timestamptz not null default now(),
    failures integer not null default 0 check (failures >= 0),
    failing_since timestamptz,
    disabled_at timestamptz,
    disabled_reason text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((failures = 0) = (failing_since is null))
);
create index webhooks_owner_id_idx on webhooks (owner_id, id desc);
create unique index webhooks_owner_id_name_key on webhooks (owner_id, name);
comment on table webhooks is 'addresses that are told what happens to the things of their owner';
comment on column webhooks.host is 'scheme and host of the address, which people see; the rest of it can be a secret';
comment on column webhooks.sealed_url is 'sealed with the master key: whoever knows an address such as one of Slack''s may write there';
comment on column webhooks.sealed_secret is 'what deliveries are signed with, sealed with the master key';
comment on column webhooks.busy_until is 'nothing is sent before: an attempt is under way, or the receiver is given a rest';
comment on column webhooks.failures is 'attempts that failed since the last one that went well';

create table webhook_deliveries (
    id uuid primary key,
    webhook_id uuid not null references webhooks on delete cascade,
    event webhook_event not null,
    summary text not null,
    data jsonb not null,
    state delivery_state not null default 'waiting',
    attempts integer not null default 0 check (attempts >= 0),
    attempts_left integer not null check (attempts_left >= 0),
    next_attempt_at timestamptz not null default now(),
    ended_at timestamptz,
    created_at timestamptz not null default now(),
    check ((state = 'waiting') = (ended_at is null))
);
create index webhook_deliveries_webhook_id_idx on webhook_deliveries (webhook_id, id desc);
create index webhook_deliveries_waiting_idx on webhook_deliveries (webhook_id, next_attempt_at) where state = 'waiting';
create index webhook_deliveries_ended_at_idx on webhook_deliveries (ended_at) where state <> 'waiting';
comment on table webhook_deliveries is 'the outbox: one message to one webhook, inserted in the transaction of what it tells';
comment on column webhook_deliveries.data is 'what the message is about, as REST shows it';
comment on column webhook_deliveries.attempts is 'counted when an attempt begins, so a crash in the middle of one counts too';
comment on column webhook_deliveries.attempts_left is 'at zero it is given up; a replay gives it all of them again';
comment on column webhook_deliveries.next_attempt_at is 'moved ahead when an attempt begins: what crashes is tried again then';

create table webhook_attempts (
    delivery_id uuid not null references webhook_deliveries on delete cascade,
    number integer not null check (number >= 1),
    status smallint,
    error text check (char_length(error) <= 500),
    duration_ms integer,
    ended_at timestamptz not null default now(),
    primary key (delivery_id, number)
);
comment on table webhook_attempts is 'the log: how each attempt of a delivery ended';
comment on column webhook_attempts.status is 'the HTTP status of the answer, if there was one; its body is never read';
comment on column webhook_attempts.error is 'why the attempt failed; null when it did not';
comment on column webhook_attempts.duration_ms is 'milliseconds that the attempt took; null where the owner of the webhook may learn no more than whether it failed';

-- What makes the bank send something because a user asks for it now is counted.
create table webhook_tries (
    user_id bigint primary key references users on delete cascade,
    began_at timestamptz not null,
    tries integer not null check (tries > 0)
);
comment on table webhook_tries is 'how many messages a user has asked for by tests and replays, within a minute';
comment on column webhook_tries.began_at is 'when the minute began';
comment on column webhook_tries.tries is 'tests and replays since then';

-- However many webhooks a user has, one receiver is not flooded by what they do.
create table webhook_hours (
    owner_id bigint not null references users on delete cascade,
    host text not null,
    hour timestamptz not null,
    messages bigint not null check (messages > 0),
    primary key (owner_id, host, hour)
);
create index webhook_hours_hour_idx on webhook_hours (hour);
comment on table webhook_hours is 'how many messages a user''s webhooks had for a host in an hour, those that were not sent included';
