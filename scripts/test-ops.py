"""Real Prometheus and Alertmanager beside a bank of separate processes. See scripts/test-ops.

Checks everything that grafana/ and prometheus/ promise: targets, metrics, every panel's queries, every rule, and one
alert on its way to a receiver.
"""

import collections
import glob
import http.server
import json
import math
import os
import re
import shutil
import subprocess
import threading
import time
import typing
import urllib.parse
import urllib.request

from process_bank import SIMULATOR_KEY, Bank, free_ports, new_master_key, psql, until

LABELS = {"kind", "method", "model", "outcome", "pool", "provider", "route", "scorer", "state", "status", "type",
          "version", "le"}
SERIES_PER_PROCESS = 2_000
READER_PASSWORD = "reader-for-this-test"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-|@")


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


class Receiver(http.server.BaseHTTPRequestHandler):
    """The receiver of Alertmanager's alerts and of the bank's webhook messages."""

    received: typing.ClassVar = collections.defaultdict(list)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received[self.path].append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Monitoring:
    """Prometheus with the shipped rules, and Alertmanager with the shipped route to a receiver of this test."""

    def __init__(self, bank):
        self.folder = os.path.join(bank.folder, "monitoring")
        os.mkdir(self.folder)
        self.prometheus_port, self.alertmanager_port, cluster = free_ports(3)
        self.url = f"http://127.0.0.1:{self.prometheus_port}"
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.receiver_url = f"http://127.0.0.1:{self.receiver.server_address[1]}"
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        self.write_settings(bank)
        self.processes = [
            self.start("prometheus", f"--config.file={self.folder}/prometheus.yml",
                       f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.prometheus_port}"),
            self.start("prometheus-alertmanager", f"--config.file={self.folder}/alertmanager.yml",
                       f"--storage.path={self.folder}/alerts", f"--cluster.listen-address=127.0.0.1:{cluster}",
                       f"--web.listen-address=127.0.0.1:{self.alertmanager_port}"),
        ]

    def write_settings(self, bank):
        """Writes the shipped files; only addresses and delays are this test's own."""
        shutil.copytree("prometheus/rules", f"{self.folder}/rules")
        with open("prometheus/prometheus.yml", encoding="utf-8") as file:
            settings = file.read()
        settings = re.sub(r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s", settings)
        settings = settings.replace("alertmanager:9093", f"127.0.0.1:{self.alertmanager_port}")
        settings = settings.replace("127.0.0.1:9090", f"127.0.0.1:{self.prometheus_port}")
        for job in ("opb-api", "opb-worker", "opb-scheduler"):
            targets = [f"127.0.0.1:{port}" for name, port in bank.monitors.items() if name.startswith(job)]
            found = f"job_name: {job}\n    dns_sd_configs:\n(      .*\n)+"
            settings, replaced = re.subn(found, f"job_name: {job}\n    static_configs:\n      - targets: {targets}\n",
                                         settings)
            assert replaced == 1, f"prometheus.yml has no job {job}"
        with open(f"{self.folder}/prometheus.yml", "w", encoding="utf-8") as file:
            file.write(settings)
        with open("prometheus/alertmanager.yml", encoding="utf-8") as file:
            settings = file.read()
        settings, replaced = re.subn(
            "^  - name: operators$", "  - name: operators\n    webhook_configs:\n"
            f"      - url: {self.receiver_url}/alerts",
            settings.replace("group_wait: 30s", "group_wait: 1s"), flags=re.MULTILINE)
        assert replaced == 1, "alertmanager.yml has no receiver `operators`"
        with open(f"{self.folder}/alertmanager.yml", "w", encoding="utf-8") as file:
            file.write(settings)

    def start(self, program, *words):
        with open(f"{self.folder}/{program}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        for port in (self.prometheus_port, self.alertmanager_port):
            until(f"port {port} is ready", lambda port=port: get(f"http://127.0.0.1:{port}/-/ready"))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
        self.receiver.shutdown()

    def api(self, path, **words):
        answer = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        """The values of an expression, without those that are not numbers."""
        samples = self.api("query", query=expression)["result"]
        return [sample for sample in samples if not math.isnan(float(sample["value"][1]))]


def check_targets(monitoring, bank):
    """Every process is scraped and up."""
    def up():
        targets = monitoring.api("targets")["activeTargets"]
        ours = [target for target in targets if target["labels"]["job"].startswith("opb-")]
        return len(ours) == len(bank.monitors) and all(target["health"] == "up" for target in ours) and ours
    found = collections.Counter(target["labels"]["job"] for target in until("every target is up", up))
    print("scraped:", ", ".join(f"{count} {job}" for job, count in sorted(found.items())))


def check_metrics(bank):
    """promtool reports no problems, all labels are known, and no value is an id."""
    families, most = set(), 0
    for name, port in bank.monitors.items():
        text = get(f"http://127.0.0.1:{port}/metrics")
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert lint.returncode == 0 and not lint.stdout.strip(), f"{name}: {lint.stdout}"
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        most = max(most, len(series))
        for line in series:
            families.add(re.match(r"\w+", line)[0])
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line):
                assert label in LABELS, f"{name}: the label {label} is not bounded: {line}"
                assert not ID.search(value), f"{name}: an id is a label: {line}"
    assert most < SERIES_PER_PROCESS, f"{most} series of one process"
    public = urllib.request.Request(f"{bank.url}/metrics")
    try:
        urllib.request.urlopen(public, timeout=10)
        raise AssertionError("the public port serves metrics although they have their own port")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
    print(f"metrics: {len(families)} names, at most {most} series per process, promtool reports no problems")


def start_what_repeats(bank, monitoring):
    """Starts a schedule that is due every minute, and a webhook for every run that ends."""
    request = {"benchmark": "first-steps", "prompts": ["number-only"], "models": ["simulated:strong"]}
    bank.ask("POST", "/api/v1/schedules", {"name": "minutely", "cron": "* * * * *", "request": request})
    bank.ask("POST", "/api/v1/webhooks", {"name": "receiver", "url": f"{monitoring.receiver_url}/webhook",
                                          "events": ["run.finished"]})


def check_what_repeats(bank, monitoring):
    """A tick fires, the webhook gets a message, a repeated run uses cached responses; and all of it is counted."""
    for _ in range(2):
        bank.finished(bank.submit(["remote:fast"], cache=True))
    for counted in ('opb_cache_lookups_total{outcome="miss"}', 'opb_cache_lookups_total{outcome="hit"}',
                    'opb_webhook_attempts_total{outcome="ok"}', 'opb_firings_total{state="submitted"}',
                    "opb_firing_delay_seconds_count"):
        until(f"{counted} counts", lambda counted=counted: monitoring.query(f"sum({counted}) > 0"))
    told = {message["type"] for message in Receiver.received["/webhook"]}
    assert told == {"run.finished"}, told
    print(f"repeated: a tick fired, a run used cached responses, {len(Receiver.received['/webhook'])} messages to a webhook")


def dashboards():
    for path in sorted(glob.glob("grafana/dashboards/*.json")):
        with open(path, encoding="utf-8") as file:
            yield os.path.basename(path), json.load(file)


def check_dashboards():
    """Checks what Grafana would reject: ids, titles, units, variables, data sources."""
    uids = collections.Counter(dashboard["uid"] for _, dashboard in dashboards())
    assert max(uids.values()) == 1, uids
    for name, dashboard in dashboards():
        declared = {variable["name"] for variable in dashboard["templating"]["list"]}
        ids = [panel["id"] for panel in dashboard["panels"]]
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids) and len(set(titles)) == len(titles), f"{name}: an id or a title comes twice"
        cells = set()
        for panel in dashboard["panels"]:
            where = f"{name}: {panel['title']}"
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], f"{where}: no description or unit"
            place = panel["gridPos"]
            covers = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                      for y in range(place["y"], place["y"] + place["h"])}
            assert place["x"] + place["w"] <= 24 and not cells & covers, f"{where}: lies on another panel"
            cells |= covers
            used = set(re.findall(r"\$\{?(\w+)", json.dumps(panel)))
            unknown = {variable for variable in used if not variable.startswith("__")} - declared
            assert not unknown, f"{where}: {unknown} are not declared"
            for target in panel["targets"]:
                assert target["datasource"]["uid"].startswith("${"), f"{where}: a fixed data source"


