"""A bank behind PgBouncer in transaction mode. See scripts/test-pgbouncer."""

import os
import subprocess
import tempfile
import threading
import urllib.request
from urllib.parse import parse_qs, urlsplit, urlunsplit

from process_bank import SIMULATOR_KEY, Bank, free_ports, new_master_key, psql, until

WORKERS = 2
# Maximum number of server connections of PgBouncer, for all processes together.
POOL = 6
# Direct connections of each process: the doorbell of the API, the queue and the doorbell of a worker.
DIRECT = {"opb-api": 1, "opb-worker": 6, "opb-scheduler": 0}

server = os.environ["DATABASE_URL"]


def start_pgbouncer(database):
    """Starts a PgBouncer in transaction mode before a database; returns its process and the URL through it."""
    parts = urlsplit(database)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname])[0]
    port = query.get("port", [parts.port or 5432])[0]
    user = query.get("user", [parts.username])[0]
    password = f"password={parts.password}" if parts.password else ""
    [listen] = free_ports(1)
    folder = tempfile.mkdtemp(prefix="opb-pgbouncer-")
    os.chmod(folder, 0o777)
    with open(f"{folder}/pgbouncer.ini", "w", encoding="utf-8") as settings:
        settings.write(f"""
[databases]
bank = host={host} port={port} user={user} {password} dbname={parts.path[1:]}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = 500
max_prepared_statements = 500
ignore_startup_parameters = extra_float_digits
""")
    words = [os.environ["PGBOUNCER"], f"{folder}/pgbouncer.ini"]
    if os.geteuid() == 0:
        words = [words[0], "-u", "nobody", words[1]]
    with open(f"{folder}/log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    address = f"postgres://{user}@127.0.0.1:{listen}/bank"
    until("PgBouncer answers", lambda: process.poll() is None and subprocess.run(
        ["psql", "-X", "-q", "-d", address, "-c", "select 1"], check=False, capture_output=True).returncode == 0, 20)
    return process, address


class Watch(threading.Thread):
    """Records the maximum number of connections to Postgres at any moment, by who opened them."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.most, self.most_by, self.stop = database, 0, {}, threading.Event()

    def run(self):
        while not self.stop.wait(0.2):
            rows = psql(self.database, "select application_name, count(*) from pg_stat_activity where datname ="
                        " current_database() and pid <> pg_backend_pid() group by 1")
            counts = {name: int(count) for name, count in (row.rsplit("|", 1) for row in rows)}
            self.most = max(self.most, sum(counts.values()))
            for name, count in counts.items():
                self.most_by[name] = max(self.most_by.get(name, 0), count)


def first_event(bank, run):
    """The first live event of a run."""
    request = urllib.request.Request(f"{bank.url}/api/v1/runs/{run}/events",
                                     headers={"authorization": f"Bearer {bank.token}"})
    with urllib.request.urlopen(request, timeout=30) as stream:
        return next(line for line in stream if line.startswith(b"data:"))


def main():
    psql(server, "create database pooled")
    database = urlunsplit(urlsplit(server)._replace(path="/pooled"))
    process, pooled = start_pgbouncer(database)
    try:
        with Bank(database, new_master_key(), workers=WORKERS) as bank:
            bank.migrate()
            bank.start_simulator("--latency", "20")
            bank.start_all(OPB_POOLED_DATABASE_URL=pooled, OPB_CONCURRENCY="64")
            bank.become_administrator()
            bank.add_provider("pooled", SIMULATOR_KEY)
            watch = Watch(database)
            watch.start()
            run = bank.submit(["pooled:strong", "simulated:weak"], repeats=20)
            assert b"recorded" in first_event(bank, run)
            # Many readers beside the run, each on any free connection.
            errors = []

            def read():
                try:
                    for _ in range(20):
                        for path in ("/api/v1/prompts?q=step", "/api/v1/prompts/suggest?q=st", "/api/v1/prompts",
                                     "/api/v1/leaderboards/first-steps?simulated=true", "/api/v1/runs", f"/api/v1/runs/{run}"):
                            bank.ask("GET", path)
                except Exception as error:  # noqa: BLE001 # Every error is shown at the end.
                    errors.append(error)

            readers = [threading.Thread(target=read) for _ in range(10)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            assert not errors, errors[:3]
            ended = bank.finished(run)
            assert ended["state"] == "completed" and ended["recorded"] == ended["planned"], ended
            assert bank.ask("GET", "/api/v1/prompts?q=step")["items"], "the search finds something"
            board = bank.ask("GET", "/api/v1/leaderboards/first-steps?simulated=true")
            assert board["standings"], board
            watch.stop.set()
            watch.join()
            print(f"{ended['recorded']} evaluations, {ended['errors']} errors; maximum of connections to Postgres: {watch.most}")
            for name, count in sorted(watch.most_by.items()):
                print(f"  {count:3}  {name}")
            bound = POOL + DIRECT["opb-api"] + WORKERS * DIRECT["opb-worker"]
            assert watch.most <= bound, f"more than {bound}"
            bank.stop_all()
    finally:
        process.terminate()
        process.wait()
    print("a bank works behind PgBouncer in transaction mode")


main()
