-- Searches that a user wants to ask again.
create table saved_searches (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    name text not null check (char_length(name) between 1 and 100),
    query jsonb not null,
    created_at timestamptz not null default now()
);
create unique index saved_searches_name_key on saved_searches (user_id, name);
comment on table saved_searches is 'searches of the library by name, for their user only';
comment on column saved_searches.query is 'the parameters of list_prompts, without cursor and limit';
