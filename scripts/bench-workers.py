#!/usr/bin/env python3
"""Measures how one run scales over workers: a run of 200,000 evaluations by 1, 4, 8 and 16 worker processes, where each
call of the simulated provider takes 20 ms.

For each number of workers it prints the evaluations per second from submission to the last record, and the average
numbers of the workers' statements that wait for a lock and that are active, sampled ten times per second from
pg_stat_activity.

Settings: WORKERS ("1 4 8 16"), EVALUATIONS (200000), CONCURRENCY (concurrent calls per worker, 64), OPB_BIN_DIR
(target/release). Everything runs on loopback and is deleted at the end.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
os.environ.setdefault("OPB_BIN_DIR", os.path.abspath("target/release"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from process_bank import BIN, SIMULATOR_KEY, Bank, new_master_key, psql, until, write_questions

WORKERS = [int(number) for number in os.environ.get("WORKERS", "1 4 8 16").split()]
EVALUATIONS = int(os.environ.get("EVALUATIONS", "200000"))
CONCURRENCY = os.environ.get("CONCURRENCY", "64")
ITEMS = 1000
LATENCY_MS = 20
SAMPLE_SECONDS = 0.1
PATIENCE = 3600
WAITING = """
select count(*) filter (where wait_event_type = 'Lock'), count(*) filter (where state = 'active')
from pg_stat_activity
where datname = current_database() and application_name like 'opb-worker%'
\\watch {seconds}
"""


def main():
    server = os.environ.get("DATABASE_URL")
    if not server:
        # `opb postgres` starts a throw-away server and passes its URL.
        again = [os.path.join(BIN, "opb"), "postgres", "--", sys.executable, os.path.abspath(__file__)]
        sys.exit(subprocess.run(again, check=False).returncode)
    print(f"{'workers':>7} {'evaluations':>11} {'seconds':>7} {'per second':>10} {'waiting for locks':>17} {'active':>6}")
    for workers in WORKERS:
        measure(server, workers)


def measure(server, workers):
    name = f"bench_workers_{workers}"
    psql(server, f"drop database if exists {name} with (force)")
    psql(server, f"create database {name}")
    base, _, parameters = server.partition("?")
    database = base.rsplit("/", 1)[0] + f"/{name}" + (f"?{parameters}" if parameters else "")
    with Bank(database, new_master_key(), workers) as bank:
        bank.migrate()
        bank.start_simulator("--latency", str(LATENCY_MS))
        bank.start_all(OPB_CONCURRENCY=CONCURRENCY, OPB_DATABASE_CONNECTIONS="8")
        bank.become_administrator()
        bank.add_provider("bench", SIMULATOR_KEY)
        publish(bank)
        with Sampler(database) as sampler:
            begin = time.monotonic()
            run = submit(bank)
            until("all are recorded", lambda: bank.run(run)["recorded"] >= EVALUATIONS, PATIENCE)
            seconds = time.monotonic() - begin
        ended = bank.finished(run)
    waiting, active = sampler.means()
    print(f"{workers:>7} {ended['recorded']:>11,} {seconds:>7.1f} {ended['recorded'] / seconds:>10,.0f}"
          f" {waiting:>17.2f} {active:>6.1f}", flush=True)
    if ended["state"] != "completed" or ended["errors"]:
        sys.exit(f"the run ended as {ended['state']} with {ended['errors']} errors")
    psql(server, f"drop database {name} with (force)")


def publish(bank):
    folder = Path(bank.folder) / "bench-engine"
    write_questions(folder, ITEMS)
    subprocess.run([os.path.join(BIN, "opb"), "import", str(folder)], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "OPB_URL": bank.url, "OPB_API_KEY": bank.token})


def submit(bank):
    body = {"benchmark": "bench-engine", "prompts": ["bench-engine"], "repeats": EVALUATIONS // ITEMS, "cache": False,
            "models": [{"model": "bench:strong", "parameters": {"stream": False}}]}
    return bank.ask("POST", "/api/v1/runs", body)["id"]


class Sampler:
    """Counts the workers' statements that wait for a lock, and those that are active, until the `with` block ends."""

    def __init__(self, database):
        self.database = database

    def __enter__(self):
        self.psql = subprocess.Popen(["psql", "-X", "-q", "-A", "-t", "-d", self.database], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.psql.stdin.write(WAITING.format(seconds=SAMPLE_SECONDS))
        self.psql.stdin.flush()
        return self

    def __exit__(self, *_):
        self.psql.terminate()
        text, _ = self.psql.communicate()
        self.rows = [line.split("|") for line in text.splitlines() if "|" in line]

    def means(self):
        count = max(1, len(self.rows))
        return tuple(sum(int(row[column]) for row in self.rows) / count for column in (0, 1))


if __name__ == "__main__":
    main()
