-- Each recorded result looked its run up once more, which was a third of what Postgres did for it. The lock on the shard
-- keeps the run meanwhile: a run cannot be deleted before its shards, and nothing is recorded without a shard.
-- squawk-ignore ban-drop-constraint
alter table evaluations drop constraint evaluations_run_id_fkey;
create function delete_evaluations() returns trigger language plpgsql as $$
begin
    delete from evaluations where run_id = old.id;
    return null;
end $$;
create trigger runs_delete_evaluations after delete on runs for each row execute function delete_evaluations();

-- Housekeeping looks for old answers every few seconds; pages without a summary would be read each time.
alter index kept_answers_kept_at set (autosummarize = on);
