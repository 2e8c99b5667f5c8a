-- Who may see a run: nobody who may not see every part of it now. Runs are private unless said otherwise, can be made
-- public later, and can be deleted; what results of others rest on is withdrawn instead of erased.
alter table runs alter column visibility set default 'private';
comment on column runs.visibility is 'what its owner wished; whoever reads a run must be allowed to see its benchmark and its prompts, too: can_see_run';

alter table runs add column deleted_at timestamptz;
alter table runs add constraint runs_deleted_check check (deleted_at is null or finished_at is not null);
create index runs_deleted_idx on runs (deleted_at) where deleted_at is not null;
alter table runs add column erased_at timestamptz;
comment on column runs.erased_at is 'when the evaluations of a deleted run were erased';
comment on column runs.deleted_at is 'since when it is gone for everybody; housekeeping erases its evaluations, and the row once its money counts in no quota';

alter table benchmarks add column deleted_at timestamptz;
create index benchmarks_deleted_idx on benchmarks (deleted_at) where deleted_at is not null;
comment on column benchmarks.deleted_at is 'since when it is in no list and takes no runs; housekeeping erases the versions that no run rests on';

alter table benchmark_versions add column withdrawn_at timestamptz;
create index benchmark_versions_withdrawn_idx on benchmark_versions (withdrawn_at) where withdrawn_at is not null;
comment on column benchmark_versions.withdrawn_at is 'since when it takes no runs and is read only by those whose runs rest on it; erased once none does';

alter table prompt_versions add column withdrawn_at timestamptz;
create index prompt_versions_withdrawn_idx on prompt_versions (withdrawn_at) where withdrawn_at is not null;
comment on column prompt_versions.withdrawn_at is 'since when it takes no runs and is read only by those whose runs rest on it; erased once none does';

create function refuse_update_of_version() returns trigger language plpgsql as $$
begin
    if to_jsonb(old) - array['withdrawn_at', 'size_bytes'] is distinct from to_jsonb(new) - array['withdrawn_at', 'size_bytes'] then
        raise exception '% rows never change', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
comment on function refuse_update_of_version is 'keeps versions immutable; they can only be withdrawn and come back, with their size counted anew';
drop trigger benchmark_versions_immutable on benchmark_versions;
create trigger benchmark_versions_immutable before update on benchmark_versions
    for each row execute function refuse_update_of_version();
drop trigger prompt_versions_immutable on prompt_versions;
create trigger prompt_versions_immutable before update on prompt_versions
    for each row execute function refuse_update_of_version();

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

-- In PL/pgSQL, which keeps the plans of its statements: SQL functions with subqueries are planned anew for every row.
create function can_see_parts(wanted uuid, viewer_id bigint, is_admin boolean)
    returns boolean language plpgsql stable parallel safe as $$
begin
    return is_admin or (
        exists (
            select from runs
            join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
            join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
            where runs.id = wanted
              and can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                               benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                               runs.owner_id, viewer_id, false))
        and not exists (
            select from runs
            join run_prompts on run_prompts.run_id = runs.id
            join prompt_versions on prompt_versions.id = run_prompts.prompt_version_id
            join prompts on prompts.id = prompt_versions.prompt_id
            where runs.id = wanted
              and not can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                   prompt_versions.withdrawn_at is not null, runs.owner_id, viewer_id, false)));
end $$;
comment on function can_see_parts is 'true when the viewer (null for a caller without a login) may see the benchmark and every prompt of a run, now';

create function can_see_run(wanted uuid, viewer_id bigint, is_admin boolean)
    returns boolean language plpgsql stable parallel safe as $$
begin
    return exists (select from runs
                   where id = wanted and deleted_at is null and can_see(visibility, owner_id, viewer_id, is_admin))
        and can_see_parts(wanted, viewer_id, is_admin);
end $$;
comment on function can_see_run is
    'true when the viewer may read what a run holds: the run itself and every part of it, now. Its owner always sees its numbers, with the names of hidden parts left out';

create function is_public_run(wanted uuid) returns boolean language plpgsql stable parallel safe as $$
begin
    return exists (select from runs where id = wanted and deleted_at is null and visibility = 'public')
        and can_see_parts(wanted, null, false);
end $$;
comment on function is_public_run is 'true when everybody may read what a run holds: what public boards, lists and counts are made of';

create function public_runs(wanted uuid[]) returns setof uuid language sql stable parallel safe as $$
    select runs.id
    from runs
    join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
    join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
    where runs.id = any(wanted) and runs.deleted_at is null and runs.visibility = 'public'
      and can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                       benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                       runs.owner_id, null, false)
      and not exists (
          select from run_prompts
          join prompt_versions on prompt_versions.id = run_prompts.prompt_version_id
          join prompts on prompts.id = prompt_versions.prompt_id
          where run_prompts.run_id = runs.id
            and not can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                 prompt_versions.withdrawn_at is not null, runs.owner_id, null, false))
$$;
comment on function public_runs is 'those of many runs for which is_public_run holds, in one statement';
