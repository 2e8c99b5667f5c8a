-- Ordinary users do not learn how long an address around the bank took to refuse a message.
alter table webhook_attempts alter column duration_ms drop not null;
comment on column webhook_attempts.duration_ms is 'milliseconds that the attempt took; null where the owner of the webhook may learn no more than whether it failed';
