# SPDX-License-Identifier: Apache-2.0
"""Forks of an ordinary user where Yama restricts ptrace, as Ubuntu does: a keeper owns its sandbox's user namespace."""
import os
import subprocess
import time
from pathlib import Path

import pytest

CLEAVE = Path(__file__).resolve().parent.parent.parent / "build/cleave"
SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
USER = 1234
COUNTER = "import time\nn = 0\nwhile True:\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.2)\n"


@pytest.fixture(params=["1", "2"])
def scope(request, record_property):
    record_property("who", "user")
    before = SCOPE.read_text()
    SCOPE.write_text(request.param)
    assert SCOPE.read_text().strip() == request.param
    yield
    SCOPE.write_text(before)


@pytest.fixture
def cleave(tmp_path):
    runtime = f"/run/user/{USER}"
    environ = {"PATH": os.environ["PATH"], "HOME": "/tmp", "XDG_RUNTIME_DIR": runtime}

    def call(*words, status=0):
        done = subprocess.run([CLEAVE, *words], user=USER, group=USER, extra_groups=[], env=environ,
                              capture_output=True, text=True, timeout=120)
        assert status is None or done.returncode == status, (words, done)
        return done.stdout

    yield call
    call("rm", "-f", "source", "clone", status=None)


def lines(cleave, name, more_than):
    deadline = time.monotonic() + 120
    while len(cleave("logs", name).split()) <= more_than:
        assert time.monotonic() < deadline, (name, cleave("logs", name))
        time.sleep(0.3)
    return [int(n) for n in cleave("logs", name).split()]


def test_a_user_forks_where_tracing_is_restricted(scope, cleave):
    cleave("start", "source", "--", "python3", "-u", "-c", COUNTER)
    seen = lines(cleave, "source", 2)
    assert cleave("fork", "source", "clone").split() == ["clone"]
    went_on = lines(cleave, "clone", 2)
    assert went_on[0] >= seen[-1] and went_on == list(range(went_on[0], went_on[0] + len(went_on)))
    assert lines(cleave, "source", len(seen))[-1] > seen[-1]
