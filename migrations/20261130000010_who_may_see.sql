-- Who may see a thing, in one place. core/src/auth/access.rs says the same in Rust.
-- The words are ordered: least(a.visibility, b.visibility) is the narrower of two.
create function can_see(visibility visibility, owner_id bigint, viewer_id bigint, is_admin boolean)
    returns boolean language sql immutable parallel safe as $$
    select visibility = 'public'
        or owner_id is not distinct from viewer_id
        or (visibility = 'unlisted' and viewer_id is not null)
        or is_admin
$$;
comment on function can_see is
    'true when the viewer (null for a caller without a login) may read a thing whose address they know: its owner and administrators always, everybody with a login when it is unlisted, everybody when it is public';

create function is_listed(visibility visibility, owner_id bigint, viewer_id bigint)
    returns boolean language sql immutable parallel safe as $$
    select visibility = 'public' or owner_id = viewer_id
$$;
comment on function is_listed is
    'true when lists and searches show a thing to the viewer: public things and their own; null counts as false, so that indexes can serve it';
