-- Parameters of models may be larger than an entry of an index: their hash stands in it for them.
drop index models_identity_key;
create unique index models_identity_key on models (provider_id, name, md5(parameters::text));
comment on index models_identity_key is 'a model is its provider, its name and its parameters';
