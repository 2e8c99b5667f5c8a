//! A user's benchmarks and runs.

use super::reader;

reader!(
    /// Benchmarks with their versions; the items have an address.
    benchmarks,
    r#"-- own_data::benchmarks
        select id as "key!",
               to_jsonb(benchmarks) - 'owner_id' || jsonb_build_object('versions',
                   (select coalesce(jsonb_agg(jsonb_build_object('number', number, 'scorers', scorers, 'source', source,
                               'item_count', item_count, 'content_hash', encode(content_hash, 'hex'), 'created_at', created_at,
                               'items_at', '/api/v1/benchmarks/' || slug || '@' || number || '/items') order by number), '[]')
                    from benchmark_versions where benchmark_id = benchmarks.id)) as "value!"
        from benchmarks where owner_id = $1 and deleted_at is null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);

reader!(
    /// Runs; their evaluations have an address.
    runs,
    r#"-- own_data::runs
        select id as "key!",
               (to_jsonb(runs) || to_jsonb(run_counts)) - 'run_id' - 'owner_id' - 'request_hash' || jsonb_build_object(
                   'evaluations_at', '/api/v1/runs/' || id || '/evaluations') as "value!"
        from runs join run_counts on run_id = id where owner_id = $1 and deleted_at is null
          and ($2::uuid is null or id > $2)
        order by id
        limit $3"#
);
