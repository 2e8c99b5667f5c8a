-- Accounts: who may do what. The ids of users are integers because the inherited APIs show integers.
create type user_role as enum ('user', 'moderator', 'admin');

create table users (
    id bigint generated always as identity primary key,
    username text not null check (username ~ '^[A-Za-z0-9_.-]{3,32}$'),
    email text not null check (char_length(email) between 3 and 254),
    password_hash text,
    role user_role not null default 'user',
    disabled_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index users_username_key on users (lower(username));
create unique index users_email_key on users (lower(email));
comment on table users is 'people and machines that may log in';
comment on column users.username is 'never holds an @, so one login field can take a username or an email address';
comment on column users.password_hash is 'argon2id in PHC format; null for an account that only uses API keys';

create table api_keys (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    name text not null,
    prefix text not null,
    secret_hash bytea not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index api_keys_secret_hash_key on api_keys (secret_hash);
create index api_keys_user_id_idx on api_keys (user_id);
comment on table api_keys is 'long-lived secrets for programs; shown once, stored as a hash';
comment on column api_keys.prefix is 'the first characters of the key, so that its owner can tell keys apart';
comment on column api_keys.secret_hash is 'SHA-256 of the key; the key has 256 random bits, so a slow hash would add nothing';
