-- What makes the bank send something because a user asks for it now is counted: tests and replays of webhooks.
create table webhook_tries (
    user_id bigint primary key references users on delete cascade,
    began_at timestamptz not null,
    tries integer not null check (tries > 0)
);
comment on table webhook_tries is 'how many messages a user has asked for by tests and replays, within a minute';
comment on column webhook_tries.began_at is 'when the minute began';
comment on column webhook_tries.tries is 'tests and replays since then';
