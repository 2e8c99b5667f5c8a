-- Providers and models: where models are called, with which parameters, at which price, and how often.
create type provider_kind as enum (
    'openai', 'simulated', 'openai_responses', 'anthropic', 'gemini', 'azure_openai', 'bedrock', 'http', 'echo'
);
create type price_source as enum ('shipped', 'litellm', 'hand');

create table providers (
    id uuid primary key,
    name text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
    kind provider_kind not null,
    base_url text,
    sealed_credential bytea,
    credential_hint text,
    settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
    price_list text,
    free boolean not null default false,
    answered_at timestamptz,
    created_at timestamptz not null default now(),
    constraint providers_base_url_check check ((kind in ('simulated', 'echo')) = (base_url is null))
);
create unique index providers_name_key on providers (name);
comment on table providers is 'where models are called';
comment on column providers.sealed_credential is 'XChaCha20-Poly1305, bound to the provider''s id; never leaves the database unsealed but to a worker';
comment on column providers.credential_hint is 'the last four characters of the credential';
comment on column providers.settings is 'what the kind needs beyond address and credential; holds no secret';
comment on column providers.price_list is 'whose published prices apply, by kind and address; null for none';
comment on column providers.free is 'models without a price cost nothing: set when the provider is added, by an administrator''s word or because it is a server on this machine or in a private network that asks for no credential';
comment on column providers.answered_at is 'when its present address first gave any HTTP answer; null while it never has, so that runs do not wait long for an address that is mistyped';

create table models (
    id uuid primary key,
    provider_id uuid not null references providers on delete cascade,
    name text not null check (char_length(name) between 1 and 200),
    parameters jsonb not null default '{}' check (jsonb_typeof(parameters) = 'object'),
    created_at timestamptz not null default now()
);
-- Parameters may be larger than an entry of an index: their hash stands in it for them.
create unique index models_identity_key on models (provider_id, name, md5(parameters::text));
comment on index models_identity_key is 'a model is its provider, its name and its parameters';
comment on table models is 'a model at a provider with parameters; other parameters are another model';

create table model_prices (
    provider_id uuid not null references providers on delete cascade,
    model_name text not null,
    input_microusd_per_mtok bigint not null check (input_microusd_per_mtok >= 0),
    output_microusd_per_mtok bigint not null check (output_microusd_per_mtok >= 0),
    cached_input_microusd_per_mtok bigint,
    reasoning_microusd_per_mtok bigint check (reasoning_microusd_per_mtok >= 0),
    max_output_tokens integer check (max_output_tokens >= 1),
    max_image_tokens integer check (max_image_tokens >= 1),
    source price_source not null default 'hand',
    updated_at timestamptz not null default now(),
    primary key (provider_id, model_name),
    constraint model_prices_cached_check
        check (cached_input_microusd_per_mtok between 0 and input_microusd_per_mtok)
);
comment on table model_prices is 'what an administrator set, or the simulation, in micro-dollars per million tokens; goes before list_prices; a model without a row in either has an unknown cost, which is not zero';
comment on column model_prices.cached_input_microusd_per_mtok is 'input tokens that the provider had in its cache; null for the price of every other';
comment on column model_prices.reasoning_microusd_per_mtok is 'output tokens that were spent on reasoning; null for the price of every other';
comment on column model_prices.max_output_tokens is 'the longest answer that the model can give; null when unknown';
comment on column model_prices.max_image_tokens is 'the most tokens that the model counts for one image; null for the bound of the provider''s kind';

create table list_prices (
    list text not null,
    model_name text not null check (char_length(model_name) between 1 and 200),
    input_microusd_per_mtok bigint not null check (input_microusd_per_mtok >= 0),
    output_microusd_per_mtok bigint not null check (output_microusd_per_mtok >= 0),
    cached_input_microusd_per_mtok bigint check (cached_input_microusd_per_mtok between 0 and input_microusd_per_mtok),
    reasoning_microusd_per_mtok bigint check (reasoning_microusd_per_mtok >= 0),
    max_output_tokens integer check (max_output_tokens >= 1),
    source price_source not null,
    updated_at timestamptz not null default now(),
    primary key (list, model_name)
);
comment on table list_prices is 'published prices, shipped or imported, in micro-dollars per million tokens, for all providers with that price_list';
comment on column list_prices.source is 'shipped prices follow the program''s version; an import goes before them';

