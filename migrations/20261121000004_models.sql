-- Providers and models: where models are called, and with which parameters.
create type provider_kind as enum ('openai', 'simulated');

create table providers (
    id uuid primary key,
    name text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
    kind provider_kind not null,
    base_url text,
    sealed_credential bytea,
    credential_hint text,
    created_at timestamptz not null default now(),
    check ((kind = 'simulated') = (base_url is null))
);
create unique index providers_name_key on providers (name);
comment on table providers is 'where models are called';
comment on column providers.sealed_credential is 'XChaCha20-Poly1305, bound to the provider''s id; never leaves the database unsealed but to a worker';
comment on column providers.credential_hint is 'the last four characters of the credential';

create table models (
    id uuid primary key,
    provider_id uuid not null references providers on delete cascade,
    name text not null check (char_length(name) between 1 and 200),
    parameters jsonb not null default '{}' check (jsonb_typeof(parameters) = 'object'),
    created_at timestamptz not null default now()
);
create unique index models_identity_key on models (provider_id, name, parameters);
comment on table models is 'a model at a provider with parameters; other parameters are another model';

create table model_prices (
    provider_id uuid not null references providers on delete cascade,
    model_name text not null,
    input_microusd_per_mtok bigint not null check (input_microusd_per_mtok >= 0),
    output_microusd_per_mtok bigint not null check (output_microusd_per_mtok >= 0),
    updated_at timestamptz not null default now(),
    primary key (provider_id, model_name)
);
comment on table model_prices is 'micro-dollars per million tokens; a model without a row has an unknown cost, which is not zero';
