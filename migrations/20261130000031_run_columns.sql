-- What a run found, column by column: its own table, whatever the leaderboards show.
create table run_columns (
    run_id uuid not null references runs on delete cascade,
    prompt_position smallint not null,
    model_position smallint not null,
    measured jsonb not null,
    primary key (run_id, prompt_position, model_position)
);
comment on table run_columns is 'a run that has ended, summed up by columns, so that a million evaluations are summed up once; gone when the run is opened again, and computed anew from its evaluations where it is missing';
comment on column run_columns.measured is 'score, cost, latency, part scores and errors of the column, as GET /api/v1/runs/{run}/columns shows them, without the names';

-- Errors are few, and whoever looks at a run asks for them first.
create index evaluations_errors_idx on evaluations (run_id, item_position, repeat, prompt_position, model_position) where state = 'error';
comment on index evaluations_errors_idx is 'the errors of a run, in the order in which evaluations are listed';
