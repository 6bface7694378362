# SPDX-License-Identifier: Apache-2.0
"""Every row of a fork is made to fail in turn, by the command line: the error names it, nobody is made, the source
answers and can be forked by the next one. And at every row those who make it are killed: the same, and nothing is left.
Development build. What the engine does by itself is proved in tests/fork.
"""
import os
import re
import signal
import time

import pytest
from conftest import TOP, leaks

from forks import forks, poll  # noqa: F401
from live import alive, clean, cmdline, kill, waits_at_a_row

SETUP = "threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()"


def rows(table):
    return re.findall(r"^ROW\((\w+),", (TOP / table).read_text(), re.M)


TREE = SETUP + """
e = os.eventfd(1); r, w = os.pipe()
if os.fork() == 0:
    os.setpgid(0, 0)
    while True: time.sleep(1)
f = open('/tmp/f', 'w')"""

# LEAVE comes after the gate: its failure would be the task's own death.
RESTORE = [r for r in rows("src/raw/restore.def") if r != "LEAVE"]
LAUNCH = ["CLONE", "CGROUP_NS", "DISK", "PIVOT", "HAND_ROOT", "FILL_FILES", "LANDLOCK", "RESTORE", "BOUNDING_SET", "INIT_CAPS", "READY"]


def fail(row, code=28):
    return {"CLEAVE_TEST_FAIL": f"{row}:{code}"}


@pytest.mark.parametrize("row", rows("src/fork/harvest.def"))
def test_capture_row_fails(forks, row):
    """The source's keeper makes the capture, so it is the one that is told to fail."""
    a = forks.program(SETUP, dev=True, env=fail(f"capture.{row}"))
    for words in (["fork", a, "-n", "2"], ["snapshot", "--stop", a, "s"]):
        line = forks.call(*words, dev=True).refused()
        assert f"step capture.{row}" in line and "No space left" in line, line
        assert forks.names("-a") == [a] and forks.snapshots() == []
        assert forks.ask(a, "[1 + 1, threading.active_count()]") == [2, 2]
    assert forks.ask(a, "open('/proc/self/status').read().split('TracerPid:')[1].split()[0]") == "0"
    assert forks.state(a) == "running"
    forks.call("pause", a).ok()
    forks.call("fork", a, dev=True).refused()
    assert forks.state(a) == "paused"
    forks.call("resume", a).ok()
    assert forks.ask(a, "1 + 1") == 2


@pytest.mark.parametrize("table", ["restore", "launch"])
def test_clone_row_fails(forks, table):
    """The clones' keepers fail; all or none. One source stands it all."""
    a = forks.program(TREE, dev=True)
    for row in [f"restore.{r}" for r in RESTORE] if table == "restore" else LAUNCH:
        line = forks.refused(a, "-n", "2", dev=True, env=fail(row))
        assert f"(step {row})" in line and "No space left" in line, (row, line)
        assert forks.ask(a, "[1 + 1, threading.active_count()]") == [2, 2], row
    clones = forks.fork(a, "-n", "2", dev=True)
    assert forks.ask_all([a, *clones], "[1 + 1, threading.active_count(), f.write('x')]") == [[2, 2, 1]] * 3


def test_a_rollback_that_fails_before_it_begins(forks):
    a = forks.program("state['n'] = 7", dev=True)
    forks.call("snapshot", a, "s", dev=True).ok()
    meta = forks.box.state / "snapshots/s/meta.json"
    meta.rename(meta.with_name("away"))
    assert "incomplete" in forks.call("rollback", a, "s", dev=True).refused()
    assert forks.ask(a, "state['n']") == 7
    assert forks.names("-a") == [a]
    meta.with_name("away").rename(meta)


# ---- killed at each row ----

def stop(row):
    return {"CLEAVE_TEST_STOP": row}


def goes_on(forks, name):
    """Every thread of it, and nobody traces it."""
    assert forks.ask(name, "[1 + 1, threading.active_count()]") == [2, 2]
    assert forks.ask(name, "open('/proc/self/status').read().split('TracerPid:')[1].split()[0]") == "0"


def stands_still(forks, name):
    """It is paused and is said to be: one of its threads would sleep and wake ten times meanwhile."""
    def switches():
        texts = [leaks.read(f"/proc/{pid}/task/{tid}/status") for pid in forks.tasks(name) for tid in os.listdir(f"/proc/{pid}/task")]
        return [re.findall(r"ctxt_switches:\t(\d+)", text) for text in texts]
    before = switches()
    time.sleep(0.1)
    return forks.state(name) == "paused" and before and switches() == before


def tracer(keeper):
    """The process that captures, once it stands at its row."""
    table = leaks.process_table(keeper)
    return next((pid for pid, row in table.items() if row[0] == keeper and cmdline(pid)[1:2] == ["keeper"] and waits_at_a_row(pid)), 0)


def capturing(forks, keeper):
    process = forks.box.start("a", "b", verb="fork", dev=True)
    return process, poll(lambda: tracer(keeper), what="the stop of the tracer", of=process)


def refused(process):
    """Whoever asked for the fork is told in one sentence."""
    done = process.wait()
    assert done.status == 125 and done.err.startswith("cleave fork: ") and done.err.count("\n") == 1, done
    return done.err


