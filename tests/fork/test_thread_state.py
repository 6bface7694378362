# SPDX-License-Identifier: Apache-2.0
"""What the kernel or the processor holds for a thread and seldom does: who waits for a lock with priority inheritance, a
state that is too large for a plain frame."""
import re

import pytest
from test_carriers import build
from test_engine import drive  # noqa: F401


def test_priority_inheritance(drive, box):  # noqa: F811
    """The kernel knows owner and waiters by number, which a clone has too: the waiters wait again, one is given its lock,
    the other is told that the owner has died (130)."""
    d = drive(build(box, "inherit", "-pthread"))
    assert d.say("read source") == "ready"
    d.capture()
    clone = d.fork()
    d.capture(clone)
    for who in (d.fork(), clone, "source"):
        assert d.ask(who, "go") == "unlock 0 lock 0 lock 130", who


def tiles(drive, box):  # noqa: F811
    if "amx_tile" not in re.search(r"^flags\s*:(.*)$", open("/proc/cpuinfo").read(), re.M)[1].split():
        pytest.skip("the processor has no AMX")
    d = drive(build(box, "tiles"))
    if d.say("read source") != "ready":
        pytest.skip("the processor has no AMX: the kernel gives none")
    return d


def test_tiles_are_never_carried(drive, box):  # noqa: F811
    d = tiles(drive, box)
    assert d.ask("source", "load") == "done"
    for _ in range(2):
        answer = d.say("capture source")
        assert answer.startswith("error unforkable ") and "process 2 uses AMX tiles" in answer, answer
        assert d.ask("source", "look") == "kept"


def test_tiles_that_were_given_up(drive, box):  # noqa: F811
    """Their process can be carried again, and may use them in a clone, and in a clone of that, as it might before."""
    d, who = tiles(drive, box), "source"
    for _ in range(3):
        assert [d.ask(who, word) for word in ("load", "look", "release")] == ["done", "kept", "done"], who
        d.capture(who)
        who = d.fork()
