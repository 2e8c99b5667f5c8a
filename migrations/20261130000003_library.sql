-- The prompt library: prompts, their immutable versions, and what people do with them together.
create type prompt_kind as enum ('text', 'chat');
create type change_request_state as enum ('open', 'accepted', 'declined', 'withdrawn');

create table categories (
    slug text primary key check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 100),
    parent text references categories check (parent <> slug),
    created_at timestamptz not null default now()
);
create index categories_parent_idx on categories (parent);
comment on table categories is 'a tree of subjects that prompts are filed under; moderators change it';
comment on column categories.parent is 'null for a category at the top';

insert into categories (slug, title, parent) values
    ('software', 'Software', null),
    ('coding', 'Writing code', 'software'),
    ('code-review', 'Reviewing code', 'software'),
    ('debugging', 'Finding faults', 'software'),
    ('data-and-sql', 'Data and SQL', 'software'),
    ('operations', 'Running systems', 'software'),
    ('writing', 'Writing', null),
    ('editing', 'Editing and style', 'writing'),
    ('fiction', 'Fiction', 'writing'),
    ('translation', 'Translation', 'writing'),
    ('summarising', 'Summarising', 'writing'),
    ('business', 'Business', null),
    ('marketing', 'Marketing', 'business'),
    ('sales', 'Sales', 'business'),
    ('customer-support', 'Customer support', 'business'),
    ('careers', 'Careers and interviews', 'business'),
    ('finance', 'Finance', 'business'),
    ('research', 'Research', null),
    ('analysis', 'Analysis', 'research'),
    ('extraction', 'Extraction', 'research'),
    ('classification', 'Classification', 'research'),
    ('reasoning', 'Reasoning and mathematics', 'research'),
    ('education', 'Education', null),
    ('tutoring', 'Tutoring', 'education'),
    ('languages', 'Learning languages', 'education'),
    ('creative', 'Creative', null),
    ('images', 'Images', 'creative'),
    ('games', 'Games and role play', 'creative'),
    ('music', 'Music', 'creative'),
    ('life', 'Everyday life', null),
    ('health', 'Health and fitness', 'life'),
    ('food', 'Food', 'life'),
    ('travel', 'Travel', 'life'),
    ('agents', 'Agents and tools', null),
    ('evaluation', 'Judging and evaluation', 'agents'),
    ('safety', 'Safety', 'agents'),
    ('other', 'Other', null);

create table prompts (
    id uuid primary key,
    slug text not null check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and char_length(slug) <= 80),
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '',
    category text references categories on update cascade,
    tags text[] not null default '{}' check (cardinality(tags) <= 20),
    language text check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' and char_length(language) <= 35),
    licence text check (char_length(licence) between 1 and 100),
    attribution text not null default '' check (char_length(attribution) <= 500),
    visibility visibility not null default 'private',
    owner_id bigint not null references users,
    offered_to bigint references users on delete set null,
    forked_from uuid,
    kind prompt_kind not null default 'text',
    latest_version integer not null default 0,
    head tsvector not null default '',
    document tsvector not null default '',
    archived_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
-- A slug that is taken says nothing about what is private: a private thing's slug is taken for its owner alone, and all
-- that others may see share one namespace. The first index also finds prompts by their slug.
create unique index prompts_owner_slug_key on prompts (slug, owner_id);
create unique index prompts_slug_key on prompts (slug) where visibility <> 'private';
comment on index prompts_owner_slug_key is 'a user has one prompt of a slug, deleted ones included';
comment on index prompts_slug_key is 'unlisted and public prompts share one namespace';
-- "Did you mean": the slug that is most like one that was not found.
create index prompts_slug_trigrams_idx on prompts using gin (slug gin_trgm_ops) where deleted_at is null;
-- Readers are many and writers few: a search must never wade through words that wait to be indexed.
create index prompts_document_idx on prompts using gin (document) with (fastupdate = off);
create index prompts_head_idx on prompts using gin (head) with (fastupdate = off);
create index prompts_tags_idx on prompts using gin (tags) with (fastupdate = off);
create index prompts_updated_at_idx on prompts (updated_at, id);
create index prompts_title_idx on prompts (lower(title) collate "C", id);
create index prompts_category_idx on prompts (category, id);
create index prompts_language_idx on prompts (language, id);
create index prompts_licence_idx on prompts (licence, id);
create index prompts_owner_id_idx on prompts (owner_id, id);
create index prompts_forked_from_idx on prompts (forked_from);
create index prompts_offered_to_idx on prompts (offered_to) where offered_to is not null;
comment on table prompts is 'a library entry; its text lives in prompt_versions';
comment on column prompts.category is 'the one category it is filed under; null when nobody has filed it yet';
comment on column prompts.tags is 'lower-case words with dashes, sorted, each once';
comment on column prompts.language is 'BCP 47 tag of the language that the prompt is written in';
comment on column prompts.licence is 'SPDX expression';
comment on column prompts.attribution is 'who wrote it and where it came from, when that is not the owner';
comment on column prompts.visibility is 'private unless its owner says otherwise';
comment on column prompts.offered_to is 'the user who may take the prompt over';
comment on column prompts.forked_from is 'the version of another prompt that this one began as';
comment on column prompts.kind is 'the kind of the newest version';
comment on column prompts.latest_version is 'the number of the newest version; 0 only while the prompt is being made';
comment on column prompts.head is 'what search ranks by: title (A), tags (B), description (C)';
comment on column prompts.document is 'what search finds by: head, and the newest version''s text (D)';
comment on column prompts.archived_at is 'since when it is in no list and takes no versions';
comment on column prompts.deleted_at is 'since when it is gone for everybody; the row stays because results point at its versions';

