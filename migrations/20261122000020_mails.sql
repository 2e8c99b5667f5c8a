-- The outbox: mails that wait to be sent, whoever wrote them.
create type mail_state as enum ('waiting', 'sent', 'failed');
create type mail_kind as enum ('password_reset', 'password_changed', 'email_verification', 'email_changed');
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
