#!/usr/bin/env python3
"""Measures small and slow runs as people make them, from the command to the prompt, and prints a table.

Each line is a run of `opb run` against `opb simulate`, on a warm bank. "first" is the first run at a provider, "second" a
later one, which begins with what was learned. The ideal is what the provider itself takes with all calls at once that are
allowed. For one slot the latency that is told is compared with the provider's own.

Settings: OPB_BIN (target/release/opb), LONG=1 for the line of 1,000 calls of 20 s. Everything runs on loopback and is
deleted at the end.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
sys.path.insert(0, str(Path(__file__).resolve().parent))
from process_bank import serve, write_questions

OPB = os.path.abspath(os.environ.get("OPB_BIN", "target/release/opb"))

# Name, calls, simulated provider, concurrency of the worker, ideal seconds, further words of `opb run`.
LINES = [
    ("12 instant calls", 12, "--latency none", 32, 0.1, []),
    ("200 instant calls", 200, "--latency none", 32, 0.13, []),
    ("60 calls of 0.2 s, 32 at once", 60, "--latency 200", 32, 0.4, []),
    ("60 calls of 2 s, 32 at once", 60, "--latency 2000", 32, 4.0, []),
    ("60 calls of 2 s, refused beyond 32", 60, "--latency 2000 --max-concurrent 32", 256, 4.0, []),
    ("60 calls of 2 s, --concurrency 60", 60, "--latency 2000", 256, 2.0, ["--concurrency", "60"]),
    ("1,000 calls of 2 s, 256 at once", 1000, "--latency 2000", 256, 8.0, []),
    ("60 calls of 30 ms, --budget 1.00", 60, "--latency 30", 32, 0.6, ["--budget", "1.00"]),
    ("60 calls of 0.2 s, one slot", 60, "--latency 200 --slots 1", 256, 12.0, []),
]
if os.environ.get("LONG"):
    LINES.append(("1,000 calls of 20 s, 256 at once", 1000, "--latency 20000", 256, 80.0, []))


def main():
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)  # Root's Postgres runs as another user, who needs to enter the folder.
    started = []
    try:
        measure(folder, started)
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder, started):
    write_questions(folder / "bench-small", 1000)
    banks = {}
    print(f"{'from the command to the prompt, in seconds':<38}{'ideal':>7}{'first':>8}{'×':>6}{'second':>8}{'×':>6}"
          f"{'refused':>9}{'told ms':>9}")
    for number, (name, calls, simulated, concurrency, ideal, words) in enumerate(LINES):
        if concurrency not in banks:
            banks[concurrency] = start_bank(folder, started, concurrency)
        opb = banks[concurrency]
        _, address = serve(started, [OPB, "simulate", "--port", "0", *simulated.split()], folder / "simulate.log")
        provider = f"small-{number}"
        opb("provider", "add", provider, "--base-url", f"{address}/v1", "--paid")
        # A typical price, and answers that could be as long as models allow: what a budget has to reserve.
        opb("provider", "set-price", provider, "strong", "--input", "0.25", "--output", "2.00",
            "--max-output-tokens", "128000")
        seconds, told, refused = [], 0, 0
        for _ in range(2):
            begin = time.monotonic()
            run = json.loads(opb("run", "-b", "bench-engine", "-p", "bench-engine", "-m", f"{provider}:strong",
                                 "--limit", str(calls), "--no-cache", "--json", *words))
            seconds.append(time.monotonic() - begin)
            told = run["columns"][0]["latency_p50_ms"]
            if run["recorded"] != calls or run["errors"]:
                sys.exit(f"{name}: {run}")
        stats = json.loads(subprocess.run(["curl", "-sS", f"{address}/stats"], check=True, capture_output=True).stdout)
        refused = stats["by_status"].get("429", 0)
        first, second = seconds
        print(f"{name:<38}{ideal:>7.2f}{first:>8.2f}{first / ideal:>6.2f}{second:>8.2f}{second / ideal:>6.2f}"
              f"{refused:>9}{told:>9.0f}", flush=True)


def start_bank(folder, started, concurrency):
    """A bank whose worker makes at most `concurrency` calls at once; returns its command line. One run has warmed it up."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "OPB_API_KEY")}
    environment["OPB_DATA_DIR"] = str(folder / f"data-{concurrency}")
    environment["OPB_CONCURRENCY"] = str(concurrency)
    _, url = serve(started, [OPB, "up", "--listen", "127.0.0.1:0"], folder / f"bank-{concurrency}.log", environment)
    environment["OPB_URL"] = url

    def opb(*arguments):
        done = subprocess.run([OPB, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"opb {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    opb("import", str(folder / "bench-small"))
    opb("run", "-b", "bench-engine", "-p", "bench-engine", "-m", "simulated:fast", "--limit", "50")
    return opb


main()
