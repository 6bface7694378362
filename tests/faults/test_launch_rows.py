# SPDX-License-Identifier: Apache-2.0
"""Every row of the launch is made to fail in turn: the error names it, and nothing is left.

The rows come from src/box/launch.def and from `cleave explain` with every option on, so a new row is
tested without being listed here. Development build.
"""
import errno
import json
import re

import pytest
from conftest import BUILD_DEV, TOP
from subids import ranged  # noqa: F401 (a fixture)

ROWS = re.findall(r"^S\((\w+), +(KEEPER|INIT|MEET|COMMAND),", (TOP / "src/box/launch.def").read_text(), re.M)
ORDER = [name for name, _ in ROWS]
RANGE = {"ASK_UID_MAP", "ASK_GID_MAP"}  # with --ids range of an ordinary user alone
# Rows that no `run` walks here: they belong to sandboxes that can fork, and to execs with limits of their own. LIMIT_IO
# is in a launch only where cgroup v2 hands out the controller io. Here blkio of v1 has the disks, and one machine gives
# them to one of the two; in the VM lane v2 has them, but there is only the release build, which can't be made to fail.
OTHERS = {"HAND_ROOT", "FILL_FILES", "RESTORE", "OWN_CGROUP", "TAG", "LIMIT_IO", *RANGE}
CGROUPS = {"CGROUP", "CGROUP_BESIDE", "HAND_CGROUP", "CGROUP_JOIN", "LIMIT_MEMORY", "LIMIT_PIDS", "LIMIT_CPUS",
           "LIMIT_CPUSET"}
V1_ONLY = {"CGROUP_BESIDE", "HAND_CGROUP", "CGROUP_JOIN"}
ROOT_ONLY = {"ID_SLOT", "BECOME_ROOT", "DIE_AS_ROOT", "INIT_IDS", "DIE_AGAIN", "GROUPS"}
USER_ONLY = {"WRITE_SETGROUPS"}
# Rows of one kind of root: the others don't have them.
OF_ROOT = {
    "host": {"NEW_ROOT", "HOST_PROGRAMS", "ROOT_READ_ONLY"},
    "dir": {"OPEN_ROOT", "NEW_SKELETON", "DIRECTORY", "ACCOUNTS", "UPPER", "OVERLAY", "OURS"},
    "dir-rw": {"OPEN_ROOT", "NEW_SKELETON", "DIRECTORY", "ACCOUNTS", "ROOT_ITSELF", "OURS", "NAMES"},
}


def root_options(box, kind):
    """An empty directory: its rows come before anything is looked for inside."""
    return [] if kind == "host" else ["--root", box.directory("root"), *(["--root-rw"] if kind == "dir-rw" else [])]


def every_option(box):
    source = box.directory("source")
    words = ["--ro", f"{source}:/mnt/ro", "--rw", f"{source}:/mnt/rw", "--tmpfs", "/mnt/tmpfs:1m",
             "--file", f"{box.file()}:/mnt/file", "--nofile", "100", "--fsize", "1m", "--stack", "1m",
             "--cpu-time", "10", "--timeout", "20", "--nest",
             "--seccomp", box.file('{"defaultAction": "SCMP_ACT_ALLOW"}', "profile.json")]
    if box.delegated:
        words += ["--memory", "64m", "--pids", "50", "--cpus", "1", "--cpuset", "0"]
    return words


def walked(box, *options):
    done = box.call("explain", "--json", *options, "true", dev=True).ok()
    return [row["step"] for row in json.loads(done.out)]


def expected(box, kind):
    """The rows that this user's launch has, by the table alone."""
    others = set().union(*OF_ROOT.values()) - OF_ROOT[kind] | OTHERS
    rows = [name for name, _ in ROWS if name not in others]
    rows = [name for name in rows if name not in (ROOT_ONLY if box.is_user else USER_ONLY)]
    return [name for name in rows if box.delegated or name not in CGROUPS]


@pytest.mark.parametrize("kind", OF_ROOT)
def test_explain_lists_the_rows_in_order(box, differs, kind):
    assert BUILD_DEV.exists()
    steps = walked(box, "--tty", *root_options(box, kind), *every_option(box))
    want = expected(box, kind)
    if box.delegated:
        assert ("CGROUP" in steps) != ("CGROUP_BESIDE" in steps)
        absent = "CGROUP" if "CGROUP_BESIDE" in steps else "CGROUP_BESIDE"
        want = [name for name in want if name != absent]
        if "CGROUP_JOIN" not in steps:  # born inside, on v2
            want = [name for name in want if name not in ("CGROUP_JOIN", "HAND_CGROUP")]
    if "LANDLOCK" not in steps:
        want = [name for name in want if name != "LANDLOCK"]
    assert steps == want
    assert differs == ("WRITE_SETGROUPS" in steps)


