-- Fair share: how much of the workers a run is owed; and why a run waits that nobody has paused.
alter table runs
    add column priority smallint not null default 0 check (priority between -5 and 5),
    add column waiting_reason text,
    add column waiting_until timestamptz;
comment on column runs.priority is 'each step doubles the share of the workers that the run gets';
comment on column runs.waiting_reason is 'what its evaluations wait for, such as a provider that is down';
comment on column runs.waiting_until is 'workers say it again before; after this moment waiting_reason means nothing';
