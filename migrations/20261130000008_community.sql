-- The community: votes and what prompts are ordered by, favourites, comments, collections, blind preferences, profiles.
-- Counters and quality are moved by triggers, so that no writer can forget them, not even a cascading deletion.
create type vote_direction as enum ('up', 'down');
create type report_reason as enum ('spam', 'abuse', 'off_topic', 'unlawful', 'other');
create type preference_choice as enum ('left', 'right', 'tie', 'both_bad');

create table prompt_votes (
    prompt_id uuid not null references prompts on delete cascade,
    user_id bigint not null references users on delete cascade,
    direction vote_direction not null,
    cast_at timestamptz not null default now(),
    primary key (prompt_id, user_id)
);
create index prompt_votes_user_id_idx on prompt_votes (user_id);
comment on table prompt_votes is 'one vote per user and prompt; nobody votes on their own';
comment on column prompt_votes.cast_at is 'when the vote took its direction; the trend counts from here';

create function wilson_low(up integer, down integer) returns double precision
language sql immutable strict parallel safe
return case when up = 0 then 0 else greatest(0,
    (up + 3.8414588206941236 / 2 - 1.959963984540054 * sqrt(up::double precision * down / (up + down) + 3.8414588206941236 / 4))
    / (up + down + 3.8414588206941236)) end;
comment on function wilson_low is 'lower end of the 95 % Wilson interval of up of up + down; the same as stats::wilson';

create function vote_weight(at timestamptz) returns double precision
language sql immutable strict parallel safe
return power(2::double precision, (extract(epoch from at - timestamptz '2026-01-01 00:00:00+00') / 604800)::double precision);
comment on function vote_weight is 'doubles every week; a vote''s weight divided by the weight of now halves every week';

create table prompt_ranks (
    prompt_id uuid primary key references prompts on delete cascade,
    up integer not null default 0 check (up >= 0),
    down integer not null default 0 check (down >= 0),
    favourites integer not null default 0 check (favourites >= 0),
    wilson double precision not null generated always as (wilson_low(up, down)) stored,
    trend double precision not null default 0,
    quality double precision not null default 0 check (quality between 0 and 1),
    quality_benchmark_version_id uuid,
    quality_prompt_version_id uuid,
    quality_model_id uuid,
    combined double precision not null generated always as (0.6 * quality + 0.4 * wilson_low(up, down)) stored,
    check (num_nonnulls(quality_benchmark_version_id, quality_prompt_version_id, quality_model_id) in (0, 3))
);
create index prompt_ranks_wilson_idx on prompt_ranks (wilson desc, prompt_id desc);
create index prompt_ranks_trend_idx on prompt_ranks (trend desc, prompt_id desc);
create index prompt_ranks_quality_idx on prompt_ranks (quality desc, prompt_id desc);
create index prompt_ranks_combined_idx on prompt_ranks (combined desc, prompt_id desc);
comment on table prompt_ranks is 'what prompts are ordered by; made and moved by triggers only; the formulas are explained in docs/COMMUNITY.md';
comment on column prompt_ranks.trend is 'sum of vote_weight(cast_at), votes against subtracted; divided by vote_weight(now()) it is the number of fresh votes. All rows share that divisor, so the order needs no nightly rewriting; the numbers fit until 2045';
comment on column prompt_ranks.quality is 'lower end of the score''s interval of the best standing; 0 when unmeasured';
comment on column prompt_ranks.quality_benchmark_version_id is 'with the next two: the standing on a public board';

create function make_prompt_rank() returns trigger language plpgsql as $$
begin
    insert into prompt_ranks (prompt_id) select id from added;
    return null;
end $$;
comment on function make_prompt_rank is 'gives every prompt its row in prompt_ranks, all new ones of a statement at once';
create trigger prompts_make_rank after insert on prompts referencing new table as added
    for each statement execute function make_prompt_rank();

create function count_prompt_vote() returns trigger language plpgsql as $$
begin
    update prompt_ranks
    set up = up + (case when new.direction = 'up' then 1 else 0 end) - (case when old.direction = 'up' then 1 else 0 end),
        down = down + (case when new.direction = 'down' then 1 else 0 end) - (case when old.direction = 'down' then 1 else 0 end),
        trend = trend
            + coalesce(case new.direction when 'up' then 1 else -1 end * vote_weight(new.cast_at), 0)
            - coalesce(case old.direction when 'up' then 1 else -1 end * vote_weight(old.cast_at), 0)
    where prompt_id = coalesce(new.prompt_id, old.prompt_id);
    return null;
end $$;
comment on function count_prompt_vote is 'moves a prompt''s counters with every vote that comes, changes or goes';
create trigger prompt_votes_count after insert or update or delete on prompt_votes
    for each row execute function count_prompt_vote();

