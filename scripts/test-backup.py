"""Backup, destruction, restore: totals are equal, work continues, sealed credentials open. See scripts/test-backup."""

import os
import subprocess
import tempfile
from urllib.parse import urlsplit, urlunsplit

from process_bank import SIMULATOR_KEY, Bank, new_master_key, psql, until

# Nothing in a finished run may differ, to the last digit and byte.
CONTENT = """
select (select string_agg(kind || ' ' || rows, ', ' order by kind) from (
           select 'users' as kind, count(*) as rows from users
           union all select 'prompt versions', count(*) from prompt_versions
           union all select 'items', count(*) from items
           union all select 'providers', count(*) from providers) as counts)
    || ', ' || (select count(*) || ' evaluations costing ' || sum(cost_microusd)
                    || ' micro-dollars, hash ' || md5(string_agg(md5(evaluations::text), '' order by item_position,
                       repeat, prompt_position, model_position))
                from evaluations where run_id = '{run}')
    || ', standings ' || (select md5(string_agg(md5(standings::text), '' order by prompt_version_id, model_id, audience_id))
                          from standings)
"""

server = os.environ["DATABASE_URL"]


def database(name):
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def script(name, address, file):
    """The output of a script, and its exit code."""
    done = subprocess.run([f"scripts/{name}", file], env={**os.environ, "DATABASE_URL": address}, check=False,
                          stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr.strip()


def main():
    before, after, key = database("bank_before"), database("bank_after"), new_master_key()
    psql(server, "create database bank_before")
    folder = tempfile.mkdtemp(prefix="opb-backup-")
    file = os.path.join(folder, "bank.dump")

    with Bank(before, key) as bank:
        bank.migrate()
        bank.start_simulator("--latency", "20")
        bank.start_all(OPB_CONCURRENCY="16")
        bank.become_administrator()
        bank.add_provider("sealed", SIMULATOR_KEY)
        done = bank.submit(["sealed:strong", "simulated:weak"])
        run = bank.finished(done)
        assert run["state"] == "completed" and run["errors"] == 0, run
        # A second run is in progress both when the copy is made and when everything is destroyed.
        under_way = bank.submit(["sealed:fast", "simulated:balanced"], repeats=20)
        until("the second run has begun", lambda: bank.run(under_way)["recorded"] > 0)
        content = psql(before, CONTENT.format(run=done))
        code, said = script("backup", before, file)
        assert code == 0, said
        print(said)
        assert script("backup", before, file)[0] == 2, "a backup must not overwrite another one"
        assert bank.run(under_way)["state"] == "running", "the second run should be in progress"
        with open(file, "rb") as copy:
            copied = copy.read()
        assert key.encode() not in copied, "the master key is in the copy"
        assert SIMULATOR_KEY.encode() not in copied, "a credential is in the copy"
        code, said = script("restore", before, file)
        assert code == 1 and "not empty" in said, said
        bank.kill_all()
        psql(server, "drop database bank_before with (force)")

    psql(server, "create database bank_after")
    damaged = os.path.join(folder, "damaged.dump")
    with open(damaged, "wb") as copy:
        copy.write(copied[: len(copied) // 2])
    assert script("restore", after, damaged)[0] != 0, "half a copy was restored"
    assert psql(after, "select count(*) from pg_tables where schemaname = 'public'") == ["0"], "half a copy is there"
    code, said = script("restore", after, file)
    assert code == 0, said
    print(said)
    restored = psql(after, CONTENT.format(run=done))
    assert restored == content, f"before: {content}\nafter:  {restored}"
    print(f"equal before and after: {content[0]}")

    with Bank(after, key) as bank:
        bank.start_simulator("--latency", "none")
        # The provider has moved, as it may after a disaster; its sealed credential stays.
        psql(after, f"update providers set base_url = '{bank.simulator}' where name = 'sealed'")
        bank.migrate()
        bank.start_all()
        bank.log_in()
        run = bank.finished(under_way)
        assert (run["state"], run["recorded"], run["errors"]) == ("completed", run["planned"], 0), run
        print(f"the unfinished run completed its {run['planned']} evaluations without an error")
        run = bank.finished(bank.submit(["sealed:strong"]))
        assert (run["state"], run["errors"]) == ("completed", 0), run
        print("the sealed credential opens")
        bank.stop_all()

    # With another master key it does not, so the check above was meaningful.
    with Bank(after, new_master_key()) as bank:
        bank.start_all()
        bank.log_in()
        run = bank.finished(bank.submit(["sealed:strong"]))
        assert run["errors"] == run["planned"], run
        print("another master key opens nothing, and every evaluation reports it")
        bank.stop_all()


main()
