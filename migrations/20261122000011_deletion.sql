-- The row of a deleted user stays, so its foreign keys never act. This does for them what they say.
create function erase_what_goes_with_user(gone bigint) returns void language plpgsql as $$
declare
    link record;
begin
    for link in
        select conrelid::regclass as child, attname as column_name, confdeltype = 'c' as cascades
        from pg_constraint
        join pg_attribute on attrelid = conrelid and attnum = conkey[1]
        where contype = 'f' and confrelid = 'users'::regclass and confdeltype in ('c', 'n') and conparentid = 0
    loop
        if link.cascades then
            execute format('delete from %s where %I = $1', link.child, link.column_name) using gone;
        else
            execute format('update %s set %I = null where %I = $1', link.child, link.column_name, link.column_name) using gone;
        end if;
    end loop;
end
$$;
comment on function erase_what_goes_with_user is 'deletes rows that refer to the user with `on delete cascade`, and forgets the user in those with `on delete set null`';
