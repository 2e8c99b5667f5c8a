alter table runs add column request_id uuid;
comment on column runs.request_id is 'the request that submitted it, as the logs of the API have it; null when a schedule did';
