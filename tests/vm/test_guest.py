# SPDX-License-Identifier: Apache-2.0
"""What the lane promises to the tests that run in it; keeps it from passing on an empty set."""
import ctypes
import os
import subprocess
from pathlib import Path

import pytest

LANE = os.environ.get("CLEAVE_LANE", "")
CG = Path("/sys/fs/cgroup")
CONTROLLERS = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}
SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1

pytestmark = pytest.mark.skipif(not LANE.startswith("vm-"), reason="only in the VM lane")
v2_only = pytest.mark.skipif(LANE != "vm-v2", reason="cgroup v2")
debians = pytest.mark.skipif(os.environ.get("CLEAVE_VM_KERNEL", "") != "", reason="another kernel was asked for")
v1_only = pytest.mark.skipif(LANE != "vm-v1", reason="cgroup v1")


def as_user(command):
    wrapper = os.environ["CLEAVE_TEST_AS_USER"]
    return subprocess.run([wrapper, "/bin/sh", "-ec", command], capture_output=True, text=True,
                          timeout=60)


def mounts():
    return [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]


def own_cgroup(hierarchy=""):
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if hierarchy in names.split(","):
            return path
    return None


@debians
def test_kernel():
    assert os.uname().release.startswith("6.1.")
    assert os.uname().release.endswith("-cloud-amd64")
    assert os.cpu_count() == 2
    assert os.geteuid() == 0


def test_root_is_a_disk():
    root = [m for m in mounts() if m[1] == "/"][-1]
    assert root[2] == "ext4"
    done = subprocess.run(["unshare", "-m", "sh", "-ec",
                           "d=$(mktemp -d); mount --bind / $d; cd $d; pivot_root . mnt; "
                           "test -e /srv/cleave; test -e /mnt/srv"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_root_mount_is_shared():
    line = [words for words in (text.split() for text in Path("/proc/self/mountinfo").read_text()
                                .splitlines()) if words[4] == "/"][-1]
    assert any(word.startswith("shared:") for word in line), line


def test_file_systems():
    known = Path("/proc/filesystems").read_text().split()
    assert {"overlay", "tmpfs", "ext4", "cgroup2", "mqueue"} <= set(known)


@debians
def test_landlock_is_there():
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    assert abi == 2
    assert "landlock" in Path("/sys/kernel/security/lsm").read_text()


def test_user_namespaces_of_an_ordinary_user():
    done = as_user("id -u; unshare -Urmpf --mount-proc sh -c 'id -u; echo $$'")
    assert done.stdout.split() == ["1234", "0", "1"], done.stderr
    status = as_user("grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status").stdout.split()
    assert status[1::2] == ["0" * 16] * 4


@v2_only
def test_v2_alone_with_every_controller():
    kinds = [(m[2], m[1]) for m in mounts() if m[2].startswith("cgroup")]
    assert kinds == [("cgroup2", str(CG))]
    assert set((CG / "cgroup.controllers").read_text().split()) == CONTROLLERS
    assert own_cgroup() == "/user.slice/user-0.slice/session-1.scope"


@v2_only
def test_v2_memory_limit_bites():
    group = CG / "guest-test"
    group.mkdir()
    try:
        (group / "memory.max").write_text("8388608")
        done = subprocess.run(["sh", "-c", f"echo $$ > {group}/cgroup.procs; "
                               "exec python3 -c 'b = bytes(1) * (64 << 20)'"], timeout=60)
        assert done.returncode == -9
        assert "oom_kill 1" in (group / "memory.events").read_text()
    finally:
        group.rmdir()


@v2_only
def test_v2_delegated_subtree():
    done = as_user("d=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat $d/cgroup.controllers; "
                   "mkdir $d/leaf; echo 0 > $d/leaf/cgroup.procs; "
                   "echo '+memory +pids +cpu' > $d/cgroup.subtree_control; mkdir $d/job; "
                   "echo 99 > $d/job/pids.max; cat $d/job/pids.max; rmdir $d/job")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert set(lines[0].split()) == CONTROLLERS
    assert lines[1] == "99"


@v2_only
def test_v2_only_the_subtree_is_delegated():
    done = as_user("echo 1 > /sys/fs/cgroup/user.slice/pids.max || "
                   "mkdir /sys/fs/cgroup/user.slice/x || echo denied")
    assert done.stdout == "denied\n"
    first, second = (as_user("cat /proc/self/cgroup").stdout for _ in range(2))
    assert first != second, "each command has a scope of its own"
    assert first.startswith("0::/user.slice/user-1234.slice/user@1234.service/app.slice/run-")


def test_users_commands_at_once():
    """What one command tidies up is not what another one is just about to enter."""
    wrapper = os.environ["CLEAVE_TEST_AS_USER"]
    for _ in range(20):
        started = [subprocess.Popen([wrapper, "/bin/busybox", "true"], stderr=subprocess.PIPE) for _ in range(10)]
        said = [process.communicate(timeout=60)[1] for process in started]
        assert said == [b""] * 10
        assert [process.returncode for process in started] == [0] * 10


@v1_only
def test_v1_alone_each_hierarchy_its_own():
    found = [m for m in mounts() if m[2].startswith("cgroup")]
    assert {m[2] for m in found} == {"cgroup"}
    points = {Path(m[1]).name for m in found}
    assert {"cpuset", "cpu,cpuacct", "blkio", "memory", "devices", "freezer", "net_cls,net_prio",
            "perf_event", "hugetlb", "pids", "rdma", "misc", "systemd"} == points
    for name in ("cpu", "cpuacct"):
        assert os.readlink(CG / name) == "cpu,cpuacct"
    assert all((CG / point / "tasks").exists() for point in points)


@v1_only
def test_v1_pids_limit_bites():
    group = CG / "pids/guest-test"
    group.mkdir()
    try:
        (group / "pids.max").write_text("1")
        done = subprocess.run(["sh", "-c", f"echo 0 > {group}/tasks; /bin/true; echo not reached"],
                              capture_output=True, text=True, timeout=60)
        assert "fork" in done.stderr
    finally:
        group.rmdir()


@v1_only
def test_v1_delegates_nothing():
    done = as_user("for d in /sys/fs/cgroup/*; do [ ! -w $d/tasks ] || echo $d; done")
    assert done.stdout == ""
    assert done.returncode == 0
