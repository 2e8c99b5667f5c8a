comment on column prompt_versions.body is '{"kind":"text","text":…} or {"kind":"chat","messages":[{"role":…,"content":…}]}; a content is a text, or a list of {"type":"text","text":…} and {"type":"image","url":…}';

-- As before, but of a content that is a list only the texts are searched.
create or replace function index_prompt() returns trigger language plpgsql as $$
declare
    body_text text;
begin
    select coalesce(body ->> 'text', (select string_agg(coalesce(part ->> 'text', part #>> '{}'), e'\n')
                                      from jsonb_path_query(body, 'lax $.messages[*].content[*]') as part
                                      where part ->> 'type' is distinct from 'image'))
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

alter table model_prices add column max_image_tokens integer check (max_image_tokens >= 1);
comment on column model_prices.max_image_tokens is 'the most tokens that the model counts for one image; null for the bound of the provider''s kind';
create or replace view current_prices as
select provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok, cached_input_microusd_per_mtok,
       reasoning_microusd_per_mtok, max_output_tokens, source, updated_at, max_image_tokens
from model_prices
union all
select providers.id, list_prices.model_name, list_prices.input_microusd_per_mtok, list_prices.output_microusd_per_mtok,
       list_prices.cached_input_microusd_per_mtok, list_prices.reasoning_microusd_per_mtok,
       list_prices.max_output_tokens, list_prices.source, list_prices.updated_at, null
from providers join list_prices on list_prices.list = providers.price_list
where not exists (select 1 from model_prices
                  where model_prices.provider_id = providers.id and model_prices.model_name = list_prices.model_name);
