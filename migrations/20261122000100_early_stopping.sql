-- Early stopping: what can no longer change the order of a run's columns is not asked any more.
alter table runs
    add column stop_early boolean not null default false,
    add column next_look bigint not null default 0,
    add column settled integer not null default 0 check (settled >= 0),
    add column skipped bigint not null default 0 check (skipped >= 0),
    add constraint runs_counted_check check (recorded + skipped <= planned);
comment on column runs.stop_early is 'are columns whose place among the others is decided not asked any more?';
comment on column runs.next_look is 'how many evaluations are recorded when the columns are compared next';
comment on column runs.settled is 'how many rows of settled_columns the run has; workers see by it that there are more';
comment on column runs.skipped is 'evaluations that are not asked any more, counted when their shard is done';

create table settled_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_position smallint not null,
    model_position smallint not null,
    from_item integer not null check (from_item >= 0),
    primary key (run_id, prompt_position, model_position)
);
comment on table settled_columns is 'columns of runs that stop early whose place among the others is decided';
comment on column settled_columns.from_item is 'this item of the column and those after it are not asked any more';

alter table standings add column stopped_early boolean not null default false;
comment on column standings.stopped_early is 'true when not every evaluation of the column was asked, because its place was decided';
