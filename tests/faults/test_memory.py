# SPDX-License-Identifier: Apache-2.0
"""Memory runs out at one request for it, at each in turn (each eleventh): of the client, of a living keeper, of a clone's.

The call then goes well all the same, or it is refused with one sentence; nothing is left behind, and a keeper goes on
answering. Development build with tests/nomem/nomem.c, which counts the requests.
"""
import json
import mmap
import os
import struct
import subprocess

import pytest
from conftest import BUILD_DEV, SLOW, Done, poll

NOMEM = BUILD_DEV.parent / "tests/nomem/cleave"
STEP = int(os.environ.get("CLEAVE_NOMEM_STEP", "11"))  # 1: each request; a call makes hundreds
MOST = 5000  # requests of one call: more would mean that the counting is wrong


class Scarce:
    """cleave with a memory that runs out in the processes of one role."""

    def __init__(self, box, role):
        assert NOMEM.exists(), f"{NOMEM} is not built"
        self.box, self.role = box, role
        path = box.file(bytes(8), "left", 0o666)
        self.env = {"CLEAVE_NOMEM": f"{role}:{path}"}
        with open(path, "r+b") as f:
            self.left = mmap.mmap(f.fileno(), 8)

    def call(self, *words, scarce=True):
        argv = self.box.argv(*words)
        argv[len(self.box.prefix)] = str(NOMEM)
        done = subprocess.run(argv, env=self.box.environment(self.env if scarce else None), stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=60 * SLOW, cwd=self.box.dir)
        return Done(argv, done.returncode, done.stdout, done.stderr)

    def each(self, action):
        """Yields (n, what action() returned when the n-th request failed), until it made fewer."""
        for n in [*range(1, 10), *range(10, MOST, STEP)]:
            self.left[:] = struct.pack("q", n)
            result = action()
            spare, = struct.unpack("q", self.left[:])
            self.left[:] = bytes(8)
            yield n, result
            if spare > 0:
                assert n > 1, f"{self.role} asked for no memory at all"
                return
        raise AssertionError(f"more than {MOST} requests")


def well_or_refused(n, done, right):
    """Whether it went well. Refused: 125, one sentence."""
    if done.status == 0:
        assert right(done), (n, done)
        return True
    assert done.status == 125, (n, done)
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("cleave "), (n, done)
    return False


def is_json(done):
    return json.loads(done.out) is not None


def says(text):
    return lambda done: done.out == text


ONE_SHOT = {
    "run": (["--ro", "/usr/share/doc:/mnt/d", "--tmpfs", "/mnt/t:1m", "--env", "A=b", "--timeout", "60", "--hostname", "h",
             "/bin/echo", "hi"], says("hi\n")),
    "explain": (["--json", "--rw", "/tmp:/mnt/t", "true"], is_json),
    "doctor": (["--json"], is_json),
    "gc": ([], says("")),
    "snapshots": (["--json"], is_json),
    "help": (["run"], lambda done: "--timeout" in done.out),
}


@pytest.mark.parametrize("verb", ONE_SHOT)
def test_a_call(box, verb):
    words, right = ONE_SHOT[verb]
    scarce = Scarce(box, verb)
    for n, done in scarce.each(lambda: scarce.call(verb, *words)):
        if verb == "doctor" and done.status == 1:
            is_json(done)
            continue
        well_or_refused(n, done, right)


def test_start(box):
    """What could not be started is not there, by its name neither; what was started lacks nothing that was asked for."""
    scarce = Scarce(box, "start")
    words = ["start", "--label", "a=b", "--timeout", "100", "--tmpfs", "/mnt/t:1m", "--env", "A=b", "a", "--", "sleep", "1000"]

    def spec_of_a():
        spec = json.loads(scarce.call("inspect", "a", scarce=False).ok().out)["spec"]
        scarce.call("rm", "-f", "a", scarce=False).ok()
        return spec

    scarce.call(*words, scarce=False).ok()
    asked_for = spec_of_a()
    assert asked_for["timeout_ns"] == 100 * 10**9
    for n, done in scarce.each(lambda: scarce.call(*words)):
        if well_or_refused(n, done, lambda done: len(done.out) == 13):
            assert spec_of_a() == asked_for, n
        assert json.loads(scarce.call("ps", "-a", "--json", scarce=False).ok().out) == [], (n, done)


@pytest.fixture
def alive(box):
    """Whatever lives at the end goes."""
    yield
    for row in json.loads(box.call("ps", "-a", "--json").ok().out):
        box.call("rm", "-f", row["id"]).ok()


# What is asked of a sandbox `a`: words, what is right, words that undo it.
VERBS = {
    "exec": (["exec", "--env", "A=b", "a", "/bin/echo", "hi"], says("hi\n"), None),
    "exec-result": (["exec", "--json", "--capture", "a", "/bin/echo", "hi"], is_json, None),
    "inspect": (["inspect", "a"], is_json, None),
    "ps": (["ps", "-a", "--json"], is_json, None),
    "stats": (["stats", "a"], lambda done: done.out, None),
    "logs": (["logs", "a"], says("said\n"), None),
    "pause": (["pause", "a"], says(""), ["resume", "a"]),
    "kill": (["kill", "-s", "CONT", "a"], says(""), None),
    "cp-out": (["cp", "a:/etc/passwd", "-"], lambda done: b"root" in done.out_bytes, None),
    "cp-in": (["cp", "/etc/passwd", "a:/tmp/f"], says(""), None),
    "diff": (["diff", "a"], lambda done: True, None),
    "fork": (["fork", "a", "b", "--json"], is_json, ["rm", "-f", "b"]),
    "snapshot": (["snapshot", "a", "s"], lambda done: True, ["snapshot", "rm", "s"]),
}
FROM_FILES = {"inspect", "ps", "logs"}  # without a word to the keeper
ROLES = {"keeper": "keeper s", "clone": "keeper c"}  # the sandbox's, and those of what a fork makes


@pytest.mark.parametrize("role,verb", [*(("client", verb) for verb in VERBS), ("clone", "fork"),
                                       *(("keeper", verb) for verb in VERBS if verb not in FROM_FILES)])
@pytest.mark.usefixtures("alive")
def test_of_a_living_one(box, role, verb):
    words, right, undo = VERBS[verb]
    scarce = Scarce(box, ROLES.get(role, words[0]))
    scarce.call("start", "a", "--", "/bin/sh", "-c", "echo said; exec sleep 1000").ok()
    poll(lambda: scarce.call("logs", "a", scarce=False).ok().out == "said\n", what="its word")
    for n, done in scarce.each(lambda: scarce.call(*words)):
        well = well_or_refused(n, done, right)
        state = json.loads(scarce.call("inspect", "a", scarce=False).ok().out)["state"]
        assert state == "running" or state == "paused" and verb == "pause", (n, done)
        if undo and scarce.call(*undo, scarce=False).status != 0:
            assert not well, (n, done)  # refused it may have been before it was done, or after that
        assert [row["name"] for row in json.loads(scarce.call("ps", "-a", "--json", scarce=False).ok().out)] == ["a"], (n, done)
    assert scarce.call("exec", "a", "/bin/echo", "still", scarce=False).ok().out == "still\n"
