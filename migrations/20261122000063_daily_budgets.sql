-- Quotas: what a user may spend of the operator's money in a day.
alter table users add column daily_budget_microusd bigint check (daily_budget_microusd >= 0);
comment on column users.daily_budget_microusd is 'what the runs of 24 hours may cost; null for no bound for administrators, and for the setting of the server for others';
create index runs_owner_finished_idx on runs (owner_id, finished_at);
