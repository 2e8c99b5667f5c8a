#!/usr/bin/env python3
"""Measures the engine at scale, with an API, a scheduler and workers as separate processes.

1. Calls that take 200 ms: one worker with 1,000 concurrent calls, then 1, 2 and 4 workers with 250 each. The rate is
   taken from the middle of a run, and compared with concurrent calls ÷ 200 ms.
2. A run of 1,000,000 evaluations: the duration of its submission, whether all are recorded, the memory of the worker
   and the API during the run and at its peak, and the disk space per evaluation.

Settings: PARTS ("delay million"), EVALUATIONS (1000000), OPB_BIN_DIR (target/release). Everything runs on loopback and is
deleted at the end. Fails when a promise is not kept.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
os.environ.setdefault("OPB_BIN_DIR", os.path.abspath("target/release"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from process_bank import BIN, SIMULATOR_KEY, Bank, new_master_key, psql, until, write_questions

PARTS = os.environ.get("PARTS", "delay million").split()
ITEMS = 1000
EVALUATIONS = int(os.environ.get("EVALUATIONS", "1000000"))
LATENCY = 0.2
SECONDS = 25  # minimum duration of a run with delayed calls
LINES = [(1, 1000), (1, 250), (2, 250), (4, 250)]  # workers, and concurrent calls of each
USED_LEAST = 0.95
MOST_MIB = 150
PATIENCE = 1200


def main():
    server = os.environ.get("DATABASE_URL")
    if not server:
        # `opb postgres` starts a throw-away server and passes its URL.
        again = [os.path.join(BIN, "opb"), "postgres", "--durable", "--", sys.executable, os.path.abspath(__file__)]
        sys.exit(subprocess.run(again, check=False).returncode)
    broken = []
    if "delay" in PARTS:
        broken += delay(server)
    if "million" in PARTS:
        broken += million(server)
    if broken:
        sys.exit("\n".join(broken))


def delay(server):
    broken = []
    print(f"{'workers':>7} {'concurrent calls':>16} {'per second':>10} {'of the ideal':>12}")
    for workers, calls in LINES:
        ideal = workers * calls / LATENCY
        with bank(server, f"bench_delay_{workers}_{calls}", workers, "--latency", str(int(LATENCY * 1000)),
                  OPB_CONCURRENCY=str(calls), OPB_SHARDS="32") as it:
            run = submit(it, int(ideal * SECONDS))
            rate = middle_rate(it, run)
        print(f"{workers:>7} {workers * calls:>16} {rate:>10,.0f} {rate / ideal:>12.1%}", flush=True)
        if rate / ideal < USED_LEAST:
            broken.append(f"{workers} workers with {calls} calls each reach {rate / ideal:.1%} of {ideal:,.0f} a second")
    return broken


def middle_rate(it, run):
    """Evaluations per second between a quarter and three quarters of a run."""
    planned = it.run(run)["planned"]
    first = reached(it, run, planned // 4)
    last = reached(it, run, planned * 3 // 4)
    return (last[1] - first[1]) / (last[0] - first[0])


def reached(it, run, count):
    """The time at which at least `count` evaluations were recorded, and the exact number."""
    recorded = until(f"{count} are recorded", lambda: (n := it.run(run)["recorded"]) >= count and n, PATIENCE)
    return time.monotonic(), recorded


def million(server):
    with bank(server, "bench_million", 1, "--latency", "none") as it:
        begin = time.monotonic()
        run = submit(it, EVALUATIONS)
        submitted = time.monotonic() - begin
        planned = it.run(run)["planned"]
        course = []
        for tenths in (1, 5, 9):
            reached(it, run, planned * tenths // 10)
            course.append(memory(it))
        until("the run ends", lambda: it.run(run)["state"] == "completed", PATIENCE)
        seconds = time.monotonic() - begin
        ended, most = it.run(run), memory(it, "VmHWM")
        rows = int(psql(it.database, "select count(*) from evaluations")[0])
        size = int(psql(it.database, "select pg_total_relation_size('evaluations')")[0])
        whole = int(psql(it.database, "select pg_database_size(current_database())")[0])
    print(f"\n{planned:,} evaluations in one run: submitted in {submitted:.2f} s, done in {seconds:.0f} s "
          f"({planned / seconds:,.0f} a second), {ended['errors']} errors, {rows:,} rows")
    for name in most:
        tenth, half, nine_tenths = (f"{moment[name]:.0f}" for moment in course)
        print(f"{name}: {tenth} MiB at a tenth, {half} at a half, {nine_tenths} at nine tenths, {most[name]:.0f} at most")
    print(f"{size / rows:.0f} bytes an evaluation, its index counted; {whole / rows:.0f} with everything in the database")
    broken = []
    if submitted > 1:
        broken.append(f"the submission took {submitted:.2f} s")
    if rows != planned or ended["recorded"] != planned:
        broken.append(f"{rows} of {planned} are there, {ended['recorded']} counted")
    for name, mib in most.items():
        if mib > MOST_MIB:
            broken.append(f"{name} had {mib:.0f} MiB")
    return broken


def memory(it, line="VmRSS"):
    """The memory of the API and the workers, in MiB."""
    names = [name for name in it.processes if name.startswith(("opb-api", "opb-worker"))]
    status = {name: Path(f"/proc/{it.processes[name].pid}/status").read_text() for name in names}
    return {name: int(re.search(rf"{line}:\s+(\d+)", text)[1]) / 1024 for name, text in status.items()}


def bank(server, name, workers, *simulator, **settings):
    """A bank with its own database and a provider `bench`."""
    psql(server, f"drop database if exists {name} with (force)")
    psql(server, f"create database {name}")
    base, _, parameters = server.partition("?")
    database = base.rsplit("/", 1)[0] + f"/{name}" + (f"?{parameters}" if parameters else "")
    it = Bank(database, new_master_key(), workers)
    it.migrate()
    it.start_simulator(*simulator)
    it.start_all(**settings)
    it.become_administrator()
    it.add_provider("bench", SIMULATOR_KEY)
    folder = Path(it.folder) / "bench-engine"
    write_questions(folder, ITEMS)
    subprocess.run([os.path.join(BIN, "opb"), "import", str(folder)], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "OPB_URL": it.url, "OPB_API_KEY": it.token})
    return it


def submit(it, evaluations):
    """Submits a run of about this number of evaluations."""
    body = {"benchmark": "bench-engine", "prompts": ["bench-engine"], "repeats": max(1, evaluations // ITEMS), "cache": False,
            "models": [{"model": "bench:strong", "parameters": {"stream": False}}]}
    return it.ask("POST", "/api/v1/runs", body)["id"]


if __name__ == "__main__":
    main()
