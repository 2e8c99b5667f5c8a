-- A price of zero is a price: what is unknown has to be counted, since a cost of 0 does not tell the two apart.
alter table runs add column unpriced bigint not null default 0 check (unpriced >= 0);
comment on column runs.unpriced is 'recorded evaluations with an answer whose cost nobody knows, because the model has no price or the provider counted no tokens';

update runs
set unpriced = found.unpriced
from (select run_id, count(*) as unpriced
      from evaluations
      where state = 'scored' and cost_microusd is null
      group by run_id) found
where found.run_id = runs.id;