@pytest.mark.parametrize("row", rows("src/fork/harvest.def"))
def test_killed_at_each_row_of_a_capture(forks, row):
    """The tracer, also of a paused source; the client; then the source's keeper or its init."""
    baseline = leaks.everything(os.getpid())
    forks.program(SETUP, name="a", dev=True, env=stop(f"capture.{row}"))
    keeper, init = forks.keeper("a"), forks.init("a")
    process, at = capturing(forks, keeper)
    kill(at)
    assert "tracer died" in refused(process)
    assert forks.state("a") == "running"
    goes_on(forks, "a")
    forks.call("pause", "a").ok()
    process, at = capturing(forks, keeper)
    kill(at)
    refused(process)
    assert stands_still(forks, "a")
    process, at = capturing(forks, keeper)
    kill(process.popen.pid)
    process.popen.wait()
    kill(at, signal.SIGCONT)
    poll(lambda: not alive(at), what="the end of the capture")
    assert stands_still(forks, "a")
    forks.call("resume", "a").ok()
    goes_on(forks, "a")
    process, at = capturing(forks, keeper)
    # behind the last row the image is whole: who has lost init by then may give it away all the same
    kill(keeper if rows("src/fork/harvest.def").index(row) % 2 else init)
    kill(at, signal.SIGCONT)
    refused(process)
    poll(lambda: not any(map(alive, (keeper, init, at))), what="the end of the source and its tracer")
    forks.hang_up("a")
    forks.call("rm", "-f", "a")
    clean(forks, baseline, "a", row)


# Those of the launch that only a clone has, and where its own init is not yet and is no more before its tree.
ROWS_OF_A_CLONE = ["CLONE", "HAND_ROOT", "FILL_FILES", "RESTORE", "INIT_CAPS", *(f"restore.{r}" for r in rows("src/raw/restore.def"))]


class Clone:
    """A fork `a` to `b` that stops at a row: who takes part in it."""

    def __init__(self, forks, row):
        self.process = forks.box.start("a", "b", verb="fork", dev=True, env=stop(row))
        poll(self.look, what=f"the stop at {row}")
        if row == "restore.LEAVE":  # behind the gate: all stand there in the end, and everybody else has gone
            self.process.wait().ok()

    def look(self):
        """The nursery goes when the clone does, and the keeper stays."""
        table = leaks.process_table(os.getpid())
        made = [pid for pid in table if cmdline(pid)[1:3] == ["keeper", "c"]]
        inits = [pid for pid, row in table.items() if row[0] in made and row[1] == "cleave-init"]
        keeper = next((pid for pid in made if table[pid][0] in made or inits and table[inits[0]][0] == pid), None)
        if keeper is None:
            return False
        self.pids = {"keeper": keeper, "client": self.process.popen.pid}
        if table[keeper][0] in made:
            self.pids["nursery"] = table[keeper][0]
        if inits:
            self.pids["init"] = inits[0]
        self.at = next(filter(waits_at_a_row, leaks.process_table(keeper)), None)
        return self.at is not None and (self.at == keeper or bool(inits))

    def ended(self):
        return not any(alive(pid) for who, pid in self.pids.items() if who != "client")


def victims_of(i, row):
    if row == "restore.LEAVE":
        return ["keeper", "init"]
    return [("keeper", "nursery")[i % 2], "client" if row == "CLONE" or i % 4 > 1 else "init"]


def test_killed_at_each_row_of_a_clone(forks):
    """The clone's keeper, the process that makes them, the clone's init and the client, two of them at each row."""
    forks.program(TREE, name="a", dev=True)
    goes_on(forks, "a")
    baseline = leaks.everything(os.getpid())
    for i, row in enumerate(ROWS_OF_A_CLONE):
        for victim in victims_of(i, row):
            clone = Clone(forks, row)
            kill(clone.pids[victim])
            kill(clone.at, signal.SIGCONT)  # a keeper goes on; who is inside waits for ever
            if row != "restore.LEAVE" and victim != "client":
                refused(clone.process)
            if victim in ("nursery", "client") and "init" in clone.pids:
                kill(clone.pids["init"])
            poll(clone.ended, what=f"the end of the clone ({row}, {victim})")
            if row == "restore.LEAVE":
                forks.call("rm", "-f", "b")  # it stood, so how it ended is kept

            def swept():
                """Helpers of a keeper that was killed end a moment after it, and hold its lock until then."""
                forks.call("gc").ok()
                return leaks.check(baseline, os.getpid(), wait=0) == []
            poll(swept, what=f"nothing left ({row}, {victim})")
            assert forks.names("-a") == ["a"] == os.listdir(forks.box.state / "names"), (row, victim)
            assert forks.state("a") == "running"
            goes_on(forks, "a")
    assert forks.fork("a", "b") == ["b"]
    assert forks.ask_all(["a", "b"], "[1 + 1, threading.active_count(), f.write('x')]") == [[2, 2, 1]] * 2


@pytest.mark.parametrize("row", ["CLONE", "restore.REGION", "restore.MAP", "restore.LEAVE"])
def test_the_keeper_of_the_source_is_killed_while_a_clone_is_made(forks, row):
    """The one goes, the other is made all the same or ends with its own maker."""
    baseline = leaks.everything(os.getpid())
    forks.program(TREE, name="a", dev=True)
    source = forks.keeper("a"), forks.init("a")
    clone = Clone(forks, row)
    kill(source[0])
    poll(lambda: not any(map(alive, source)), what="the end of the source")
    forks.hang_up("a")
    forks.call("gc").ok()
    if row == "CLONE":
        kill(clone.at, signal.SIGCONT)
        assert clone.process.wait().ok().out == "b\n"
        assert forks.ask("b", "[1 + 1, threading.active_count(), f.write('x')]") == [2, 2, 1]
        forks.hang_up("b")
        forks.call("rm", "-f", "b").ok()
    else:
        kill(clone.pids["init"])
        clone.process.wait()
    poll(clone.ended, what="the end of the clone")
    assert [name for name in forks.names() if name != "b"] == []
    forks.call("rm", "-f", "b")
    clean(forks, baseline, "a", row)
