-- no-transaction
-- A worker that is free takes the first waiting shard of the run that is owed most.
create index concurrently if not exists shards_waiting_idx on shards (run_id, first_ordinal) where state = 'available';
