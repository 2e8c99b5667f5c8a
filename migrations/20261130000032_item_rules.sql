-- Faults of items are found before a call is paid: when a version is published, and for older versions when a run is submitted.
alter table benchmark_versions add column item_rules smallint not null default 0;
comment on column benchmark_versions.item_rules is 'the rules that every item was checked by when the version was published, as a number that grows with each new rule; a run checks the items of versions of older rules itself';
