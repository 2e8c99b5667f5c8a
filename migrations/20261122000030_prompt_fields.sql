-- What a prompt says about itself, its categories and tags, and what search reads.
create extension if not exists pg_trgm;

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

create type prompt_kind as enum ('text', 'chat');

alter table prompts
    add column category text references categories on update cascade,
    add column tags text[] not null default '{}' check (cardinality(tags) <= 20),
    add column language text check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' and char_length(language) <= 35),
    add column licence text check (char_length(licence) between 1 and 100),
    add column attribution text not null default '' check (char_length(attribution) <= 500),
    add column kind prompt_kind not null default 'text',
    add column latest_version integer not null default 0,
    add column forked_from uuid references prompt_versions on delete set null,
    add column offered_to bigint references users on delete set null,
    add column archived_at timestamptz,
    add column deleted_at timestamptz,
    add column updated_at timestamptz not null default now(),
    add column head tsvector not null default '',
    add column document tsvector not null default '';
comment on column prompts.category is 'the one category it is filed under; null when nobody has filed it yet';
comment on column prompts.tags is 'lower-case words with dashes, sorted, each once';
comment on column prompts.language is 'BCP 47 tag of the language that the prompt is written in';
comment on column prompts.licence is 'SPDX expression';
comment on column prompts.attribution is 'who wrote it and where it came from, when that is not the owner';
comment on column prompts.kind is 'the kind of the newest version';
comment on column prompts.latest_version is 'the number of the newest version; 0 only while the prompt is being made';
comment on column prompts.forked_from is 'the version of another prompt that this one began as';
comment on column prompts.offered_to is 'the user who may take the prompt over';
comment on column prompts.archived_at is 'since when it is in no list and takes no versions';
comment on column prompts.deleted_at is 'since when it is gone for everybody; the row stays because results point at its versions';
comment on column prompts.head is 'what search ranks by: title (A), tags (B), description (C)';
comment on column prompts.document is 'what search finds by: head, and the newest version''s text (D)';

alter table prompt_versions
    add column variables jsonb not null default '[]',
    add column parameters jsonb not null default '{}';
comment on column prompt_versions.variables is 'declared variables: name, type, description, default';
comment on column prompt_versions.parameters is 'the model parameters that the author recommends';
comment on column prompt_versions.content_hash is
    'SHA-256 of the canonical JSON of the body, followed by that of variables and parameters when there are any';

create table prompt_words (
    word text collate "C" primary key
);
create index prompt_words_trigrams_idx on prompt_words using gin (word gin_trgm_ops);
comment on table prompt_words is
    'words that titles, tags and descriptions of public prompts have or had; a misspelt word is compared with them';

create function index_prompt() returns trigger language plpgsql as $$
declare
    body_text text;
begin
    select coalesce(body ->> 'text', (select string_agg(message ->> 'content', e'\n')
                                      from jsonb_array_elements(body -> 'messages') as message))
    into body_text
    from prompt_versions
    where prompt_id = new.id and number = new.latest_version;
    new.head := setweight(to_tsvector('english', new.title), 'A')
        || setweight(to_tsvector('english', array_to_string(new.tags, ' ')), 'B')
        || setweight(to_tsvector('english', new.description), 'C');
    new.document := new.head || setweight(to_tsvector('english', coalesce(body_text, '')), 'D');
    if new.visibility = 'public' and new.latest_version > 0 then
        -- In one order, so that two transactions never wait for each other's words.
        insert into prompt_words (word)
        select distinct lexeme
        from unnest(to_tsvector('simple', concat_ws(' ', new.title, array_to_string(new.tags, ' '), new.description)))
        where char_length(lexeme) between 3 and 40 and lexeme ~ '^[[:alpha:]]+$'
        order by lexeme
        on conflict do nothing;
    end if;
    return new;
end $$;
comment on function index_prompt is 'keeps what search reads equal to what the prompt says';
create trigger prompts_index before insert or update of title, tags, description, visibility, latest_version on prompts
    for each row execute function index_prompt();

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

update prompts
set latest_version = newest.number, kind = (newest.body ->> 'kind')::prompt_kind, updated_at = newest.created_at
from (select distinct on (prompt_id) prompt_id, number, body, created_at
      from prompt_versions
      order by prompt_id, number desc) as newest
where newest.prompt_id = prompts.id;

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
