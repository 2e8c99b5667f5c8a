#!/usr/bin/env python3
"""Measures the engine against `opb simulate`, beside a bare client, and prints a table.

Each line shows evaluations per second from submission to the end, CPU seconds per 1,000 evaluations (the bank's process
and its Postgres together, without the simulated provider), and the peak memory of the bank's process.

Settings: EVALUATIONS (100000), ITEMS (as many, all different), CONCURRENCY (256), ROUNDS (1), OPB_BIN
(target/release/opb), BARE_BIN.
promptfoo is measured as well, with PROMPTFOO_EVALUATIONS (2000) evaluations, if it is installed.
Everything runs on loopback and is deleted at the end.
"""

import json
import os
import re
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

OPB = os.environ.get("OPB_BIN", "target/release/opb")
EVALUATIONS = int(os.environ.get("EVALUATIONS", "100000"))
CONCURRENCY = int(os.environ.get("CONCURRENCY", "256"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))
PROMPTFOO_EVALUATIONS = int(os.environ.get("PROMPTFOO_EVALUATIONS", "2000"))
ITEMS = int(os.environ.get("ITEMS", str(EVALUATIONS)))
TICKS = os.sysconf("SC_CLK_TCK")


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
    simulate, provider = serve(started, [OPB, "simulate", "--latency", "none", "--port", "0"], folder / "simulate.log")
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "OPB_API_KEY")}
    environment["OPB_DATA_DIR"] = str(folder / "data")
    environment["OPB_CONCURRENCY"] = str(CONCURRENCY)
    bank, url = serve(started, [OPB, "up", "--listen", "127.0.0.1:0"], folder / "bank.log", environment)
    environment["OPB_URL"] = url

    def opb(*arguments):
        done = subprocess.run([OPB, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"opb {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    write_questions(folder / "bench-engine", ITEMS)
    opb("import", str(folder / "bench-engine"))
    opb("provider", "add", "bench", "--base-url", f"{provider}/v1")
    postgres, database = database_of(folder / "data")
    lines = []
    for turn in range(ROUNDS):
        before = cpu(postgres)
        bare = json.loads(subprocess.run(
            [bare_client(), "--base-url", f"{provider}/v1", "--database-url", database,
             "--evaluations", str(EVALUATIONS), "--concurrency", str(CONCURRENCY)],
            check=True, capture_output=True, text=True, env=environment).stdout)
        used = bare["cpu_seconds"] + cpu(postgres) - before
        lines.append(("bare client", EVALUATIONS, bare["seconds"], used, None))
        for name, parameters in (("engine", ["--param", "stream=false"]),
                                 ("engine, answers not kept", ["--param", "stream=false", "--no-cache"]),
                                 ("engine, streamed answers", [])):
            before, begin = cpu(bank.pid), time.monotonic()
            opb("run", "-b", "bench-engine", "-p", "bench-engine", "-m", "bench:strong",
                "--repeats", str(EVALUATIONS // ITEMS), "--seed", str(turn), *parameters)
            seconds = time.monotonic() - begin
            used = cpu(bank.pid) - before  # Its Postgres is a child process of the bank.
            lines.append((name, EVALUATIONS // ITEMS * ITEMS, seconds, used, peak_mib(bank.pid)))
    lines += promptfoo(folder, provider)
    report(lines)
    print(f"\nconcurrency {CONCURRENCY}; the simulated provider used {cpu(simulate.pid):.1f} CPU seconds in total")


def bare_client():
    if "BARE_BIN" in os.environ:
        return os.environ["BARE_BIN"]
    built = subprocess.run(
        ["cargo", "bench", "--locked", "--no-run", "-p", "opb-worker", "--bench", "bare_client", "--message-format=json"],
        check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "bare_client":
            return message["executable"]
    sys.exit("could not find the bare client that cargo built")


def database_of(data):
    """The process of a bank's embedded Postgres, and the URL of its database."""
    pidfile = next(data.glob("**/postmaster.pid")).read_text().splitlines()
    password = (data / "postgres-password").read_text().strip()
    return int(pidfile[0]), f"postgres://opb:{password}@127.0.0.1:{pidfile[3]}/opb?sslmode=disable"


def tree(pid):
    """A process and all its descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            started = children.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # The thread has just ended.
        for child in started:
            found += tree(int(child))
    return found


def cpu(pid):
    """CPU seconds of a process and its descendants, including those that have ended."""
    total = 0
    for process in tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def peak_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def promptfoo(folder, provider):
    """Runs the same questions with promptfoo, but fewer of them."""
    program = shutil.which("promptfoo")
    if program is None:
        return []
    tests = [{"vars": {"number": number}, "assert": [{"type": "icontains", "value": "blue"}]}
             for number in range(PROMPTFOO_EVALUATIONS)]
    config = {
        "prompts": ["Answer with one word.\n\nWhat is the code of item {{ number }}?"],
        "providers": [{"id": "openai:chat:strong", "config": {"apiBaseUrl": f"{provider}/v1", "apiKey": "none"}}],
        "tests": tests,
    }
    file = folder / "promptfooconfig.json"
    file.write_text(json.dumps(config))
    environment = dict(os.environ, PROMPTFOO_CONFIG_DIR=str(folder / "promptfoo"), PROMPTFOO_DISABLE_TELEMETRY="1",
                       PROMPTFOO_DISABLE_UPDATE="1", PROMPTFOO_CACHE_ENABLED="false")
    begin = time.monotonic()
    process = subprocess.Popen([program, "eval", "-c", str(file), "--no-cache", "--no-table", "-j", str(CONCURRENCY)],
                               env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return [("promptfoo", PROMPTFOO_EVALUATIONS, time.monotonic() - begin, usage.ru_utime + usage.ru_stime,
             usage.ru_maxrss / 1024)]


def report(lines):
    print(f"{'what':<26} {'evaluations':>11} {'seconds':>8} {'per second':>10} {'CPU s / 1,000':>13} {'peak MiB':>8}")
    for name, evaluations, seconds, used, peak in lines:
        memory = "-" if peak is None else f"{peak:.0f}"
        print(f"{name:<26} {evaluations:>11,} {seconds:>8.2f} {evaluations / seconds:>10,.0f} "
              f"{used / evaluations * 1000:>13.3f} {memory:>8}")


if __name__ == "__main__":
    main()
