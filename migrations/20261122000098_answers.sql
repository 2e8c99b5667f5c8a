-- Answers that are there already are not asked for again.
create table kept_answers (
    key bytea primary key check (octet_length(key) = 16),
    run_id uuid not null,
    item_position integer not null,
    repeat smallint not null,
    prompt_position smallint not null,
    model_position smallint not null,
    kept_at timestamptz not null default now()
);
comment on table kept_answers is 'the cache: which evaluation holds the answer to a question; a run that was deleted took its answers with it';
comment on column kept_answers.key is 'hash of who asked, which model with which parameters, the messages and the repeat';
create index kept_answers_kept_at on kept_answers using brin (kept_at);

alter table runs add column cache boolean not null default true;
comment on column runs.cache is 'may answers of earlier runs be taken, and those of this one be kept for later ones?';
alter table runs add column answers_of uuid;
comment on column runs.answers_of is 'the run whose answers this one scores, without calling a model; null for a run that asks';
comment on column evaluations.cached is 'the answer was there already: latency and cost are those of the call that was made for it, and nothing was spent';

alter table runs add column pruned_at timestamptz;
comment on column runs.pruned_at is 'when its texts were forgotten: outputs, and the reasons of scorers; null while they are there';
