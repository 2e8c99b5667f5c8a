//! What a user has done among the others.

use super::reader;

reader!(
    /// Votes for and against prompts.
    votes,
    r#"-- own_data::votes
        select prompt_id as "key!",
               jsonb_build_object('prompt', slug, 'vote', direction, 'cast_at', cast_at) as "value!"
        from prompt_votes join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)
          and ($2::uuid is null or prompt_id > $2)
        order by prompt_id
        limit $3"#
);

reader!(
    /// Prompts that the user keeps at hand.
    favourites,
    r#"-- own_data::favourites
        select favourites.id as "key!",
               jsonb_build_object('prompt', slug, 'created_at', favourites.created_at) as "value!"
        from favourites join prompts on prompts.id = prompt_id
        where user_id = $1 and deleted_at is null and can_see(visibility, owner_id, $1, false)
          and ($2::uuid is null or favourites.id > $2)
        order by favourites.id
        limit $3"#
);

reader!(
    /// Comments on prompts.
    comments,
    r#"-- own_data::comments
        select comments.id as "key!",
               jsonb_build_object('id', comments.id, 'reply_to', parent_id, 'body', body,
                   'created_at', comments.created_at, 'edited_at', edited_at, 'deleted_at', comments.deleted_at,
                   'hidden_reason', hidden_reason,
                   'prompt', case when prompts.deleted_at is null and can_see(visibility, owner_id, $1, false) then slug end) as "value!"
        from comments join prompts on prompts.id = prompt_id
        where author_id = $1
          and ($2::uuid is null or comments.id > $2)
        order by comments.id
        limit $3"#
);

reader!(
    /// Reports of other users' comments.
    reports,
    r#"-- own_data::reports
        select comment_id as "key!",
               jsonb_build_object('comment', comment_id, 'reason', reason, 'note', note,
                   'created_at', created_at, 'resolved_at', resolved_at) as "value!"
        from comment_reports where reporter_id = $1
          and ($2::uuid is null or comment_id > $2)
        order by comment_id
        limit $3"#
);

reader!(
    /// Collections, with those of their prompts that the user may see.
    collections,
    r#"-- own_data::collections
        select id as "key!",
               to_jsonb(collections) - 'owner_id' || jsonb_build_object('prompts',
                   (select coalesce(jsonb_agg(slug order by position), '[]')
                    from collection_prompts join prompts on prompts.id = prompt_id
                    where collection_id = collections.id and prompts.deleted_at is null and can_see(prompts.visibility, prompts.owner_id, $1, false))) as "value!"
        from collections where owner_id = $1
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// Blind choices between two answers.
    preferences,
    r#"-- own_data::preferences
        select id as "key!",
               jsonb_build_object('id', id, 'choice', choice, 'created_at', created_at, 'decided_at', decided_at) as "value!"
        from preferences where user_id = $1 and choice is not null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);
