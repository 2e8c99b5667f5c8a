"""Measures the start time of the command `opb`: the median of several starts, compared with `true`.

Fails when the median exceeds 50 ms. Settings: OPB_BIN (target/release/opb), STARTS (50), LIMIT_MS (50).
"""

import os
import statistics
import subprocess
import sys
import time

PROGRAM = os.environ.get("OPB_BIN", "target/release/opb")
STARTS = int(os.environ.get("STARTS", "50"))
LIMIT_MS = float(os.environ.get("LIMIT_MS", "50"))
COMMANDS = {"true": ["true"], "opb --version": [PROGRAM, "--version"], "opb --help": [PROGRAM, "--help"]}


def milliseconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    # In turn, so that other load on the machine affects all commands equally.
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(STARTS):
        for name, command in COMMANDS.items():
            times[name].append(milliseconds(command))
    print("| command | median | slowest |")
    print("| --- | --- | --- |")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        print(f"| {name} | {medians[name]:.1f} ms | {max(found):.1f} ms |")
    slowest = max(medians.values())
    if slowest > LIMIT_MS:
        sys.exit(f"a start takes {slowest:.1f} ms; the limit is {LIMIT_MS:.0f} ms")


main()
