"""Every tick becomes exactly one run, whatever clocks do and whichever process is killed. See scripts/test-schedules."""

import os
import time

from process_bank import Bank, free_ports, new_master_key, psql, until

SCHEDULES = 10
CLOCK = os.environ["OPB_CLOCK_FILE"]
DATABASE = os.environ["SCRATCH_DATABASE_URL"]

# Per schedule: ticks that fired, ticks that were due, and runs. The policies skip nothing here.
BOOKS = """
with books as (
    select count(*) as fired, count(distinct run_id) as runs, max(missed) as missed,
           count(*) filter (where state <> 'submitted') as failed,
           extract(epoch from max(due_at) - min(due_at)) / 60 + 1 as ticks
    from firings group by schedule_id)
select count(*), sum(fired), bool_and(fired = ticks), bool_and(runs = fired), bool_and(missed = 0 and failed = 0)
from books
"""


def set_clock(text):
    """Sets what libfaketime reads: an offset, and the speed of the clock."""
    with open(CLOCK + ".new", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(CLOCK + ".new", CLOCK)


def now():
    return psql(DATABASE, "select now()")[0]


def fired():
    return int(psql(DATABASE, "select count(*) from firings")[0])


def start_scheduler(bank, name, **settings):
    [port] = free_ports(1)
    bank.start(name, "opb-scheduler", OPB_MONITOR_LISTEN=f"127.0.0.1:{port}", **settings)


def main():
    with Bank(DATABASE, new_master_key()) as bank:
        bank.migrate()
        for name, program in (("opb-api", "opb-api"), ("opb-worker-1", "opb-worker")):
            port = bank.monitors[name]
            bank.start(name, program, OPB_LISTEN=f"127.0.0.1:{bank.api_port}", OPB_MONITOR_LISTEN=f"127.0.0.1:{port}")
            until(f"{name} is ready", lambda port=port: bank.health(port) == 0)
        # The worker has registered the simulated models; its leases would expire sixty times as fast.
        bank.processes["opb-worker-1"].kill()
        bank.become_administrator()
        request = {"benchmark": "first-steps", "prompts": ["number-only"], "models": ["simulated:strong"], "limit": 1}
        for number in range(SCHEDULES):
            bank.ask("POST", "/api/v1/schedules", {
                "name": f"every minute {number}", "cron": "* * * * *", "time_zone": "Australia/Lord_Howe",
                "request": request, "catch_up": "all", "catch_up_limit": 100, "jitter_seconds": number})

        for number in range(2):
            start_scheduler(bank, f"scheduler-{number}")
        # The clock of this one is wrong by an hour; no scheduler's clock decides anything.
        start_scheduler(bank, "scheduler-2", LD_PRELOAD=os.environ["FAKETIME_LIBRARY"], FAKETIME="+1h",
                        FAKETIME_DONT_FAKE_MONOTONIC="1")
        started = time.monotonic()
        set_clock("+0 x60")
        until("50 ticks have fired", lambda: fired() >= 50)
        bank.processes["scheduler-0"].kill()
        print(f"{fired()} ticks had fired when a scheduler was killed; it is {now()} for the database")
        until("200 ticks have fired", lambda: fired() >= 200)

        before = now()
        set_clock("+1h x60")
        until("the clock has jumped", lambda: psql(DATABASE, f"select now() > '{before}'::timestamptz + interval '55 minutes'")[0] == "t")
        until("the ticks of the jump have fired", lambda: fired() >= 200 + SCHEDULES * 55)
        print(f"{fired()} ticks had fired after the database's clock was put forward, from {before} to {now()}")

        before, count = now(), fired()
        set_clock("+30m x60")
        until("the clock has jumped back", lambda: psql(DATABASE, f"select now() < '{before}'::timestamptz - interval '20 minutes'")[0] == "t")
        back = now()
        until("new ticks have fired", lambda: fired() >= count + SCHEDULES * 3)
        print(f"{fired()} ticks had fired after it was put back, from {before} to {back}")

        for name in ("scheduler-1", "scheduler-2"):
            bank.processes[name].terminate()
            assert bank.processes[name].wait(30) == 0, name
        [books] = psql(DATABASE, BOOKS)
        schedules, ticks, complete, own_runs, clean = books.split("|")
        runs = int(psql(DATABASE, "select count(*) from runs")[0])
        print(f"{schedules} schedules, {ticks} ticks, {runs} runs, in {time.monotonic() - started:.0f} s")
        assert int(schedules) == SCHEDULES and int(ticks) == runs, books
        assert (complete, own_runs, clean) == ("t", "t", "t"), books
        print("every tick fired exactly once")


main()
