-- What users who are no administrators may take of a bank without paying: free evaluations, open runs, stored bytes.

create table quotas (
    singleton boolean primary key default true check (singleton),
    free_evaluations bigint not null check (free_evaluations >= 0),
    open_runs bigint not null check (open_runs >= 0),
    stored_bytes bigint not null check (stored_bytes >= 0)
);
comment on table quotas is 'what every user who is no administrator may take, unless the user''s own row says otherwise; one row, written by the API at its start from its settings; without it nothing is bounded';
comment on column quotas.singleton is 'always true: there is one row';
comment on column quotas.free_evaluations is 'evaluations on models that cost nothing, in 24 hours';
comment on column quotas.open_runs is 'runs that have not ended';
comment on column quotas.stored_bytes is 'bytes of benchmarks, prompts and outputs, as JSON or text before compression';

alter table users
    add column free_evaluations bigint check (free_evaluations >= 0),
    add column open_runs bigint check (open_runs >= 0),
    add column stored_bytes bigint check (stored_bytes >= 0);
comment on column users.free_evaluations is 'the user''s own quota instead of that in quotas; null for none';
comment on column users.open_runs is 'the user''s own quota instead of that in quotas; null for none';
comment on column users.stored_bytes is 'the user''s own quota instead of that in quotas; null for none';

create table free_evaluations (
    user_id bigint not null references users on delete cascade,
    hour timestamptz not null,
    evaluations bigint not null check (evaluations >= 0),
    primary key (user_id, hour)
);
comment on table free_evaluations is 'how many evaluations on models that cost nothing a user asked for, by the hour; a book of its own, so that neither deleting nor retrying a run changes what was asked';
comment on column free_evaluations.user_id is 'who asked';
comment on column free_evaluations.hour is 'the beginning of the hour; hours that are a day past are deleted when the user asks again';
comment on column free_evaluations.evaluations is 'what was submitted, extended, retried or rescored in this hour';

alter table benchmark_versions add column size_bytes bigint not null default 0;
comment on column benchmark_versions.size_bytes is 'bytes of scorers and items as JSON; 0 for versions from before this was counted';

alter table prompt_versions add column size_bytes bigint not null default 0;
comment on column prompt_versions.size_bytes is 'bytes of body, variables and parameters as JSON; 0 for versions from before this was counted';

alter table runs add column output_bytes bigint not null default 0;
comment on column runs.output_bytes is 'bytes of all recorded outputs; 0 once they are pruned, and for what was recorded before this was counted';
