# SPDX-License-Identifier: Apache-2.0
"""A living keeper gives up what it does not need, and still does all that it is for."""
import fcntl
import os
from pathlib import Path

from live import descriptors, live, poll  # noqa: F401

CHOWN, READ_SEARCH, LEASE, CHECKPOINT_RESTORE = 1 << 0, 1 << 2, 1 << 28, 1 << 40


def status(pid):
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def number(pid, field, base=10):
    return int(status(pid)[field], base)


def assert_confined(live, name):
    """The walls stand by the time of the first answer: inspect is one."""
    keeper, me = live.keeper(name), os.getpid()
    kept = 0 if live.box.is_user else CHOWN | READ_SEARCH | LEASE | CHECKPOINT_RESTORE
    found = {field: number(keeper, field, 16) for field in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert found == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapAmb": 0}
    if not live.box.is_user:
        assert number(keeper, "CapBnd", 16) == kept
    assert number(keeper, "NoNewPrivs") == 1
    assert number(keeper, "Seccomp") == 2
    assert number(keeper, "Seccomp_filters") == number(me, "Seccomp_filters") + 1


def test_keepers_are_confined(live):
    idle = live.start()
    busy = live.sh("echo ready; while :; do sleep 0.1; done")
    poll(lambda: "ready" in live.call("logs", busy).out, what="the main command")
    for name in (idle, busy):
        assert_confined(live, name)


def test_a_confined_keeper_does_all_that_it_is_for(live):
    name = live.sh("echo ready > /tmp/f; while :; do sleep 0.1; done")
    poll(lambda: live.exec(name, "test", "-s", "/tmp/f").status == 0, what="the file")
    clone = name + "-clone"
    assert live.call("fork", name, clone).ok().out == clone + "\n"
    for one in (name, clone):
        assert_confined(live, one)
        assert live.execsh(one, "cat /tmp/f") == "ready\n"
        assert live.exec(one, "cat", options=["-i"], input="x").ok().out == "x"
        target = live.box.directory() / "f"
        live.call("cp", f"{one}:/tmp/f", target).ok()
        assert target.read_text() == "ready\n"
        assert "/tmp/f" in live.call("diff", one).ok().out
        assert live.call("stats", one).ok().out
        live.call("pause", one).ok()
        assert live.state(one) == "paused"
        live.call("resume", one).ok()
        assert_confined(live, one)
        live.call("stop", "--timeout", "1", one).ok()
        assert live.state(one) == "exited"


def test_a_keeper_holds_nothing_of_its_caller(live):
    """`flock FILE cleave start ...`: the lock goes with the caller."""
    path = live.box.directory() / "lock"
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        name = live.start(pass_fds=[lock.fileno()])
        clone = live.name()
        live.call("fork", name, clone, pass_fds=[lock.fileno()]).ok()
    for n in (name, clone):
        assert str(path) not in descriptors(live.keeper(n)).values()
    with open(path) as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
