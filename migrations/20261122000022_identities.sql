-- Users of OpenID Connect providers, and logins through one that wait for their client to collect them.
create table identities (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    provider text not null check (provider ~ '^[a-z0-9-]{1,32}$'),
    issuer text not null check (char_length(issuer) <= 2000),
    subject text not null check (char_length(subject) between 1 and 255),
    email text check (char_length(email) <= 254),
    last_login_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index identities_subject_key on identities (issuer, subject);
create index identities_user_id_idx on identities (user_id);
comment on table identities is 'who a user is at OpenID Connect providers';
comment on column identities.provider is 'what the operator called the provider when the identity was linked';
comment on column identities.subject is 'what the issuer calls its user; never reused by it, unlike an email address';
comment on column identities.email is 'what the issuer said last; for its owner to recognise, nothing is decided by it';

create table oidc_logins (
    id uuid primary key,
    code_hash bytea not null,
    browser_hash bytea not null,
    provider text not null check (provider ~ '^[a-z0-9-]{1,32}$'),
    issuer text not null check (char_length(issuer) <= 2000),
    subject text not null check (char_length(subject) between 1 and 255),
    email text check (char_length(email) <= 254),
    email_verified boolean not null,
    name text check (char_length(name) <= 64),
    may_register boolean not null,
    expires_at timestamptz not null
);
create unique index oidc_logins_code_hash_key on oidc_logins (code_hash);
create index oidc_logins_expires_at_idx on oidc_logins (expires_at);
comment on table oidc_logins is 'logins that a provider has confirmed and whose client has not yet come for its tokens; minutes old at most, a used one is deleted';
comment on column oidc_logins.code_hash is 'SHA-256 of the code that the browser was sent back with; it works once';
comment on column oidc_logins.browser_hash is 'SHA-256 of the secret in the cookie of the browser that began the login: no other browser can use the code';
comment on column oidc_logins.may_register is 'whether the provider and the registration mode let an unknown user in';

alter type audit_event add value 'identity_linked';
alter type audit_event add value 'identity_removed';
