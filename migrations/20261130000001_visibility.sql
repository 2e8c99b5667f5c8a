-- What every other file rests on: who may see a thing, and what never changes.

-- Misspelt words and slugs are compared by their trigrams.
create extension if not exists pg_trgm;

-- The words are ordered: least(a.visibility, b.visibility) is the narrower of two.
create type visibility as enum ('private', 'unlisted', 'public');

-- Who may see a thing, in one place. core/src/auth/access.rs says the same in Rust.
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

create function can_see_part(visibility visibility, owner_id bigint, is_deleted boolean, is_withdrawn boolean,
        run_owner_id bigint, viewer_id bigint, is_admin boolean)
    returns boolean language sql immutable parallel safe as $$
    select is_admin
        or owner_id is not distinct from viewer_id
        or (can_see(visibility, owner_id, viewer_id, false) and not is_deleted
            and (not is_withdrawn or run_owner_id is not distinct from viewer_id))
$$;
comment on function can_see_part is
    'true when the viewer may see a benchmark or a prompt as a part of a run; what is withdrawn stays readable for the owner of a run that rests on it, what is deleted does not';

create function refuse_update() returns trigger language plpgsql as $$
begin
    raise exception '% rows never change', tg_table_name using errcode = 'restrict_violation';
end $$;
comment on function refuse_update is 'keeps rows immutable, whatever the code above does';

create function refuse_update_of_version() returns trigger language plpgsql as $$
declare
    changing text[] := array['withdrawn_at', 'size_bytes', 'item_rules'];
begin
    if new.content_hash is null then
        changing := changing || text 'content_hash';
    end if;
    if to_jsonb(old) - changing is distinct from to_jsonb(new) - changing then
        raise exception '% rows never change', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
comment on function refuse_update_of_version is 'keeps versions immutable; they can only be withdrawn and come back, with their size counted anew, be checked by newer rules, and lose their hash when they are erased';
