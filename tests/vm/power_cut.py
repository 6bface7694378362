# SPDX-License-Identifier: Apache-2.0
"""The first boot of the power cut: leaves sandboxes of root and of the user on the disk, says so and waits for the end.

Nothing is synced by hand: what has to survive is what cleave itself brought to the disk. What test_power_cut.py finds
in the second boot is told in before.json.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CLEAVE = Path(__file__).resolve().parent.parent.parent / "build/cleave"
STATES = {"root": Path("/var/lib/cleave-root"), "user": Path("/var/lib/cleave-user")}
USER_ID = 1234
COUNTER = "n = 0\nimport time\nwhile True:\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.2)\n"


def popen(who, *words, **more):
    wrapper = ["as-user"] if who == "user" else []
    return subprocess.Popen([*wrapper, CLEAVE, *words], env={**os.environ, "CLEAVE_STATE": str(STATES[who])},
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def call(who, *words):
    """(status, stdout, stderr)"""
    process = popen(who, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def well(who, *words):
    status, out, err = call(who, *words)
    assert status == 0, (who, words, status, out, err)
    return out


def wait_for_count(who, name, more_than):
    deadline = time.monotonic() + 300
    while True:
        lines = well(who, "logs", name).split()
        if lines and int(lines[-1]) > more_than:
            return [int(line) for line in lines]
        assert time.monotonic() < deadline, (who, name, lines)
        time.sleep(0.2)


def prepare(who):
    state = STATES[who]
    state.mkdir(mode=0o711)
    if who == "user":
        os.chown(state, USER_ID, USER_ID)
    well(who, "start", "counting", "--", "python3", "-u", "-c", COUNTER)
    well(who, "start", "frozen", "--", "sleep", "1000")
    well(who, "pause", "frozen")
    well(who, "start", "ended", "--", "true")
    well(who, "wait", "ended")
    count = wait_for_count(who, "counting", 2)[-1]
    with open(f"{state}.json", "w", encoding="utf-8") as f:
        json.dump({"count": count, "boot": Path("/proc/sys/kernel/random/boot_id").read_text()}, f)
        f.flush()
        os.fsync(f.fileno())
    well(who, "snapshot", "counting", "kept")
    well(who, "start", "late")


def main():
    for who in STATES:
        prepare(who)
    being_written = [popen(who, "snapshot", "counting", "torn") for who in STATES]
    print("cut the power", flush=True)
    time.sleep(600)
    sys.exit(f"the power is still on: {being_written}")


if __name__ == "__main__":
    main()