create table prompt_versions (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    number integer not null check (number >= 1),
    body jsonb not null,
    variables jsonb not null default '[]',
    parameters jsonb not null default '{}',
    content_hash bytea not null,
    size_bytes bigint not null default 0,
    note text not null default '',
    author_id bigint not null references users,
    withdrawn_at timestamptz,
    created_at timestamptz not null default now()
);
create unique index prompt_versions_number_key on prompt_versions (prompt_id, number);
create unique index prompt_versions_content_key on prompt_versions (prompt_id, content_hash);
create index prompt_versions_author_id_idx on prompt_versions (author_id);
create index prompt_versions_withdrawn_idx on prompt_versions (withdrawn_at) where withdrawn_at is not null;
comment on table prompt_versions is 'an immutable numbered text or chat template; never updated';
comment on column prompt_versions.body is '{"kind":"text","text":…} or {"kind":"chat","messages":[{"role":…,"content":…}]}; a content is a text, or a list of {"type":"text","text":…} and {"type":"image","url":…}';
comment on column prompt_versions.variables is 'declared variables: name, type, description, default';
comment on column prompt_versions.parameters is 'the model parameters that the author recommends';
comment on column prompt_versions.content_hash is
    'SHA-256 of the canonical JSON of the body, followed by that of variables and parameters when there are any';
comment on column prompt_versions.size_bytes is 'bytes of body, variables and parameters as JSON';
comment on column prompt_versions.withdrawn_at is 'since when it takes no runs and is read only by those whose runs rest on it; erased once none does';

-- The one reference that goes in a circle: a fork names a version, and a version its prompt.
alter table prompts
    add constraint prompts_forked_from_fkey foreign key (forked_from) references prompt_versions on delete set null;

create table prompt_aliases (
    prompt_id uuid not null references prompts on delete cascade,
    name text not null check (name ~ '^[a-z][a-z0-9-]{0,39}$' and name <> 'latest'),
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    updated_at timestamptz not null default now(),
    primary key (prompt_id, name)
);
create index prompt_aliases_prompt_version_id_idx on prompt_aliases (prompt_version_id);
comment on table prompt_aliases is 'movable names such as production; latest is computed and never stored';

create table prompt_alias_changes (
    id bigint generated always as identity primary key,
    prompt_id uuid not null references prompts on delete cascade,
    name text not null,
    prompt_version_id uuid references prompt_versions on delete cascade,
    user_id bigint references users on delete set null,
    at timestamptz not null default now()
);
create index prompt_alias_changes_prompt_id_idx on prompt_alias_changes (prompt_id, id);
create index prompt_alias_changes_prompt_version_id_idx on prompt_alias_changes (prompt_version_id);
create index prompt_alias_changes_user_id_idx on prompt_alias_changes (user_id);
comment on table prompt_alias_changes is 'every move of an alias, oldest first';
comment on column prompt_alias_changes.prompt_version_id is 'where the alias pointed from then on; null when it was removed';