def fail(box, row, code, *options):
    done = box.result(*options, "/bin/true", dev=True, env={"CLEAVE_TEST_FAIL": f"{row}:{code}"})
    assert done.status in (125, 126, 127), done
    assert done.result["status"] == "setup_error", done
    return done


@pytest.mark.parametrize("row", [name for name, _ in ROWS if name not in OTHERS])
def test_row_fails(box, row):
    kind = next((kind for kind in OF_ROOT if row in OF_ROOT[kind]), "host")
    options = root_options(box, kind) + every_option(box)
    if row == "CGROUP_BESIDE":  # not where v2 has the clock: of a hybrid host one directory of v2 brings CGROUP
        options = [word for word in options if word not in ("--cpu-time", "10")]
    steps = walked(box, "--tty", *options)
    if row not in steps:
        absent = (ROOT_ONLY if box.is_user else USER_ONLY) | V1_ONLY | {"CGROUP", "LANDLOCK"}
        assert row in absent or (row in CGROUPS and not box.delegated), f"{row} is in no launch"
        return
    if row == "TERMINAL":
        options += ["--tty"]
    for code in (errno.EIO, errno.ENOSPC):
        done = fail(box, row, code, *options)
        error = done.result["error"]
        assert error["step"] == row, done
        assert error["errno"] == errno.errorcode[code], done
        assert error["text"] and len(error["text"]) > 5, done
        line = done.refused(done.status)
        assert f"step {row}" in line
        assert done.result["exit_code"] is None and done.result["signal"] is None
        for side in ("keeper", "init", "command"):
            steps = [ORDER.index(t["step"]) for t in done.result["timing"] if t["side"] == side]
            assert steps == sorted(steps), side
            if dict(ROWS)[row] != "MEET":  # of which the other side's half may have gone well
                assert ORDER.index(row) not in steps, "a row that failed has no time"


@pytest.mark.parametrize("row", ["CLONE", "DISK", "PIVOT", "READY", "EXEC"])
def test_row_fails_without_any_option(box, row):
    done = fail(box, row, errno.EPERM)
    assert done.result["error"]["step"] == row


def test_the_release_build_can_not_be_made_to_fail(box):
    box.run("/bin/true", env={"CLEAVE_TEST_FAIL": "CLONE", "CLEAVE_TEST_STOP": "PIVOT"}).ok()


def test_explain_of_a_range(ranged):  # noqa: F811
    """An ordinary user's launch has the rows of root's then, but for the slot and what is made as its root."""
    steps = walked(ranged, "--ids", "range")
    plain = walked(ranged)
    if not ranged.is_user:
        assert steps == plain
        return
    assert set(steps) - set(plain) == RANGE | {"INIT_IDS", "DIE_AGAIN", "GROUPS"}
    assert set(plain) - set(steps) == USER_ONLY | {"WRITE_UID_MAP", "WRITE_GID_MAP"}


@pytest.mark.parametrize("row", sorted(RANGE))
def test_row_of_a_range_fails(ranged, row):  # noqa: F811
    if not ranged.is_user:
        assert row not in walked(ranged, "--ids", "range")
        return
    done = fail(ranged, row, errno.EIO, "--ids", "range")
    assert done.result["error"]["step"] == row and done.result["error"]["errno"] == "EIO"


def test_cgroup_of_a_living_sandbox_fails(box):
    """Each one that lives is born into its cgroup, on v1 too, where the launch of a `run` makes it beside init."""
    try:
        done = box.call("start", "c", dev=True, env={"CLEAVE_TEST_FAIL": f"CGROUP:{errno.EIO}"})
        if not box.delegated:
            done.ok()
            return
        assert "step CGROUP" in done.refused(125)
        assert box.call("ps", "-a", "--json", dev=True).ok().out.split() == ["[]"]
    finally:
        box.call("rm", "-f", "c", dev=True)


@pytest.mark.parametrize("row", ["OWN_CGROUP", "TAG"])
def test_row_of_a_bounded_exec_fails(box, row):
    """One of the two is walked, by whether there are cgroups of v1 to enter."""
    box.call("start", "f", dev=True, env={"CLEAVE_TEST_FAIL": f"{row}:{errno.EIO}"}).ok()
    try:
        words = ["--memory", "64m"] if box.delegated else ["--timeout", "20"]
        done = box.call("exec", *words, "f", "true", dev=True)
        walked_here = row == ("OWN_CGROUP" if box.delegated else "TAG")
        if not walked_here or (row == "OWN_CGROUP" and done.status == 0):  # born inside, on v2
            done.ok()
        else:
            assert f"step {row}" in done.refused(125), done
        assert box.call("exec", "f", "echo", "on", dev=True).ok().out == "on\n"
    finally:
        box.call("rm", "-f", "f", dev=True).ok()
