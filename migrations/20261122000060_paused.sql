-- Pausing: a value of an enum cannot be used in the transaction that adds it, so it has a migration of its own.
alter type run_state add value 'paused' before 'finishing';
