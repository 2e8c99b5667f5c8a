-- Budgets: the most that a run may cost, kept by reserving money before every call.
alter table runs
    add column budget_microusd bigint check (budget_microusd >= 0),
    add column reserved_microusd bigint not null default 0 check (reserved_microusd >= 0),
    add column unaccounted_microusd bigint not null default 0 check (unaccounted_microusd >= 0),
    add constraint runs_budget_check
        check (budget_microusd is null or spend_microusd + unaccounted_microusd + reserved_microusd <= budget_microusd);
comment on column runs.budget_microusd is 'the most that the run may spend; null for no bound';
comment on column runs.reserved_microusd is 'what the shards at work may still spend: the bounds of their calls';
comment on column runs.unaccounted_microusd is 'bounds of calls that may have been paid for without telling their cost, such as those of a killed worker';

alter table shards add column reserved_microusd bigint not null default 0 check (reserved_microusd >= 0);
comment on column shards.reserved_microusd is 'the part of runs.reserved_microusd that this shard holds';

alter table model_prices add column max_output_tokens integer check (max_output_tokens >= 1);
comment on column model_prices.max_output_tokens is 'the longest answer that the model can give; null when unknown';
