#!/usr/bin/env python3
"""Measures how fully worker processes use a shared rate limit, and how rarely they are rejected.

A server (`opb simulate --rpm 600`) rejects calls above its limit with 429.
For each number of worker processes, a run is started with the same limit declared for the provider, and measured after
a warm-up: answered calls relative to the limit, and the share of 429 among all responses.
A line without a declared limit shows what the workers learn by themselves.

Settings: RPM (600), WORKERS ("1 4 16"), MEASURED_SECONDS (60, after WARM_UP, 20, seconds), LATENCY (100 ms),
OPB_BIN_DIR (target/release). Everything runs on loopback and is deleted at the end.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
os.environ.setdefault("OPB_BIN_DIR", os.path.abspath("target/release"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from process_bank import BIN, SIMULATOR_KEY, Bank, new_master_key, psql, until

RPM = int(os.environ.get("RPM", "600"))
WORKERS = [int(count) for count in os.environ.get("WORKERS", "1 4 16").split()]
SECONDS = float(os.environ.get("MEASURED_SECONDS", "60"))
WARM_UP = float(os.environ.get("WARM_UP", "20"))
LATENCY = os.environ.get("LATENCY", "100")


def main():
    database = os.environ.get("DATABASE_URL")
    if not database:
        # `opb postgres` starts a throw-away server and passes its URL.
        again = [os.path.join(BIN, "opb"), "postgres", "--durable", "--", sys.executable, os.path.abspath(__file__)]
        sys.exit(subprocess.run(again, check=False).returncode)
    lines = []
    for workers in WORKERS:
        for limit in (RPM, None):
            lines.append((workers, limit, *measure(database, workers, limit)))
            report(lines[-1:], heading=len(lines) == 1)
    bad = [line for line in lines if line[1] and (line[2] < 0.95 or line[3] >= 0.01)]
    if bad:
        sys.exit("with a declared limit, at least 95 % of it must be used, with less than 1 % of responses 429")


def measure(server, workers, limit):
    """The used share of the limit, and the share of 429, with this number of workers."""
    name = f"bench_rpm_{workers}_{'declared' if limit else 'alone'}"
    psql(server, f"drop database if exists {name} with (force)")
    psql(server, f"create database {name}")
    base, _, parameters = server.partition("?")
    database = base.rsplit("/", 1)[0] + f"/{name}" + (f"?{parameters}" if parameters else "")
    with Bank(database, new_master_key(), workers) as bank:
        bank.migrate()
        bank.start_simulator("--rpm", str(RPM), "--latency", LATENCY)
        bank.start_all(OPB_DATABASE_CONNECTIONS="4", OPB_SHARDS="4")
        bank.become_administrator()
        bank.add_provider("limited", SIMULATOR_KEY)
        if limit:
            bank.ask("PUT", "/api/v1/providers/limited/limits", {"requests_per_minute": limit})
        # More evaluations than there is time for.
        run = bank.submit(["limited:strong"], repeats=100)
        until("calls begin", lambda: stats(bank)["answered"] > 0)
        time.sleep(WARM_UP)
        before, begin = stats(bank), time.monotonic()
        time.sleep(SECONDS)
        after, seconds = stats(bank), time.monotonic() - begin
        state = bank.run(run)["state"]
        if state != "running":
            sys.exit(f"the run was {state} too early")
    answered = after["answered"] - before["answered"]
    refused = after["refused"] - before["refused"]
    return answered / (RPM * seconds / 60), refused / max(1, answered + refused), after["refused"] / max(
        1, after["answered"] + after["refused"])


def stats(bank):
    request = urllib.request.Request(bank.simulator.removesuffix("/v1") + "/stats",
                                     headers={"authorization": f"Bearer {SIMULATOR_KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        counts = json.load(answer)
    return {"answered": counts["model_calls"], "refused": counts["by_status"].get("429", 0)}


def report(lines, heading):
    if heading:
        print(f"{'workers':>7} {'limit':>9} {'used':>8} {'429':>8} {'429 from the start':>18}")
    for workers, limit, used, refused, in_all in lines:
        print(f"{workers:>7} {limit or 'none':>9} {used:>8.1%} {refused:>8.2%} {in_all:>18.2%}", flush=True)


if __name__ == "__main__":
    main()
