-- Blind preferences: two prompts' answers to one item from one model, side by side, without names.
create type preference_choice as enum ('left', 'right', 'tie', 'both_bad');

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
create index preferences_run_id_idx on preferences (run_id);
create index preferences_left_idx on preferences (left_prompt_version_id);
create index preferences_right_idx on preferences (right_prompt_version_id);
comment on table preferences is 'a pair that a user was shown, and what they preferred';
comment on column preferences.left_prompt_version_id is 'the order was drawn when the pair was; it is kept here and shown only after the choice';
comment on column preferences.choice is 'null while the pair is open; a user has one open pair per board and gets it again until they choose';
