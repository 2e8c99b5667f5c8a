-- Profiles: what a user shows of themselves.
create table profiles (
    user_id bigint primary key references users on delete cascade,
    display_name text not null default '' check (char_length(display_name) <= 80),
    bio text not null default '' check (char_length(bio) <= 2000),
    is_public boolean not null default true,
    shows_activity boolean not null default true,
    shows_favourites boolean not null default false,
    updated_at timestamptz not null default now()
);
comment on table profiles is 'a user without a row has the defaults';
comment on column profiles.is_public is 'false: to others the profile is not there';
comment on column profiles.shows_activity is 'contributions, reputation and badges are shown to others';
comment on column profiles.shows_favourites is 'the list of favourites is shown to others';
create index if not exists prompts_owner_id_idx on prompts (owner_id);
create index if not exists prompt_versions_author_id_idx on prompt_versions (author_id);
create index if not exists benchmarks_owner_id_idx on benchmarks (owner_id);