create view current_prices as
select provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok, cached_input_microusd_per_mtok,
       reasoning_microusd_per_mtok, max_output_tokens, max_image_tokens, source, updated_at
from model_prices
union all
select providers.id, list_prices.model_name, list_prices.input_microusd_per_mtok, list_prices.output_microusd_per_mtok,
       list_prices.cached_input_microusd_per_mtok, list_prices.reasoning_microusd_per_mtok,
       list_prices.max_output_tokens, null, list_prices.source, list_prices.updated_at
from providers join list_prices on list_prices.list = providers.price_list
where not exists (select 1 from model_prices
                  where model_prices.provider_id = providers.id and model_prices.model_name = list_prices.model_name);
comment on view current_prices is 'the price of each model that has one: what was set by hand, or else what is published';

create function model_costs(of_model uuid) returns boolean language sql stable as $$
    select case
               when providers.kind in ('simulated', 'echo') then false
               when prices.provider_id is null then not providers.free
               else prices.input_microusd_per_mtok > 0 or prices.output_microusd_per_mtok > 0
                    or coalesce(prices.cached_input_microusd_per_mtok, 0) > 0
                    or coalesce(prices.reasoning_microusd_per_mtok, 0) > 0
           end
    from models
    join providers on providers.id = models.provider_id
    left join current_prices as prices on prices.provider_id = models.provider_id and prices.model_name = models.name
    where models.id = of_model
$$;
comment on function model_costs is 'whether calls of the model cost money, or may: false for what is simulated, for a price of zero, and without a price at a provider that is free';

create table provider_limits (
    provider_id uuid not null references providers on delete cascade,
    model_name text not null default '' check (char_length(model_name) <= 200),
    requests_per_minute integer check (requests_per_minute >= 1),
    tokens_per_minute bigint check (tokens_per_minute >= 1),
    concurrent_calls integer check (concurrent_calls >= 1),
    daily_microusd bigint check (daily_microusd >= 0),
    call_timeout_seconds integer check (call_timeout_seconds between 1 and 86400),
    requests_until timestamptz,
    tokens_until timestamptz,
    spent_on date,
    spent_microusd bigint not null default 0 check (spent_microusd >= 0),
    updated_at timestamptz not null default now(),
    primary key (provider_id, model_name),
    check (num_nonnulls(requests_per_minute, tokens_per_minute, concurrent_calls, daily_microusd, call_timeout_seconds) >= 1)
);
comment on table provider_limits is 'the most that all workers together may ask of a provider; the time and the money until which it is given away';
comment on column provider_limits.model_name is 'the name after the colon; empty for all models of the provider together';
comment on column provider_limits.daily_microusd is 'the most that calls may cost in a day of UTC';
comment on column provider_limits.call_timeout_seconds is 'how long a call may take; null for what the operator set for all providers';
comment on column provider_limits.requests_until is 'every moment before this one is given to some worker''s requests';
comment on column provider_limits.tokens_until is 'every moment before this one is given to some worker''s tokens';
comment on column provider_limits.spent_on is 'the day of UTC that spent_microusd counts';
comment on column provider_limits.spent_microusd is 'spent, or given to workers to spend; what a worker does not spend comes back';

create table learned_concurrency (
    provider_id uuid not null references providers on delete cascade,
    model_name text not null check (char_length(model_name) between 1 and 200),
    calls integer not null check (calls >= 1),
    is_limit boolean not null,
    learned_at timestamptz not null default now(),
    primary key (provider_id, model_name)
);
comment on table learned_concurrency is 'how many concurrent calls of one worker process a model was found to answer; the next process begins with it';
comment on column learned_concurrency.is_limit is 'more were refused, or waited in a queue of the server';

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
