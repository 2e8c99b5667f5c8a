-- Housekeeping looks at every run that has not ended; a paused one is among them.
create index runs_unfinished_idx on runs (id) where finished_at is null;
comment on index runs_unfinished_idx is 'what housekeeping looks at: runs that are queued, running, paused or finishing';
