-- Favourites, comments with their moderation, and collections.
create table favourites (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    prompt_id uuid not null references prompts on delete cascade,
    created_at timestamptz not null default now()
);
create unique index favourites_user_prompt_key on favourites (user_id, prompt_id);
create index favourites_user_idx on favourites (user_id, id desc);
create index favourites_prompt_id_idx on favourites (prompt_id);
comment on table favourites is 'prompts that a user keeps at hand';

create function count_favourite() returns trigger language plpgsql as $$
begin
    update prompt_ranks
    set favourites = favourites + case tg_op when 'INSERT' then 1 else -1 end
    where prompt_id = coalesce(new.prompt_id, old.prompt_id);
    return null;
end $$;
comment on function count_favourite is 'moves a prompt''s counter with every favourite that comes or goes';
create trigger favourites_count after insert or delete on favourites for each row execute function count_favourite();

create table comments (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    parent_id uuid,
    author_id bigint references users on delete set null,
    body text not null check (char_length(body) <= 10000),
    created_at timestamptz not null default now(),
    edited_at timestamptz,
    deleted_at timestamptz,
    hidden_at timestamptz,
    hidden_by bigint references users on delete set null,
    hidden_reason text check (char_length(hidden_reason) between 1 and 500),
    unique (id, prompt_id),
    foreign key (parent_id, prompt_id) references comments (id, prompt_id) on delete cascade,
    check ((deleted_at is null) = (body <> '')),
    check ((hidden_at is null) = (hidden_reason is null))
);
create index comments_prompt_idx on comments (prompt_id, id desc) where parent_id is null;
create index comments_parent_idx on comments (parent_id, id);
create index comments_author_idx on comments (author_id, created_at);
comment on table comments is 'what people say about a prompt: Markdown, kept as it was written, served as data';
comment on column comments.parent_id is 'the comment that this one answers; an answer has no answers of its own';
comment on column comments.author_id is 'null when the author has left';
comment on column comments.deleted_at is 'a deleted comment keeps its place, because others may have answered it, and loses its text';
comment on column comments.hidden_reason is 'why a moderator hid it; shown in its place';

create function empty_orphaned_comment() returns trigger language plpgsql as $$
begin
    if new.author_id is null and old.author_id is not null then
        new.body := '';
        new.deleted_at := coalesce(new.deleted_at, now());
    end if;
    return new;
end $$;
comment on function empty_orphaned_comment is 'who leaves takes their words along: whatever sets author_id to null, this empties the comment';
create trigger comments_empty_orphaned before update of author_id on comments
    for each row execute function empty_orphaned_comment();

create type report_reason as enum ('spam', 'abuse', 'off_topic', 'unlawful', 'other');
create table comment_reports (
    comment_id uuid not null references comments on delete cascade,
    reporter_id bigint not null references users on delete cascade,
    reason report_reason not null,
    note text not null default '' check (char_length(note) <= 1000),
    created_at timestamptz not null default now(),
    resolved_at timestamptz,
    primary key (comment_id, reporter_id)
);
create index comment_reports_open_idx on comment_reports (comment_id) where resolved_at is null;
create index comment_reports_reporter_idx on comment_reports (reporter_id, created_at);
comment on table comment_reports is 'what readers want a moderator to look at; one report per reader and comment';
comment on column comment_reports.resolved_at is 'when a moderator decided about the comment';

create table collections (
    id uuid primary key,
    owner_id bigint not null references users on delete cascade,
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '' check (char_length(description) <= 10000),
    visibility visibility not null default 'public',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index collections_owner_idx on collections (owner_id, id desc);
comment on table collections is 'prompts that a user picked and put into an order';

create table collection_prompts (
    collection_id uuid not null references collections on delete cascade,
    prompt_id uuid not null references prompts on delete cascade,
    position integer not null check (position >= 0),
    primary key (collection_id, prompt_id),
    unique (collection_id, position)
);
create index collection_prompts_prompt_id_idx on collection_prompts (prompt_id);
comment on table collection_prompts is 'the prompts of a collection; readers see only those that are public or their own';
