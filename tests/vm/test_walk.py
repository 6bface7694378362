# SPDX-License-Identifier: Apache-2.0
"""The three things cleave is for, once each on the guest's kernel and cgroups: run with limits, live, fork."""
import json
import subprocess
import time
from pathlib import Path

CLEAVE = Path(__file__).resolve().parent.parent.parent / "build/cleave"
COUNTER = "n = 0\nimport time\nwhile True:\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.3)\n"


def cleave(*words, status=0):
    done = subprocess.run([CLEAVE, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, (words, done)
    return done.stdout


def test_run_with_limits():
    record = json.loads(cleave("run", "--memory", "64M", "--pids", "10", "--cpus", "0.5", "--json", "echo", "hi"))
    assert record["status"] == "exited" and record["stdout"] == "hi\n"
    assert all(record["limits"][name]["enforced"] for name in ("memory", "pids", "cpus"))


def wait_for_lines(name, more_than):
    deadline = time.monotonic() + 120
    while True:
        lines = cleave("logs", name).split()
        if len(lines) > more_than:
            return lines
        assert time.monotonic() < deadline, (name, lines)
        time.sleep(0.5)


def test_live_and_fork():
    cleave("start", "walker", "--", "python3", "-u", "-c", COUNTER)
    try:
        wait_for_lines("walker", 2)
        assert cleave("exec", "walker", "hostname") == "walker\n"
        assert cleave("fork", "walker", "left", "right").split() == ["left", "right"]
        for name in ("left", "right"):
            lines = wait_for_lines(name, 1)
            assert int(lines[0]) > 2, "it goes on where the source stood"
            assert cleave("exec", name, "hostname") == f"{name}\n"
        wait_for_lines("walker", 4)
    finally:
        cleave("rm", "-f", "walker")
        subprocess.run([CLEAVE, "rm", "-f", "left", "right"], capture_output=True, check=False)
