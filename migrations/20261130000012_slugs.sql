-- A slug that is taken says nothing about what is private: a private thing's slug is taken for its owner alone, and all
-- that others may see share one namespace. The first index of each pair also finds things by their slug.
create unique index prompts_owner_slug_key on prompts (slug, owner_id);
drop index prompts_slug_key;
create unique index prompts_slug_key on prompts (slug) where visibility <> 'private';
create unique index benchmarks_owner_slug_key on benchmarks (slug, owner_id);
drop index benchmarks_slug_key;
create unique index benchmarks_slug_key on benchmarks (slug) where visibility <> 'private';
comment on index prompts_owner_slug_key is 'a user has one prompt of a slug, deleted ones included';
comment on index prompts_slug_key is 'unlisted and public prompts share one namespace';
comment on index benchmarks_owner_slug_key is 'a user has one benchmark of a slug';
comment on index benchmarks_slug_key is 'unlisted and public benchmarks share one namespace';
