-- "Did you mean": the slug that is most like one that was not found.
create index prompts_slug_trigrams_idx on prompts using gin (slug gin_trgm_ops) where deleted_at is null;
create index benchmarks_slug_trigrams_idx on benchmarks using gin (slug gin_trgm_ops);
