//! What is a user's in the library.

use super::reader;

reader!(
    /// Prompts with all of their versions, or where to get these when they are large.
    prompts,
    r#"-- own_data::prompts
        select id as "key!",
               to_jsonb(prompts) - array['owner_id', 'offered_to', 'head', 'document'] || jsonb_build_object('versions',
                   case when (select sum(size_bytes) from prompt_versions where prompt_id = prompts.id) > 16777216
                        then '"/api/v1/prompts/export"'::jsonb else
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'body', body, 'variables', variables,
                               'parameters', parameters, 'note', note, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at) order by number), '[]')
                    from prompt_versions where prompt_id = prompts.id) end) as "value!"
        from prompts where owner_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// Versions that the user wrote of other users' prompts.
    versions_elsewhere,
    r#"-- own_data::versions_elsewhere
        select prompt_versions.id as "key!",
               jsonb_build_object('prompt', slug, 'number', number, 'body', body, 'note', note,
                   'created_at', prompt_versions.created_at) as "value!"
        from prompt_versions join prompts on prompts.id = prompt_id
        where author_id = $1 and owner_id <> $1
          and ($2::uuid is null or prompt_versions.id > $2)
        order by prompt_versions.id
        limit $3"#
);

reader!(
    /// Change requests that the user has made.
    proposed,
    r#"-- own_data::proposed
        select id as "key!",
               jsonb_build_object('id', id, 'title', title, 'note', note, 'body', body,
                    'variables', variables, 'parameters', parameters, 'state', state, 'created_at', created_at) as "value!"
        from change_requests where author_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// What the user has said to change requests.
    request_comments,
    r#"-- own_data::request_comments
        select id as "key!",
               jsonb_build_object('change_request', change_request_id, 'text', text, 'created_at', created_at) as "value!"
        from change_request_comments where author_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// Saved searches.
    saved_searches,
    r#"-- own_data::saved_searches
        select id as "key!",
               jsonb_build_object('name', name, 'query', query, 'created_at', created_at) as "value!"
        from saved_searches where user_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);
