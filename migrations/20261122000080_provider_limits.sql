-- Limits of providers: the most that all workers together may ask of a provider, or of one of its models.
create table provider_limits (
    provider_id uuid not null references providers on delete cascade,
    model_name text not null default '' check (char_length(model_name) <= 200),
    requests_per_minute integer check (requests_per_minute >= 1),
    tokens_per_minute bigint check (tokens_per_minute >= 1),
    concurrent_calls integer check (concurrent_calls >= 1),
    daily_microusd bigint check (daily_microusd >= 0),
    requests_until timestamptz,
    tokens_until timestamptz,
    spent_on date,
    spent_microusd bigint not null default 0 check (spent_microusd >= 0),
    updated_at timestamptz not null default now(),
    primary key (provider_id, model_name),
    check (num_nonnulls(requests_per_minute, tokens_per_minute, concurrent_calls, daily_microusd) >= 1)
);
comment on table provider_limits is 'the most that all workers together may ask of a provider; the time and the money until which it is given away';
comment on column provider_limits.model_name is 'the name after the colon; empty for all models of the provider together';
comment on column provider_limits.daily_microusd is 'the most that calls may cost in a day of UTC';
comment on column provider_limits.requests_until is 'every moment before this one is given to some worker''s requests';
comment on column provider_limits.tokens_until is 'every moment before this one is given to some worker''s tokens';
comment on column provider_limits.spent_on is 'the day of UTC that spent_microusd counts';
comment on column provider_limits.spent_microusd is 'spent, or given to workers to spend; what a worker does not spend comes back';

create table call_shares (
    provider_id uuid not null,
    model_name text not null,
    worker_id uuid not null,
    wanted integer not null check (wanted >= 0),
    held integer not null check (held >= 0),
    valid_until timestamptz not null,
    primary key (provider_id, model_name, worker_id),
    foreign key (provider_id, model_name) references provider_limits on delete cascade
);
comment on table call_shares is 'how many of a limit''s concurrent calls each worker process holds';
comment on column call_shares.wanted is 'calls that run or wait in that process';
comment on column call_shares.held is 'calls that it may run at once; the sum of the valid rows never exceeds the limit';
comment on column call_shares.valid_until is 'a share that is not renewed runs out';
