-- Providers of every kind, published prices, and the tokens that are priced apart.
alter table providers
    add column settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
    add column price_list text,
    drop constraint providers_check,
    add constraint providers_base_url_check check ((kind in ('simulated', 'echo')) = (base_url is null));
comment on column providers.settings is 'what the kind needs beyond address and credential; holds no secret';
comment on column providers.price_list is 'whose published prices apply, by kind and address; null for none';
update providers set price_list = 'openai' where base_url = 'https://api.openai.com/v1';

create type price_source as enum ('shipped', 'litellm', 'hand');

alter table model_prices
    add column cached_input_microusd_per_mtok bigint,
    add column reasoning_microusd_per_mtok bigint check (reasoning_microusd_per_mtok >= 0),
    add column source price_source not null default 'hand',
    add constraint model_prices_cached_check
        check (cached_input_microusd_per_mtok between 0 and input_microusd_per_mtok);
comment on table model_prices is 'what an administrator set, or the simulation, in micro-dollars per million tokens; goes before list_prices; a model without a row in either has an unknown cost, which is not zero';
comment on column model_prices.cached_input_microusd_per_mtok is 'input tokens that the provider had in its cache; null for the price of every other';
comment on column model_prices.reasoning_microusd_per_mtok is 'output tokens that were spent on reasoning; null for the price of every other';

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
       reasoning_microusd_per_mtok, max_output_tokens, source, updated_at
from model_prices
union all
select providers.id, list_prices.model_name, list_prices.input_microusd_per_mtok, list_prices.output_microusd_per_mtok,
       list_prices.cached_input_microusd_per_mtok, list_prices.reasoning_microusd_per_mtok,
       list_prices.max_output_tokens, list_prices.source, list_prices.updated_at
from providers join list_prices on list_prices.list = providers.price_list
where not exists (select 1 from model_prices
                  where model_prices.provider_id = providers.id and model_prices.model_name = list_prices.model_name);
comment on view current_prices is 'the price of each model that has one: what was set by hand, or else what is published';

alter table evaluations
    add column cached_input_tokens integer,
    add column reasoning_tokens integer;
comment on column evaluations.cached_input_tokens is 'the part of input_tokens that the provider had in its cache; null when it did not say';
comment on column evaluations.reasoning_tokens is 'the part of output_tokens that was spent on reasoning; null when it did not say';