def check_panels(monitoring, reader):
    """Every panel's query returns data."""
    asked = collections.Counter()
    for name, dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query" and variable["datasource"]["type"] == "postgres":
                assert psql(reader, variable["query"]), f"{name}: the variable {variable['name']} has no value"
            elif variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
                assert monitoring.api(f"label/{label}/values", **{"match[]": metric}), f"{name}: {variable['name']}"
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                where = f"{name}: {panel['title']} {target['refId']}"
                if "rawSql" in target:
                    sql = target["rawSql"].replace("$benchmark", "first-steps")
                    sql = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 between now() - interval '1 hour' and now()", sql)
                    until(f"{where} returns data: {sql}", lambda sql=sql: psql(reader, sql), 30)
                    asked["Postgres"] += 1
                else:
                    query = target["expr"].replace("$__rate_interval", "30s").replace("$provider", ".*")
                    until(f"{where} returns data: {query}", lambda query=query: monitoring.query(query), 30)
                    asked["Prometheus"] += 1
    print(f"panels: {asked['Prometheus']} queries of Prometheus and {asked['Postgres']} of Postgres return data")


def check_reader(reader):
    """The role can read its views, and nothing else."""
    for sql in ("select * from public.users", "select * from public.evaluations", "select * from public.providers",
                "create table reader.mine (id int)", "delete from reader.leaderboard", "create table public.mine (id int)"):
        try:
            psql(reader, sql)
        except RuntimeError:
            continue
        raise AssertionError(f"the reader may: {sql}")
    print("the reader's role reads its views and nothing else")