create table change_requests (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    author_id bigint not null references users on delete cascade,
    base_version_id uuid not null references prompt_versions on delete cascade,
    title text not null check (char_length(title) between 1 and 200),
    note text not null default '' check (char_length(note) <= 2000),
    body jsonb not null,
    variables jsonb not null default '[]',
    parameters jsonb not null default '{}',
    state change_request_state not null default 'open',
    decided_by bigint references users on delete set null,
    decided_at timestamptz,
    reason text not null default '' check (char_length(reason) <= 2000),
    prompt_version_id uuid references prompt_versions on delete set null,
    created_at timestamptz not null default now(),
    check ((state = 'open') = (decided_at is null))
);
create index change_requests_prompt_id_idx on change_requests (prompt_id, id);
create index change_requests_author_id_idx on change_requests (author_id, id);
create index change_requests_base_version_id_idx on change_requests (base_version_id);
create index change_requests_decided_by_idx on change_requests (decided_by) where decided_by is not null;
create index change_requests_prompt_version_id_idx on change_requests (prompt_version_id) where prompt_version_id is not null;
comment on table change_requests is 'versions that somebody proposes for a prompt of somebody else';
comment on column change_requests.base_version_id is 'the version that the author started from';
comment on column change_requests.prompt_version_id is 'the version that an accepted request became';

create table change_request_comments (
    id uuid primary key,
    change_request_id uuid not null references change_requests on delete cascade,
    author_id bigint not null references users on delete cascade,
    text text not null check (char_length(text) between 1 and 10000),
    created_at timestamptz not null default now()
);
create index change_request_comments_request_idx on change_request_comments (change_request_id, id);
create index change_request_comments_author_id_idx on change_request_comments (author_id);
comment on table change_request_comments is 'the discussion of a change request; Markdown, stored as written';

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

create table prompt_words (
    word text collate "C" primary key
);
create index prompt_words_trigrams_idx on prompt_words using gin (word gin_trgm_ops);
comment on table prompt_words is
    'words that titles, tags and descriptions of public prompts have or had; a misspelt word is compared with them';

create trigger prompt_versions_immutable before update on prompt_versions
    for each row execute function refuse_update_of_version();

create function note_newest_version() returns trigger language plpgsql as $$
begin
    update prompts
    set latest_version = new.number, kind = (new.body ->> 'kind')::prompt_kind, updated_at = now()
    where id = new.prompt_id;
    return null;
end $$;
comment on function note_newest_version is 'keeps latest_version and kind of a prompt equal to its newest version';
create trigger prompt_versions_newest after insert on prompt_versions
    for each row execute function note_newest_version();

create function prompt_text(body jsonb) returns text immutable strict parallel safe language sql as $$
    select coalesce(body ->> 'text', (select string_agg(coalesce(part ->> 'text', part #>> '{}'), e'\n')
                                      from jsonb_path_query(body, 'lax $.messages[*].content[*]') as part
                                      where part ->> 'type' is distinct from 'image'))
$$;
comment on function prompt_text is 'what is searched and shown of a prompt''s body: its text, or those of its messages';

-- The parser of the text search splits words at underscores, but takes the square of their number for it: a minute for a prompt
-- of 64 kB.
create function searchable(written text) returns text immutable strict parallel safe language sql as $$
    select translate(written, '_', ' ')
$$;
comment on function searchable is 'a text with the same words for the text search, whatever joins them';

create function index_prompt() returns trigger language plpgsql as $$
declare
    body_text text;
begin
    select prompt_text(body)
    into body_text
    from prompt_versions
    where prompt_id = new.id and number = new.latest_version;
    new.head := setweight(to_tsvector('english', searchable(new.title)), 'A')
        || setweight(to_tsvector('english', searchable(array_to_string(new.tags, ' '))), 'B')
        || setweight(to_tsvector('english', searchable(new.description)), 'C');
    new.document := new.head || setweight(to_tsvector('english', searchable(coalesce(body_text, ''))), 'D');
    if new.visibility = 'public' and new.latest_version > 0 then
        -- In one order, so that two transactions never wait for each other's words.
        insert into prompt_words (word)
        select distinct lexeme
        from unnest(to_tsvector('simple', searchable(concat_ws(' ', new.title, array_to_string(new.tags, ' '), new.description))))
        where char_length(lexeme) between 3 and 40 and lexeme ~ '^[[:alpha:]]+$'
        order by lexeme
        on conflict do nothing;
    end if;
    return new;
end $$;
comment on function index_prompt is 'keeps what search reads equal to what the prompt says';
create trigger prompts_index before insert or update of title, tags, description, visibility, latest_version on prompts
    for each row execute function index_prompt();
