# SPDX-License-Identifier: Apache-2.0
"""tools/leaks beside other users of the host: from within a PID namespace their cgroups look empty and are not."""
import json
import os
import subprocess
from pathlib import Path

import pytest

LEAKS = Path(__file__).resolve().parent.parent.parent / "tools/leaks"
PIDS = Path("/sys/fs/cgroup/pids")


@pytest.fixture
def cgroup():
    """One like a sandbox's, with the shared one above it, which stays while others use it."""
    if os.geteuid() != 0 or not os.access(PIDS, os.W_OK):
        pytest.skip("no cgroup v1 that we may write to")
    path = PIDS / "cleave" / f"test-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    path.rmdir()
    try:
        path.parent.rmdir()
    except OSError:
        pass


def found(cgroup, tmp_path):
    (tmp_path / "before").write_text(json.dumps([]))
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", LEAKS, "check", tmp_path / "before", "--below", "1",
                           "--wait", "0"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr == "", done  # mounts at least
    return f"leaks: cgroup {cgroup}" in done.stdout.splitlines()


def test_a_cgroup_of_somebody_outside(cgroup, tmp_path):
    assert found(cgroup, tmp_path)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        assert not found(cgroup, tmp_path)
    finally:
        process.kill()
        process.wait()
    assert found(cgroup, tmp_path)
