-- Runs get a short number beside their id, which people can read, say and type.
alter table runs add column number bigint generated always as identity;
create unique index runs_number_key on runs (number);
comment on column runs.number is 'a short number for people, in the order of submission; never used again';

-- The ids of runs begin with their time, so people shorten them to their ends. An id's characters are 0-9, a-f and the
-- dash: whatever begins with some of them lies between these and the same with a `g`.
create index runs_id_end_idx on runs ((reverse(id::text)) collate "C");
comment on index runs_id_end_idx is 'finds runs by the end of their id';

-- How long a run took is what its owner's clock saw, not the time between its first and its last result.
alter table runs add column active_since timestamptz not null default now();
update runs set active_since = created_at;
comment on column runs.active_since is 'when the run was submitted, or last resumed, retried or extended: from here on its owner has waited';
