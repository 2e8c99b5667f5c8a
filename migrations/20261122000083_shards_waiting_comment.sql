-- The index before cannot be commented on in the migration that makes it.
comment on index shards_waiting_idx is 'the waiting shards of each run, in order';
