-- Standings: what a leaderboard reads; computed when a run finishes, never while a page is read.
create table standings (
    benchmark_version_id uuid not null references benchmark_versions on delete cascade,
    prompt_version_id uuid not null references prompt_versions on delete cascade,
    model_id uuid not null references models on delete cascade,
    run_id uuid not null references runs on delete cascade,
    simulated boolean not null,
    items integer not null,
    evaluations bigint not null,
    errors bigint not null,
    score double precision not null,
    score_low double precision not null,
    score_high double precision not null,
    pass_rate double precision,
    interval_method text not null,
    item_scores real[] not null,
    rank_low integer not null,
    rank_high integer not null,
    tie_group integer not null,
    cost_per_1000_microusd bigint,
    latency_p50_ms double precision,
    latency_p95_ms double precision,
    first_token_p50_ms double precision,
    output_tokens_per_second double precision,
    updated_at timestamptz not null default now(),
    primary key (benchmark_version_id, prompt_version_id, model_id)
);
create index standings_board_idx on standings (benchmark_version_id, simulated, rank_low, score desc);
comment on table standings is 'one line of a leaderboard: a prompt version on a model, by the newest completed run';
comment on column standings.item_scores is 'mean score by item position, null where nothing was scored; comparisons are paired on it';
comment on column standings.simulated is 'simulated results are ranked apart from real ones';