def check_rules(monitoring):
    """Every rule can be evaluated, and every alert has a runbook."""
    def evaluated():
        groups = monitoring.api("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules and all(rule["health"] != "unknown" for rule in rules) and rules
    rules = until("every rule is evaluated", evaluated)
    for rule in rules:
        assert rule["health"] == "ok", rule
    with open("docs/OPERATIONS.md", encoding="utf-8") as file:
        anchors = {re.sub(r"[^\w -]", "", line.lstrip("# ").strip()).lower().replace(" ", "-")
                   for line in file if line.startswith("#")}
    for rule in rules:
        if rule["type"] == "alerting":
            page, anchor = rule["annotations"]["runbook_url"].split("#")
            assert page == "docs/OPERATIONS.md" and anchor in anchors, f"{rule['name']} has no runbook"
    quiet = sum(rule["type"] == "alerting" and rule["state"] == "inactive" for rule in rules)
    print(f"rules: {len(rules)} evaluated without an error, {quiet} alerts quiet, every alert has a runbook")


def check_alert(bank):
    """A wrong credential becomes an alert at the receiver, through the shipped rule and route."""
    name = "OpbCredentialRefused"
    alerts = lambda: [alert for message in Receiver.received["/alerts"] for alert in message["alerts"]]
    assert not any(alert["labels"]["alertname"] == name for alert in alerts()), "it fired before there was a reason"
    bank.add_provider("locked", "sk-not-the-right-one-0000")
    # Rejected calls are final, so the run is as short as its shards; several of them make a rising counter.
    started = time.monotonic()
    def fired():
        bank.finished(bank.submit(["locked:fast"]))
        return [alert for alert in alerts() if alert["labels"]["alertname"] == name]
    alert = until("the alert arrives", fired)[0]
    assert alert["status"] == "firing" and alert["labels"]["provider"] == "locked", alert
    assert alert["annotations"]["runbook_url"] == "docs/OPERATIONS.md#opbcredentialrefused", alert
    print(f"alert: {name} reached the receiver after {time.monotonic() - started:.0f} s: {alert['annotations']['summary']}")


def main():
    check_dashboards()
    database = os.environ["DATABASE_URL"]
    with Bank(database, new_master_key(), workers=2) as bank:
        bank.migrate()
        # Faults, so that there are failures, retries and rate limits to show.
        bank.start_simulator("--latency", "50", "--fault-rate", "0.2", "--faults", "server_error,reset,rate_limit")
        bank.start_all(OPB_CONCURRENCY="16", OPB_HOUSEKEEPING="1")
        bank.become_administrator()
        bank.add_provider("remote", SIMULATOR_KEY)
        bank.ask("PUT", "/api/v1/providers/remote/limits", {"requests_per_minute": 60000})
        parts = urllib.parse.urlsplit(database)
        reader = f"postgres://opb_reader:{READER_PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"
        for _ in range(2):  # The second time nothing changes.
            environment = os.environ | {"DATABASE_URL": database, "OPB_READER_PASSWORD": READER_PASSWORD}
            subprocess.run(["scripts/grafana-reader"], check=True, env=environment)
        with Monitoring(bank) as monitoring:
            check_targets(monitoring, bank)
            start_what_repeats(bank, monitoring)
            assert bank.finished(bank.submit(["simulated:strong", "simulated:weak"]))["state"] == "completed"
            check_what_repeats(bank, monitoring)
            # Work for the whole test; it is stopped at the end.
            long = bank.submit(["remote:fast", "simulated:balanced"], repeats=500)
            check_panels(monitoring, reader)
            check_reader(reader)
            check_rules(monitoring)
            check_metrics(bank)
            bank.ask("POST", f"/api/v1/runs/{long}/cancel")
            check_alert(bank)
        ports = list(bank.monitors.values())
        bank.stop_all()
        assert all(bank.health(port) == 1 for port in ports), "a stopped process is healthy"
        print("every process stopped cleanly, and its health check noticed")


main()
