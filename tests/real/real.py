# SPDX-License-Identifier: Apache-2.0
"""What the tests of real programs share. Each program is started, asked, forked into five in the middle of its work,
and all six give what a run that was never forked gives. What is refused must be refused by name.

CLEAVE_REAL_N rounds each (5), while CLEAVE_REAL_LOAD (0) busy loops for each processor take their share of it. The
closing run is `make real`: 100 rounds under twice as many loops as there are processors. Each test says how many
moments were forked and how many were refused (pytest -rP shows it).
"""
import ctypes
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from conftest import SLOW  # noqa: E402
from forks import PYTHON, forks, poll  # noqa: E402,F401

ROUNDS = int(os.environ.get("CLEAVE_REAL_N", "5"))
LOAD = int(os.environ.get("CLEAVE_REAL_LOAD", "0"))
FEW = min(ROUNDS, 2) if ROUNDS <= 5 else ROUNDS  # of what takes seconds
PR_SET_PDEATHSIG = 1


def busy_loop():
    """They end with us, whatever ends us."""
    return subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


@pytest.fixture(scope="module", autouse=True)
def load(boxes):
    """Loops of the same priority as ours, there before the first look at what a test leaves behind."""
    loops = [busy_loop() for _ in range(LOAD * len(os.sched_getaffinity(0)))]
    yield
    assert [p.poll() for p in loops] == [None] * len(loops), "the load was there all the time"
    for p in loops:
        p.kill()
        p.wait()


def refused_by_name(done):
    """A process, or the sandbox that ended while it was asked."""
    return re.search(r"(process|thread) \d+|the sandbox (is ending|is exited|is stopping|has ended)|sandbox '\w+' has ended", done.refused()) is not None


def fork_five(forks, source, tally):
    """Names of the clones, or None when this moment was refused by name."""
    done = forks.call("fork", source, "-n", "5")
    if done.status:
        assert refused_by_name(done), done
        tally.append(done.err.strip())
        return None
    tally.append(None)
    return done.out.split()


@pytest.fixture
def tally():
    """What each fork of the test came to: None, or the sentence that refused it."""
    outcomes = []
    yield outcomes
    refused = [re.sub(r"[0-9]+", "N", o) for o in outcomes if o]
    print(f"{ROUNDS} rounds, load {LOAD}: {len(outcomes)} forks into five, {len(refused)} refused by name")
    for sentence in sorted(set(refused)):
        print(f"  {refused.count(sentence)} x {sentence}")


def remove(forks, names):
    for name in names:
        forks.hang_up(name)
    forks.call("rm", "-f", *names).ok()


def output(forks, name):
    return forks.call("logs", name).ok().out


def finished(forks, source, clones, told, want):
    """All end as the run that was never forked. What the source had written by the fork is in its log, the rest in each clone's."""
    for name in [source, *clones]:
        assert forks.call("wait", name, timeout=120).status == 0, forks.call("logs", name)
    assert output(forks, source) == want
    for name in clones:
        own = output(forks, name)
        assert want.endswith(own) and told.startswith(want[:len(want) - len(own)]), (name, own, told)


def begun(forks, name, progress):
    """It wrote its first line of progress; or it is over already, which is no moment to fork at."""
    done = forks.exec(name, "test", "-s", f"/tmp/{progress}")
    return done.status == 0 or done.status == 125 and refused_by_name(done)


def in_the_middle(forks, tally, script, files=(), progress="progress"):
    """Forks again and again while the script runs; all that was forked ends as one that was not. Rounds that were forked."""
    options = [w for f, inside in files for w in ("--file", f"{f}:{inside}")]
    want = forks.box.run(*options, "/bin/bash", "-c", script).ok().out
    assert want
    forked = 0
    for _ in range(FEW):
        a = forks.start(*options, command=["/bin/bash", "-c", script])
        poll(lambda: begun(forks, a, progress), 30, "the first step")
        clones = None
        for _ in range(40):
            clones = fork_five(forks, a, tally)
            if clones or forks.state(a) != "running":
                break
        finished(forks, a, clones or [], output(forks, a), want)
        forked += bool(clones)
        forks.call("rm", a, *(clones or [])).ok()
    return forked


__all__ = ["FEW", "PYTHON", "ROUNDS", "SLOW", "fork_five", "forks", "in_the_middle", "load", "poll", "remove", "tally"]
