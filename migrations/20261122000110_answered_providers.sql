alter table providers add column answered_at timestamptz;
comment on column providers.answered_at is 'when its present address first gave any HTTP answer; null while it never has, so that runs do not wait long for an address that is mistyped';