create function drop_own_vote() returns trigger language plpgsql as $$
begin
    delete from prompt_votes where prompt_id = new.id and user_id = new.owner_id;
    return null;
end $$;
comment on function drop_own_vote is 'whoever is given a prompt loses the vote on it';
create trigger prompts_drop_own_vote after update of owner_id on prompts for each row execute function drop_own_vote();

create function refresh_prompt_quality(prompt_ids uuid[]) returns void language plpgsql as $$
begin
    -- Locked first, so that the next statement sees what others wrote before they let go; in one order, so that two never wait for each other.
    perform 1 from prompt_ranks where prompt_id = any(prompt_ids) order by prompt_id for update;
    update prompt_ranks
    set quality = coalesce(best.score_low, 0),
        quality_benchmark_version_id = best.benchmark_version_id,
        quality_prompt_version_id = best.prompt_version_id,
        quality_model_id = best.model_id
    from unnest(prompt_ids) as wanted (id)
    left join lateral (
        select standings.score_low, standings.benchmark_version_id, standings.prompt_version_id, standings.model_id
        from prompt_versions
        join standings on standings.prompt_version_id = prompt_versions.id
        join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        where prompt_versions.prompt_id = wanted.id
          and not standings.simulated
          and standings.audience_id is null
          and is_public_run(standings.run_id)
          and not exists (select 1 from benchmark_versions newer
                          where newer.benchmark_id = benchmarks.id and newer.withdrawn_at is null
                            and newer.number > benchmark_versions.number)
        order by standings.score_low desc, prompt_versions.number desc, standings.benchmark_version_id, standings.model_id
        limit 1) best on true
    where prompt_ranks.prompt_id = wanted.id;
end $$;
comment on function refresh_prompt_quality is 'finds the best real standing of each prompt on the public boards of the newest versions of benchmarks';

create function refresh_quality_of_standing() returns trigger language plpgsql as $$
begin
    perform refresh_prompt_quality(array(
        select prompt_id from prompt_versions where id = coalesce(new.prompt_version_id, old.prompt_version_id)));
    return null;
end $$;
create trigger standings_refresh_quality after insert or delete or update of score_low, simulated on standings
    for each row execute function refresh_quality_of_standing();

create function refresh_quality_of_benchmark() returns trigger language plpgsql as $$
begin
    perform refresh_prompt_quality(array(
        select distinct prompt_versions.prompt_id
        from benchmark_versions
        join standings on standings.benchmark_version_id = benchmark_versions.id
        join prompt_versions on prompt_versions.id = standings.prompt_version_id
        where benchmark_versions.benchmark_id = (to_jsonb(new) ->> tg_argv[0])::uuid));
    return null;
end $$;
comment on function refresh_quality_of_benchmark is 'its argument is the column that holds the benchmark''s id';
create trigger benchmark_versions_refresh_quality after insert or update of number on benchmark_versions
    for each row when (new.number is not null) execute function refresh_quality_of_benchmark('benchmark_id');
create trigger benchmarks_refresh_quality after update of visibility on benchmarks
    for each row execute function refresh_quality_of_benchmark('id');

create table favourites (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    prompt_id uuid not null references prompts on delete cascade,
    created_at timestamptz not null default now()
);
create unique index favourites_user_prompt_key on favourites (user_id, prompt_id);
create index favourites_user_idx on favourites (user_id, id desc);
create index favourites_prompt_id_idx on favourites (prompt_id);
comment on table favourites is 'prompts that a user keeps at hand';

create function count_favourite() returns trigger language plpgsql as $$
begin
    update prompt_ranks
    set favourites = favourites + case tg_op when 'INSERT' then 1 else -1 end
    where prompt_id = coalesce(new.prompt_id, old.prompt_id);
    return null;
end $$;
comment on function count_favourite is 'moves a prompt''s counter with every favourite that comes or goes';
create trigger favourites_count after insert or delete on favourites for each row execute function count_favourite();

create table comments (
    id uuid primary key,
    prompt_id uuid not null references prompts on delete cascade,
    parent_id uuid,
    author_id bigint references users on delete set null,
    body text not null check (char_length(body) <= 10000),
    created_at timestamptz not null default now(),
    edited_at timestamptz,
    deleted_at timestamptz,
    hidden_at timestamptz,
    hidden_by bigint references users on delete set null,
    hidden_reason text check (char_length(hidden_reason) between 1 and 500),
    unique (id, prompt_id),
    foreign key (parent_id, prompt_id) references comments (id, prompt_id) on delete cascade,
    check ((deleted_at is null) = (body <> '')),
    check ((hidden_at is null) = (hidden_reason is null))
);
create index comments_prompt_idx on comments (prompt_id, id desc) where parent_id is null;
create index comments_prompt_id_idx on comments (prompt_id);
create index comments_parent_idx on comments (parent_id, id);
create index comments_author_idx on comments (author_id, created_at);
create index comments_hidden_by_idx on comments (hidden_by) where hidden_by is not null;
comment on table comments is 'what people say about a prompt: Markdown, kept as it was written, served as data';
comment on column comments.parent_id is 'the comment that this one answers; an answer has no answers of its own';
comment on column comments.author_id is 'null when the author has left';
comment on column comments.deleted_at is 'a deleted comment keeps its place, because others may have answered it, and loses its text';
comment on column comments.hidden_reason is 'why a moderator hid it; shown in its place';

