-- What costs nothing needs neither a budget nor a bound nor a quota.
alter table providers add column free boolean not null default false;
comment on column providers.free is 'models without a price cost nothing: set when the provider is added, by an administrator''s word or because it is a server on this machine or in a private network that asks for no credential';
update providers set free = true
where sealed_credential is null
  and base_url ~ '^https?://(localhost|127\.[0-9.]+|10\.[0-9.]+|192\.168\.[0-9.]+|172\.(1[6-9]|2[0-9]|3[01])\.[0-9.]+|\[::1\]|\[f[cd][0-9a-f:]+\])([:/]|$)';

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

create function run_costs(of_run uuid) returns boolean language sql stable as $$
    select exists(select 1 from run_models where run_id = of_run and model_costs(model_id))
$$;
comment on function run_costs is 'whether some model of the run costs money, or may';
