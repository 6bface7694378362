# SPDX-License-Identifier: Apache-2.0
"""A host without any cgroup file system: everything but the limits that need one, which are refused with the reason."""
import json
import os
import subprocess
from pathlib import Path

import pytest

CLEAVE = Path(__file__).resolve().parent.parent.parent / "build/cleave"
SUMS = "import sys\nn = 0\nfor line in sys.stdin:\n    n += int(line)\n    print(n, flush=True)\n"

pytestmark = pytest.mark.skipif(os.environ.get("CLEAVE_LANE", "") != "vm-none", reason="a host without cgroups is booted for it")


@pytest.fixture(params=["root", "user"])
def cleave(request, record_property):
    record_property("who", request.param)
    prefix = [os.environ["CLEAVE_TEST_AS_USER"]] if request.param == "user" else []

    def call(*words, status=0, **more):
        done = subprocess.run([*prefix, CLEAVE, *words], capture_output=True, text=True, timeout=120, **more)
        assert status is None or done.returncode == status, (words, done)
        return done

    yield call
    call("rm", "-f", "a", "b", "c", status=None)
    assert call("gc").stdout == "" and json.loads(call("ps", "-a", "--json").stdout) == []


def test_there_is_none():
    assert "cgroup" not in Path("/proc/mounts").read_text()


def test_a_command(cleave):
    record = json.loads(cleave("run", "--timeout", "60", "--nofile", "64", "--disk", "8m", "--json", "echo", "hi").stdout)
    assert record["status"] == "exited" and record["stdout"] == "hi\n"
    assert all(record["limits"][name]["enforced"] for name in ("timeout", "nofile", "disk"))


@pytest.mark.parametrize("limit", [("--memory", "64m"), ("--pids", "50"), ("--cpus", "0.5")], ids=lambda words: words[0][2:])
def test_a_limit_that_needs_one(cleave, limit):
    said = cleave("run", *limit, "true", status=125).stderr
    assert said.startswith("cleave run: ") and f"{limit[0]} can't be enforced" in said and "cgroup" in said, said
    record = json.loads(cleave("run", *limit, "--degrade", "--json", "true").stdout)
    assert record["status"] == "exited" and record["limits"][limit[0][2:]]["enforced"] is False


def test_time_is_up(cleave):
    """Processes that leave their session and ignore signals end with the sandbox."""
    record = json.loads(cleave("run", "--timeout", "2", "--json", "sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000",
                               status=124).stdout)
    assert record["status"] == "timeout"
    assert "sleep 1000" not in " ".join(leftover.read_text().replace("\0", " ") for leftover in Path("/proc").glob("[0-9]*/cmdline"))


def test_live_and_fork(cleave):
    cleave("start", "-i", "a", "--", "python3", "-c", SUMS)
    assert cleave("exec", "a", "echo", "in").stdout == "in\n"
    cleave("pause", "a")
    assert json.loads(cleave("inspect", "a").stdout)["state"] == "paused"
    cleave("fork", "a", "b", "c")
    cleave("resume", "a")
    for name in ("a", "b", "c"):
        assert json.loads(cleave("inspect", name).stdout)["state"] == "running"
        assert cleave("exec", name, "hostname").stdout == f"{name}\n"


def test_doctor_says_so(cleave):
    layers = json.loads(cleave("doctor", "--json", status=None).stdout)["layers"]
    for name in ("cgroup_memory", "cgroup_pids", "cgroup_cpu"):
        assert layers[name]["state"] != "on" and "cgroup" in layers[name]["remedy"], layers[name]


def test_the_remedy():
    """The line that root is given, as it stands; the last test here."""
    doctor = subprocess.run([CLEAVE, "doctor", "--json"], capture_output=True, text=True, timeout=120)
    line = json.loads(doctor.stdout)["layers"]["cgroup_memory"]["remedy"]
    said = subprocess.run([CLEAVE, "run", "--memory", "64m", "true"], capture_output=True, text=True, timeout=120)
    assert said.returncode == 125 and line in said.stderr, said
    subprocess.run(["sh", "-ec", line], check=True)
    done = subprocess.run([CLEAVE, "run", "--memory", "64m", "--pids", "50", "--cpus", "0.5", "--json", "true"],
                          capture_output=True, text=True, timeout=120)
    limits = json.loads(done.stdout)["limits"]
    assert all(limits[name]["enforced"] for name in ("memory", "pids", "cpus")), done
