-- Describes everything in the schema public, one line a thing, in an order that no history changes.
-- The words are chosen so that every Postgres from 15 to 18 says the same.
with
-- What extensions bring is theirs; sqlx's own table of applied migrations is no part of the schema.
foreign_things (class, id) as (
    select classid, objid from pg_depend where deptype = 'e'
    union all
    select 'pg_class'::regclass, oid from pg_class where relname like '\_sqlx\_migrations%'
),
tables as (
    select oid, relname, relkind, reloptions, relacl, relreplident
    from pg_class
    where relnamespace = 'public'::regnamespace
      and relkind in ('r', 'v', 'm', 'p', 'S')
      and not exists (select from foreign_things where class = 'pg_class'::regclass and id = pg_class.oid)
),
functions as (
    select *, pg_get_function_identity_arguments(oid) as arguments
    from pg_proc
    where pronamespace = 'public'::regnamespace
      and not exists (select from foreign_things where class = 'pg_proc'::regclass and id = pg_proc.oid)
),
lines (section, name, part, position, line) as (
    select 1, extname::text, 0, 0::bigint, format('extension %s', extname)
    from pg_extension
    where extname <> 'plpgsql'

    union all
    select 2, typname::text, 0, 0, format('type %s as enum (%s)%s', typname,
        (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum where enumtypid = pg_type.oid),
        ' -- ' || obj_description(oid, 'pg_type'))
    from pg_type
    where typnamespace = 'public'::regnamespace and typtype = 'e'

    union all
    select 3, relname::text, 0, 0, format('%s %s%s%s%s',
        case relkind when 'r' then 'table' when 'v' then 'view' when 'S' then 'sequence' else relkind::text end, relname,
        ' with ' || reloptions::text, ' grants ' || relacl::text, ' -- ' || obj_description(oid, 'pg_class'))
    from tables

    union all
    select 3, relname::text, 1, attnum, format('    %s %s%s%s%s%s%s', attname, format_type(atttypid, atttypmod),
        case when attnotnull then ' not null' end,
        case when attidentity <> '' then ' identity ' || attidentity::text
             when attgenerated <> '' then ' generated as ' || pg_get_expr(adbin, adrelid)
             else ' default ' || pg_get_expr(adbin, adrelid) end,
        case when attcollation <> typcollation then ' collate ' || (select collname from pg_collation where oid = attcollation) end,
        ' grants ' || attacl::text,
        ' -- ' || col_description(attrelid, attnum))
    from tables
    join pg_attribute on attrelid = tables.oid and attnum > 0 and not attisdropped
    join pg_type on pg_type.oid = atttypid
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where relkind <> 'S'

    -- Postgres 18 also lists what is not null, which the columns say already.
    union all
    select 3, relname::text, 2, 0, format('    constraint %s %s%s', conname, pg_get_constraintdef(pg_constraint.oid),
        ' -- ' || obj_description(pg_constraint.oid, 'pg_constraint'))
    from tables
    join pg_constraint on conrelid = tables.oid
    where contype not in ('n', 't')

    union all
    select 3, relname::text, 3, 0, format('    index %s%s', pg_get_indexdef(indexrelid),
        ' -- ' || obj_description(indexrelid, 'pg_class'))
    from tables
    join pg_index on indrelid = tables.oid

    union all
    select 3, relname::text, 4, 0, format('    trigger %s%s', pg_get_triggerdef(pg_trigger.oid),
        ' -- ' || obj_description(pg_trigger.oid, 'pg_trigger'))
    from tables
    join pg_trigger on tgrelid = tables.oid
    where not tgisinternal

    -- Since Postgres 16 a view names the tables of its columns less often.
    union all
    select 3, relname::text, 5, 0, regexp_replace(
        regexp_replace(pg_get_viewdef(tables.oid, true), '\m\w+\.(?=\w)', '', 'g'), '^', '    ', 'gn')
    from tables
    where relkind in ('v', 'm')

    union all
    select 4, proname::text, 0, 0, format(e'function %s(%s) returns %s language %s %s%s parallel %s%s%s%s\n%s', proname,
        arguments, pg_get_function_result(oid), (select lanname from pg_language where pg_language.oid = prolang),
        case provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
        case when proisstrict then ' strict' end,
        case proparallel when 's' then 'safe' when 'r' then 'restricted' else 'unsafe' end,
        case when prosecdef then ' security definer' end,
        ' grants ' || proacl::text,
        ' -- ' || obj_description(oid, 'pg_proc'),
        regexp_replace(btrim(coalesce(pg_get_function_sqlbody(oid), prosrc), e'\n'), '^', '    ', 'gn'))
    from functions
)
select line from lines order by section, name collate "C", part, position, line collate "C"
