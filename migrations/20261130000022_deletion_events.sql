-- What deletion and hiding leave in the audit log.
alter type audit_event add value 'run_deleted';
alter type audit_event add value 'benchmark_deleted';
alter type audit_event add value 'benchmark_version_deleted';
alter type audit_event add value 'prompt_version_deleted';
alter type audit_event add value 'standings_hidden';
alter type audit_event add value 'standings_shown';
