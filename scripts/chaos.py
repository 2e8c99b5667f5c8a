"""No evaluation is lost or doubled, whichever process dies. See scripts/chaos."""

import glob
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from process_bank import SIMULATOR_KEY, Bank, free_ports, new_master_key, psql, until

WORKERS = 4
ITEMS = 2_500
PLANNED = ITEMS * 2 * 4
MODELS = ["chaos:strong", "chaos:balanced", "chaos:fast", "chaos:weak"]
# Short, so that the shards of a dead worker are taken over during the run.
LEASE_SECONDS = 5
KILL_EVERY_SECONDS = 2
FAULTS = "server_error,reset,truncated_json,garbage"
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 32)
# Removes the protection of a run: the comparison must then fail.
PLANTED = bool(os.environ.get("CHAOS_PLANT"))

# The content of an evaluation that does not depend on when and by which worker it was made.
CONTENT = """
select count(*), count(distinct (item_position, repeat, prompt_position, model_position)),
       md5(string_agg(concat_ws('|', item_position, repeat, prompt_position, model_position, state, score, passed,
           output, finish_reason, error_kind, input_tokens, output_tokens, cost_microusd), e'\\n'
           order by item_position, repeat, prompt_position, model_position))
from evaluations where run_id = '{run}'
"""
STANDINGS = """
select count(*), md5(string_agg(concat_ws('|', prompts.slug, models.name, items, evaluations, errors, score, score_low,
           score_high, figures ->> 'pass_rate', item_scores::text, rank_low, rank_high, tie_group, cost_per_1000_microusd), e'\\n'
           order by prompts.slug, models.name))
from standings join prompt_versions on prompt_versions.id = prompt_version_id
     join prompts on prompts.id = prompt_versions.prompt_id join models on models.id = model_id
where standings.run_id = '{run}' and audience_id is not null
"""
TOTALS = ("recorded", "passed", "errors", "cost_microusd", "input_tokens", "output_tokens")


class Postgres:
    """Our own server, durable as in production, that can be restarted."""

    def __init__(self):
        found = shutil.which("initdb")
        folders = [os.path.dirname(os.path.realpath(found))] if found else sorted(
            glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]), reverse=True)
        if not folders:
            raise SystemExit("chaos: no PostgreSQL server binaries (initdb, pg_ctl) found; run scripts/prepare")
        self.bin = folders[0]
        self.owner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.folder = tempfile.mkdtemp(prefix="postgres-")
        [self.port] = free_ports(1)
        if self.owner:
            shutil.chown(self.folder, "postgres")
        self.run("initdb", "-U", "opb", "-A", "trust", "-E", "UTF8", "--locale=C")
        self.start()

    def run(self, program, *words):
        subprocess.run([*self.owner, f"{self.bin}/{program}", "-D", f"{self.folder}/data", *words], check=True,
                       cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def start(self):
        self.run("pg_ctl", "start", "-s", "-w", "-t", "60", "-l", f"{self.folder}/log", "-o",
                 f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}")

    def stop(self, mode):
        self.run("pg_ctl", "stop", "-s", "-w", "-m", mode)

    def database(self, name):
        psql(f"postgres://opb@127.0.0.1:{self.port}/postgres", f"create database {name}")
        return f"postgres://opb@127.0.0.1:{self.port}/{name}"


def pack(folder):
    """A benchmark that every model answers partly correctly."""
    os.makedirs(f"{folder}/prompts")
    with open(f"{folder}/benchmark.yaml", "w", encoding="utf-8") as file:
        file.write("slug: chaos\ntitle: Chaos\nscorers:\n  - type: icontains\nitems:\n  file: items.jsonl\n")
    for slug, text in (("chaos-short", "{{ question }}"), ("chaos-long", "Think it over.\n\n    {{ question }}")):
        with open(f"{folder}/prompts/{slug}.yaml", "w", encoding="utf-8") as file:
            file.write(f"slug: {slug}\ntitle: {slug}\nbody:\n  kind: text\n  text: |-\n    {text}\n")
    with open(f"{folder}/items.jsonl", "w", encoding="utf-8") as items, \
            open(f"{folder}/answers.jsonl", "w", encoding="utf-8") as answers:
        for number in range(ITEMS):
            line = {"vars": {"question": f"What is {number} plus 1?"}, "expected": str(number + 1)}
            items.write(json.dumps({"id": str(number), **line}) + "\n")
            answers.write(json.dumps(line) + "\n")


def furnish(bank, folder, *simulate):
    """Everything except workers: schema, provider with prices, benchmark, API and scheduler."""
    bank.migrate()
    bank.start_simulator("--seed", "7", "--answers", f"{folder}/answers.jsonl", *simulate)
    bank.start_all()
    bank.become_administrator()
    bank.add_provider("chaos", SIMULATOR_KEY)
    subprocess.run([f"{os.environ['OPB_BIN_DIR']}/opb", "import", folder], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "OPB_URL": bank.url, "OPB_API_KEY": bank.token})
    for model in MODELS:
        bank.ask("PATCH", "/api/v1/providers/chaos/prices",
                 {"model": model.split(":")[1], "input_microusd_per_mtok": 3_000_000, "output_microusd_per_mtok": 15_000_000})


