-- Links that are sent by mail or printed by the operator, and whether a user has shown that an address is theirs.
alter table users add column email_verified_at timestamptz;
comment on column users.email_verified_at is 'when the user showed that the email address is theirs; null after it changed';

create type one_time_token_purpose as enum ('password_reset', 'email_verification');
create table one_time_tokens (
    id uuid primary key,
    purpose one_time_token_purpose not null,
    user_id bigint not null references users on delete cascade,
    secret_hash bytea not null,
    email text check (char_length(email) between 3 and 254),
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    check (purpose <> 'email_verification' or email is not null)
);
create unique index one_time_tokens_secret_hash_key on one_time_tokens (secret_hash);
create index one_time_tokens_user_id_idx on one_time_tokens (user_id);
create index one_time_tokens_expires_at_idx on one_time_tokens (expires_at);
comment on table one_time_tokens is 'secrets of links that work once; a used one is deleted';
comment on column one_time_tokens.secret_hash is 'SHA-256 of the token; it has 256 random bits, so a slow hash would add nothing';
comment on column one_time_tokens.email is 'where the link was sent; it works only while this is the address of the user. Null for a link that the operator printed';

alter type audit_event add value 'password_reset_requested';
alter type audit_event add value 'password_reset_link_printed';
alter type audit_event add value 'password_reset';
alter type audit_event add value 'email_verified';
