create function prompt_text(body jsonb) returns text immutable strict parallel safe language sql as $$
    select coalesce(body ->> 'text', (select string_agg(coalesce(part ->> 'text', part #>> '{}'), e'\n')
                                      from jsonb_path_query(body, 'lax $.messages[*].content[*]') as part
                                      where part ->> 'type' is distinct from 'image'))
$$;
comment on function prompt_text is 'what is searched and shown of a prompt''s body: its text, or those of its messages';

create or replace function index_prompt() returns trigger language plpgsql as $$
declare
    body_text text;
begin
    select prompt_text(body)
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
