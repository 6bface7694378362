# SPDX-License-Identifier: Apache-2.0
"""What the tests of living sandboxes share: sandboxes with names that are removed at the end."""
import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from conftest import PYTHON, leaks, poll, reap_orphans

STATES = {"starting", "running", "paused", "stopping", "exited"}


class Live:
    """The living sandboxes of one test."""

    def __init__(self, box):
        self.box, self.number = box, 0

    def name(self):
        self.number += 1
        return f"t{self.number}"

    def start(self, *options, command=(), name=None, **more):
        """cleave start OPTIONS NAME [-- COMMAND...]; returns the name."""
        name = name or self.name()
        words = [*options, name] + (["--", *command] if command else [])
        done = self.box.call("start", *words, **more).ok()
        assert len(done.out) == 13 and int(done.out, 16) >= 0, done
        return name

    def sh(self, script, *options, **more):
        """A sandbox whose main command is a shell script."""
        return self.start(*options, command=["/bin/sh", "-c", script], **more)

    def call(self, verb, *words, **more):
        return self.box.call(verb, *words, **more)

    def exec(self, name, *words, options=(), **more):
        return self.box.call("exec", *options, name, *words, **more)

    def execsh(self, name, script, *options, **more):
        return self.exec(name, "/bin/sh", "-c", script, options=options, **more).ok().out

    def comms(self, name):
        """What runs inside, by short names."""
        return self.execsh(name, "cat /proc/[0-9]*/comm 2>/dev/null || true").split()

    def inspect(self, name):
        return json.loads(self.box.call("inspect", name).ok().out)

    def state(self, name):
        return self.inspect(name)["state"]

    def ps(self, *options):
        return json.loads(self.box.call("ps", "--json", *options).ok().out)

    def names(self, *options):
        return sorted(row["name"] for row in self.ps(*options))

    def keeper(self, name):
        return self.inspect(name)["keeper_pid"]

    def init(self, name):
        return self.inspect(name)["init_pid"]

    def directory(self, name):
        return self.box.state / "sandboxes" / self.inspect(name)["id"]

    def connect(self, name):
        """A raw connection to the control socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(10)
        fd = os.open(self.directory(name), os.O_PATH)
        try:
            sock.connect(f"/proc/self/fd/{fd}/control.sock")
        finally:
            os.close(fd)
        return sock

    def usable(self, name):
        """The sandbox does what it is for, promptly."""
        begin = time.monotonic()
        assert self.exec(name, "echo", "fine").ok().out == "fine\n"
        return time.monotonic() - begin

    def end(self):
        for row in self.ps("-a"):
            self.box.call("rm", "-f", row["id"]).ok()
        assert self.ps("-a") == []


@pytest.fixture
def live(box):
    live = Live(box)
    yield live
    live.end()


def descriptors(pid):
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since the directory was read
            found[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
    return found


def alive(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


def sleeps(pid):
    """It has done what it could without somebody else."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def below_us():
    """pid -> name of everything that descends from the tests."""
    table = leaks.process_table(os.getpid())
    return {pid: row[1] for pid, row in table.items() if pid != os.getpid()}


def cmdline(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def keepers():
    return [pid for pid in below_us() if cmdline(pid)[1:2] == ["keeper"]]


def kill(pid, signo=signal.SIGKILL):
    assert pid > 1  # 0 and -1 are groups of ours
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signo)


# ---- the control protocol ----

FRAME = 65536
SPEC = json.dumps({
    "version": 1, "name": None, "hostname": None, "root": None, "labels": [], "argv": ["true"], "env": [],
    "workdir": None, "user": "user", "tty": False, "stdin_open": False, "capture": False, "capture_bytes": 8388608,
    "timeout_ns": None, "memory_bytes": None, "pids": None, "cpus_milli": None, "disk_bytes": None,
    "disk_inodes": None, "cpu_time_ns": None, "output_bytes": None, "nofile": None, "fsize_bytes": None,
    "stack_bytes": None, "ttl_ns": None, "idle_timeout_ns": None, "degrade": False, "remove": False,
    "oom_group": False, "allow_ptrace": False, "mounts": []})


def request(method, number=1, **params):
    return json.dumps({"v": 1, "id": number, "method": method, "params": params}).encode()


# ---- rows that were told to stop, and what is left ----

PAUSE = "34 "  # the system call that a row which was told to stop waits in


def waits_at_a_row(pid):
    """CLEAVE_TEST_STOP: a stopped keeper or tracer, or one inside in pause()."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return text[text.rindex(")") + 2] == "T" or Path(f"/proc/{pid}/syscall").read_text().startswith(PAUSE)
    except OSError:
        return False


def clean(live, baseline, name, where=""):
    """After gc there is no more than there was, and the name is free."""
    live.call("gc").ok()

    def nothing_left():
        reap_orphans()
        return not leaks.check(baseline, os.getpid(), wait=0.1)

    poll(nothing_left, what=f"a clean host ({where}): {leaks.check(baseline, os.getpid(), wait=0)}")
    assert live.start(name=name) == name
    live.usable(name)
    live.call("rm", "-f", name).ok()


COUNTER = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n.new; mv /tmp/n.new /tmp/n; echo line $i; done"


def counter(live, name):
    return int(live.execsh(name, "cat /tmp/n 2>/dev/null || echo 0"))


def counts_on(live, name, seconds=10):
    """The payload's counter moves."""
    begin = counter(live, name)
    poll(lambda: counter(live, name) > begin, seconds, "the counter")


__all__ = ["PYTHON", "poll", "live", "descriptors", "alive", "below_us", "cmdline", "keepers", "kill", "COUNTER",
           "counter", "counts_on", "Live", "STATES", "waits_at_a_row", "clean",
           "FRAME", "SPEC", "request", "sleeps"]
