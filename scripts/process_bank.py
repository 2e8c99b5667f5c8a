"""A bank of separate processes, as operators run it, for scripts/test-ops.py and scripts/test-backup.py."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BIN = os.path.abspath(os.environ.get("OPB_BIN_DIR", "target/debug"))
PATIENCE = 180
SIMULATOR_KEY = "sk-simulated-0123456789"


def free_ports(count):
    """Ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(what, ask, patience=PATIENCE):
    """Polls until the result is true, and returns it."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if answer := ask():
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {patience} seconds: {what}")
        time.sleep(0.2)


def new_master_key():
    return base64.b64encode(os.urandom(32)).decode()


def psql(address, sql, **environment):
    """The rows of a statement's result, as text."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", address, "-c", sql],
        capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(f"{done.stderr.strip()}\n{sql}")
    return done.stdout.splitlines()


def serve(started, command, log, environment=None):
    """Starts a server and waits for its line `ready http://ADDRESS`."""
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    started.append(process)
    for line in process.stdout:
        if found := re.match(r"(?:ready|listening on) (http://\S+)", line):
            return process, found[1].rstrip("/")
    sys.exit(f"{' '.join(command)} ended:\n{log.read_text()[-3000:]}")


def write_questions(folder, items):
    """A folder to import: a benchmark of `items` short questions, whose answers are compared with a text."""
    (folder / "prompts").mkdir(parents=True)
    (folder / "benchmark.yaml").write_text(
        "slug: bench-engine\ntitle: Engine\nscorers:\n  - type: icontains\nitems:\n  file: items.jsonl\n")
    (folder / "prompts" / "bench-engine.yaml").write_text(
        "slug: bench-engine\ntitle: Engine\nbody:\n  kind: text\n  text: |-\n"
        "    Answer with one word.\n\n    What is the code of item {{ number }}?\n")
    with open(folder / "items.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(
            json.dumps({"id": str(number), "vars": {"number": number}, "expected": "blue"}) + "\n" for number in range(items))


class Bank:
    """API, workers, scheduler and a simulated provider against one database; they end with the `with` block."""

    def __init__(self, database, master_key, workers=1):
        self.database = database
        self.master_key = master_key
        self.folder = tempfile.mkdtemp(prefix="opb-processes-")
        self.processes = {}
        self.token = None
        self.simulator = None
        api, *self.monitors = free_ports(workers + 3)
        self.url = f"http://127.0.0.1:{api}"
        self.api_port = api
        names = ["opb-api", "opb-scheduler"] + [f"opb-worker-{n + 1}" for n in range(workers)]
        self.monitors = dict(zip(names, self.monitors))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for name, process in self.processes.items():
            if process.poll() is None:
                process.kill()
                process.wait()
            if kind:
                with open(self.log(name), encoding="utf-8") as log:
                    lines = [line.rstrip()[:200] for line in log.readlines()[-10:]]
                    print("\n".join([f"--- {name}", *lines]), file=sys.stderr)

    def log(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, program, *words, **settings):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OPB_")}
        environment |= {"DATABASE_URL": self.database, "OPB_MASTER_KEY": self.master_key,
                        "OPB_ALLOW_OUTBOUND": "127.0.0.1", **settings}
        with open(self.log(name), "a", encoding="utf-8") as log:
            self.processes[name] = subprocess.Popen([os.path.join(BIN, program), *words], env=environment,
                                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def migrate(self):
        subprocess.run([os.path.join(BIN, "opb"), "migrate"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DATABASE_URL": self.database})

    def start_all(self, **settings):
        """Starts every process and waits until each is ready."""
        for name, port in self.monitors.items():
            program = name if name in ("opb-api", "opb-scheduler") else "opb-worker"
            self.start(name, program, OPB_LISTEN=f"127.0.0.1:{self.api_port}",
                       OPB_MONITOR_LISTEN=f"127.0.0.1:{port}", **settings)
        for name, port in self.monitors.items():
            until(f"{name} is ready", lambda name=name, port=port: self.alive(name) and self.health(port) == 0)

    def alive(self, name):
        code = self.processes[name].poll()
        if code is not None:
            raise SystemExit(f"{name} ended with code {code}")
        return True

    def health(self, port):
        """The exit code of the containers' health check."""
        return subprocess.run([os.path.join(BIN, "opb"), "health", "--health-url", f"http://127.0.0.1:{port}/readyz"],
                              check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def start_simulator(self, *words):
        [port] = free_ports(1)
        self.start("simulator", "opb", "simulate", "--port", str(port), *words, OPB_SIMULATE_API_KEY=SIMULATOR_KEY)
        self.simulator = f"http://127.0.0.1:{port}/v1"

    def stop_all(self):
        """Asks every process to stop; each must stop cleanly."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            code = process.wait(60)
            assert code == 0, f"{name} ended with code {code} after SIGTERM"

    def kill_all(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def ask(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def become_administrator(self, name="operator"):
        user = {"username": name, "email": f"{name}@example.org", "password": "seven tall lighthouses"}
        self.ask("POST", "/api/v1/auth/register", user)
        psql(self.database, f"update users set role = 'admin' where username = '{name}'")
        self.log_in(name)

    def log_in(self, name="operator"):
        login = {"username": name, "password": "seven tall lighthouses"}
        self.token = self.ask("POST", "/api/v1/auth/login", login)["access_token"]

    def add_provider(self, name, credential):
        body = {"name": name, "kind": "openai", "base_url": self.simulator, "credential": credential}
        self.ask("POST", "/api/v1/providers", body)

    def submit(self, models, repeats=1, cache=False):
        body = {"benchmark": "first-steps", "prompts": ["number-only", "step-by-step"], "models": models,
                "repeats": repeats, "cache": cache}
        return self.ask("POST", "/api/v1/runs", body)["id"]

    def run(self, run_id):
        return self.ask("GET", f"/api/v1/runs/{run_id}")

    def finished(self, run_id):
        """Waits until a run has ended, and returns it."""
        ended = ("completed", "failed", "cancelled")
        return until(f"run {run_id} ends", lambda: (run := self.run(run_id))["state"] in ended and run)
