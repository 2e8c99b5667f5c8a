-- no-transaction
-- A shard looks all its questions up at once.
create index concurrently if not exists evaluations_answer_key_idx on evaluations (answer_key) where answer_key is not null;