create function empty_orphaned_comment() returns trigger language plpgsql as $$
begin
    if new.author_id is null and old.author_id is not null then
        new.body := '';
        new.deleted_at := coalesce(new.deleted_at, now());
    end if;
    return new;
end $$;
comment on function empty_orphaned_comment is 'who leaves takes their words along: whatever sets author_id to null, this empties the comment';
create trigger comments_empty_orphaned before update of author_id on comments
    for each row execute function empty_orphaned_comment();

create table comment_reports (
    comment_id uuid not null references comments on delete cascade,
    reporter_id bigint not null references users on delete cascade,
    reason report_reason not null,
    note text not null default '' check (char_length(note) <= 1000),
    created_at timestamptz not null default now(),
    resolved_at timestamptz,
    primary key (comment_id, reporter_id)
);
create index comment_reports_open_idx on comment_reports (comment_id) where resolved_at is null;
create index comment_reports_reporter_idx on comment_reports (reporter_id, created_at);
comment on table comment_reports is 'what readers want a moderator to look at; one report per reader and comment';
comment on column comment_reports.resolved_at is 'when a moderator decided about the comment';

create table collections (
    id uuid primary key,
    owner_id bigint not null references users on delete cascade,
    title text not null check (char_length(title) between 1 and 200),
    description text not null default '' check (char_length(description) <= 10000),
    visibility visibility not null default 'private',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index collections_owner_idx on collections (owner_id, id desc);
comment on table collections is 'prompts that a user picked and put into an order';
comment on column collections.visibility is 'private unless its owner says otherwise';

create table collection_prompts (
    collection_id uuid not null references collections on delete cascade,
    prompt_id uuid not null references prompts on delete cascade,
    position integer not null check (position >= 0),
    primary key (collection_id, prompt_id),
    unique (collection_id, position)
);
create index collection_prompts_prompt_id_idx on collection_prompts (prompt_id);
comment on table collection_prompts is 'the prompts of a collection; readers see only those that are public or their own';

-- Two prompts' answers to one item from one model, side by side, without names.
create table preferences (
    id uuid primary key,
    user_id bigint not null references users on delete cascade,
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    run_id uuid not null references runs on delete cascade,
    model_id uuid not null references models on delete cascade,
    simulated boolean not null,
    item_position integer not null check (item_position >= 0),
    left_prompt_version_id uuid not null references prompt_versions on delete cascade,
    right_prompt_version_id uuid not null references prompt_versions on delete cascade,
    choice preference_choice,
    created_at timestamptz not null default now(),
    decided_at timestamptz,
    check (left_prompt_version_id <> right_prompt_version_id),
    check ((choice is null) = (decided_at is null))
);
create unique index preferences_pair_key on preferences (user_id, run_id, model_id, item_position,
    least(left_prompt_version_id, right_prompt_version_id), greatest(left_prompt_version_id, right_prompt_version_id));
create unique index preferences_open_key on preferences (user_id, benchmark_version_id, simulated) where choice is null;
create index preferences_board_idx on preferences (benchmark_version_id, simulated) where choice is not null;
create index preferences_benchmark_version_id_idx on preferences (benchmark_version_id);
create index preferences_run_id_idx on preferences (run_id);
create index preferences_model_id_idx on preferences (model_id);
create index preferences_left_idx on preferences (left_prompt_version_id);
create index preferences_right_idx on preferences (right_prompt_version_id);
comment on table preferences is 'a pair that a user was shown, and what they preferred';
comment on column preferences.left_prompt_version_id is 'the order was drawn when the pair was; it is kept here and shown only after the choice';
comment on column preferences.choice is 'null while the pair is open; a user has one open pair per board and gets it again until they choose';

create table profiles (
    user_id bigint primary key references users on delete cascade,
    display_name text not null default '' check (char_length(display_name) <= 80),
    bio text not null default '' check (char_length(bio) <= 2000),
    is_public boolean not null default true,
    shows_activity boolean not null default true,
    shows_favourites boolean not null default false,
    updated_at timestamptz not null default now()
);
comment on table profiles is 'what a user shows of themselves; a user without a row has the defaults';
comment on column profiles.is_public is 'false: to others the profile is not there';
comment on column profiles.shows_activity is 'contributions, reputation and badges are shown to others';
comment on column profiles.shows_favourites is 'the list of favourites is shown to others';
