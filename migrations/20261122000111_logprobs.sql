-- Null takes no room: what asks for none pays nothing. Most of what there is lies out of line, compressed, as outputs do.
alter table evaluations add column logprobs jsonb;
comment on column evaluations.logprobs is 'log probabilities of the answer''s tokens: {mean, tokens: [{token, logprob, top}], left_out}; null where none were asked for or the texts were forgotten';
