-- Which runs used a model: the list of models shows what the reader's runs used, and no other.
create index run_models_model_id_idx on run_models (model_id);
comment on index run_models_model_id_idx is 'finds the runs of a model, for the list of models that a reader may see';
