-- What nobody asked to publish is private.
alter table prompts alter column visibility set default 'private';
alter table benchmarks alter column visibility set default 'private';
alter table collections alter column visibility set default 'private';
alter table runs alter column visibility set default 'private';
comment on column prompts.visibility is 'private unless its owner says otherwise';
comment on column benchmarks.visibility is 'private unless its owner says otherwise';
comment on column collections.visibility is 'private unless its owner says otherwise';
comment on column runs.visibility is 'private unless its owner says otherwise';