class ChaosBank(Bank):
    """A bank whose workers come and go."""

    def __init__(self, database):
        super().__init__(database, new_master_key(), workers=0)
        self.born = 0

    def start_worker(self, **settings):
        self.born += 1
        name = f"worker-{self.born}"
        self.start(name, "opb-worker", OPB_LEASE=str(LEASE_SECONDS), OPB_LOG="warn", **settings)
        return name

    def submit_chaos(self):
        body = {"benchmark": "chaos", "prompts": ["chaos-short", "chaos-long"], "models": MODELS}
        return self.ask("POST", "/api/v1/runs", body)["id"]

    def recorded(self, run):
        [count] = psql(self.database, f"select recorded from run_counts where run_id = '{run}'")
        return int(count)

    def freeze(self, name):
        """Freezes a worker, and returns the shards that it held."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        return psql(self.database, f"select id from shards where worker = '{process.pid}' and state = 'running'")

    def holders(self):
        """The number of workers that hold a shard."""
        [count] = psql(self.database, "select count(distinct worker) from shards where state = 'running'")
        return int(count)

    def at_work_elsewhere(self, name, shards):
        """The number of these shards that another worker holds."""
        [count] = psql(self.database, f"""select count(*) from shards where id = any('{{{",".join(shards)}}}')
            and state = 'running' and lease_until > now() and worker <> '{self.processes[name].pid}'""")
        return int(count)

    def wake(self, name):
        self.processes[name].send_signal(signal.SIGCONT)

    def calls(self):
        request = urllib.request.Request(self.simulator.removesuffix("/v1") + "/stats",
                                         headers={"authorization": f"Bearer {SIMULATOR_KEY}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def result(bank, run):
    """What two runs of the same request must have in common."""
    totals = bank.run(run)
    return {"totals": {name: totals[name] for name in TOTALS},
            "evaluations": psql(bank.database, CONTENT.format(run=run)),
            "standings": psql(bank.database, STANDINGS.format(run=run))}


def plant(database):
    """Removes the protection of a run: fences never move, and results have no key and no limit on their number."""
    psql(database, """
        create function forget_fence() returns trigger language plpgsql as $$
            begin new.fence := old.fence; return new; end $$;
        create trigger forget_fence before update on shards for each row execute function forget_fence();
        alter table evaluations drop constraint evaluations_pkey cascade;
        alter table shards drop constraint shards_counted_check;
        alter table runs drop constraint runs_check, drop constraint runs_counted_check""")
    print("planted: no fences, no unique key, no limit on recorded evaluations")


def plant_open(database, shards):
    """Removes the last protection of a finished shard, its state: it looks as its first worker left it."""
    psql(database, f"""update shards set state = 'running', lease_until = now() + interval '1 hour'
        where id = any('{{{",".join(shards)}}}')""")
    print("planted: finished shards look open")


def undisturbed(postgres, folder):
    with ChaosBank(postgres.database("undisturbed")) as bank:
        furnish(bank, folder, "--latency", "none")
        bank.start_worker()
        run = bank.submit_chaos()
        ended = bank.finished(run)
        assert (ended["state"], ended["recorded"], ended["errors"]) == ("completed", PLANNED, 0), ended
        expected = result(bank, run)
        bank.stop_all()
    return expected


def tear(postgres, folder):
    """Kills, freezes and restarts until the run ends. Returns the result."""
    decide = random.Random(SEED)
    with ChaosBank(postgres.database("disturbed")) as bank:
        furnish(bank, folder, "--latency", "150", "--fault-rate", "0.2", "--faults", FAULTS)
        if PLANTED:
            plant(bank.database)
        settings = {"OPB_CONCURRENCY": "12", "OPB_MAX_ATTEMPTS": "20", "OPB_CALL_TIMEOUT": "5"}
        alive = [bank.start_worker(**settings) for _ in range(WORKERS)]
        run = bank.submit_chaos()
        until("every worker has a shard", lambda: bank.holders() == WORKERS)
        # Before the first kill: shards that have crashed twice are split into parts that the frozen worker does not
        # know.
        frozen, froze_at, frozen_seconds = alive.pop(0), time.monotonic(), None
        held = bank.freeze(frozen)
        assert held, "the frozen worker holds no shard"
        alive.append(bank.start_worker(**settings))
        kills = 0
        restarts = [(PLANNED // 4, "fast"), (PLANNED // 2, "immediate"), (PLANNED * 3 // 4, "immediate")]
        begun = time.monotonic()
        while (done := bank.recorded(run)) < PLANNED:
            if time.monotonic() - begun > 900:
                raise SystemExit(f"chaos: the run is at {done} of {PLANNED} after 15 minutes; seed {SEED}")
            if restarts and done >= restarts[0][0]:
                mode = restarts.pop(0)[1]
                postgres.stop(mode)
                postgres.start()
            victim = alive.pop(decide.randrange(len(alive)))
            bank.processes.pop(victim).kill()
            kills += 1
            while len(alive) < WORKERS:
                alive.append(bank.start_worker(**settings))
            next_kill = time.monotonic() + KILL_EVERY_SECONDS
            while time.monotonic() < next_kill:
                # Woken while another worker holds one of its shards: only the fence separates them then.
                if frozen_seconds is None and bank.at_work_elsewhere(frozen, held):
                    bank.wake(frozen)
                    frozen_seconds = time.monotonic() - froze_at
                    alive.append(frozen)
                time.sleep(0.1)
        seconds = time.monotonic() - begun
        ended = bank.finished(run)
        assert not restarts, "the run ended before Postgres was restarted three times"
        assert frozen_seconds, "no other worker was seen with a shard of the frozen worker"
        seen = result(bank, run)
        stats = bank.calls()
        crashes, fences = psql(bank.database, "select coalesce(sum(crashes), 0), max(fence) from shards")[0].split("|")
        useful = ended["recorded"]
        print(f"disturbed: {PLANNED} evaluations in {seconds:.0f} s, {kills} workers killed, one frozen for "
              f"{frozen_seconds:.0f} s of a lease of {LEASE_SECONDS} s, Postgres restarted 3 times")
        print(f"  {stats['model_calls']} calls: {useful} accepted, {sum(stats['by_fault'].values())} faults, "
              f"{stats['model_calls'] - useful - sum(stats['by_fault'].values())} wasted by kills; "
              f"{crashes} leases ran out, highest fence {fences}")
        print(f"  accepted cost ${ended['cost_microusd'] / 1e6:.6f}, spend ${ended['spend_microusd'] / 1e6:.6f}")
        if ended["state"] != "completed":
            print(f"  the run is {ended['state']}: {ended['state_reason']}")
    return seen


def wake_the_dead(postgres, folder):
    """Freezes most workers in the middle of their work; one finishes everything; then all wake up."""
    with ChaosBank(postgres.database("zombies")) as bank:
        furnish(bank, folder, "--latency", "100")
        if PLANTED:
            plant(bank.database)
        settings = {"OPB_CONCURRENCY": "64"}
        zombies = [bank.start_worker(**settings) for _ in range(WORKERS)]
        run = bank.submit_chaos()
        until("the run is under way", lambda: bank.recorded(run) > PLANNED // 10)
        held = [shard for name in zombies for shard in bank.freeze(name)]
        assert held, "no frozen worker holds a shard"
        bank.start_worker(OPB_CONCURRENCY="256")
        bank.finished(run)
        if PLANTED:
            plant_open(bank.database, held)
        for name in zombies:
            bank.wake(name)
        # Their calls have been answered or have timed out; what they write now must be rejected. They stop cleanly.
        for name in zombies:
            bank.processes[name].send_signal(signal.SIGTERM)
        for name in zombies:
            code = bank.processes.pop(name).wait(60)
            assert code == 0, f"{name} ended with code {code} after SIGTERM"
        after = result(bank, run)
        print(f"zombies: {WORKERS} workers frozen with {len(held)} shards, all done by another, then awake")
        bank.stop_all()
    return after


def main():
    print(f"seed {SEED}")
    postgres = Postgres()
    wrong = []
    try:
        folder = tempfile.mkdtemp(prefix="pack-")
        pack(f"{folder}/chaos")
        expected = undisturbed(postgres, f"{folder}/chaos")
        print(f"undisturbed: {expected['totals']}, {expected['standings'][0].split('|')[0]} standings")
        for name, disturb in (("disturbed", tear), ("zombies", wake_the_dead)):
            seen = disturb(postgres, f"{folder}/chaos")
            wrong += [f"{name}: {part} differ\n  undisturbed {expected[part]}\n  {name} {seen[part]}"
                      for part in expected if seen[part] != expected[part]]
    finally:
        postgres.stop("immediate")
    if wrong:
        sys.exit("\n".join(["chaos: not equal", *wrong]))
    print("0 lost, 0 doubled; evaluations, totals, costs and standings equal the undisturbed run's")


if __name__ == "__main__":
    main()
