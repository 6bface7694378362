# SPDX-License-Identifier: Apache-2.0
"""Forks of sandboxes in which nothing runs, or nothing runs any more."""
import os
import re
import signal
import time
from pathlib import Path

from conftest import rounds
from forks import forks, poll  # noqa: F401
from live import alive


def test_files_and_nothing_else(forks):
    a = forks.start()
    forks.execsh(a, "echo one > /tmp/f; mkdir /home/user/d")
    answer = forks.fork_json(a, "b", "c")
    assert answer["memory"]["processes"] == 0 and answer["files"]["bytes"] > 0
    forks.execsh(a, "echo two > /tmp/f")
    assert [forks.execsh(n, "cat /tmp/f; ls /home/user") for n in ("b", "c", a)] == ["one\nd\n", "one\nd\n", "two\nd\n"]
    assert [forks.state(n) for n in (a, "b", "c")] == ["running"] * 3
    assert forks.inspect("b")["command"] == [] and forks.inspect("b")["init_pid"] != forks.inspect(a)["init_pid"]
    assert forks.tasks("b") == []
    forks.execsh("b", "echo three > /tmp/f")
    assert forks.fork("b") == ["b-1"]
    assert forks.execsh("b-1", "cat /tmp/f") == "three\n"
    assert forks.inspect("b-1")["lineage"]["generation"] == 2
    forks.call("stop", "b").ok()
    assert forks.inspect("b")["exit_code"] == 0


def test_paused_and_snapshots(forks):
    a = forks.start()
    forks.execsh(a, "echo one > /tmp/f")
    forks.call("pause", a).ok()
    forks.fork(a, "b")
    assert forks.state(a) == "paused" and forks.execsh("b", "cat /tmp/f") == "one\n"
    forks.call("resume", a).ok()
    forks.call("snapshot", a, "s").ok()
    forks.execsh(a, "echo two > /tmp/f")
    forks.fork("s", "c")
    assert forks.execsh("c", "cat /tmp/f") == "one\n"
    forks.call("rollback", a, "s").ok()
    assert forks.execsh(a, "cat /tmp/f") == "one\n"


def test_what_an_exec_left_behind_is_carried(forks):
    """Nothing waits for it: it is no command, but it runs."""
    a = forks.start()
    forks.execsh(a, "setsid sh -c 'while test ! -e /tmp/go; do sleep 0.01; done; echo done > /tmp/end' > /dev/null 2>&1 < /dev/null &")
    poll(lambda: len(forks.tasks(a)) >= 1 and forks.comms(a).count("sh") == 2)
    forks.fork(a, "b", "c")
    forks.execsh("b", "touch /tmp/go")
    poll(lambda: forks.execsh("b", "cat /tmp/end 2> /dev/null || true") == "done\n")
    assert forks.state("b") == "running" and forks.tasks("b") == []
    for name in ("c", a):  # for a moment what becomes its next sleep is a third one
        poll(lambda: forks.comms(name).count("sh") == 2, what="the daemon, and nothing else")


ENDED = r"the sandbox (is (ending|stopping|exited)|has ended|'\w+' has ended)|there is no sandbox"


def test_the_end_of_the_main_command(forks):
    """It ends at every moment of a fork: the clone ends the same way, or the sentence says that the sandbox did."""
    outcomes = set()
    for i in range(rounds(40)):
        name = f"a{i}"
        forks.start("-i", name=name, command=["/bin/sh", "-c", "read x; exit 3"])
        talk = forks.talk(name)
        fork = forks.box.start(name, "b", verb="fork") if i % 2 else None
        if i == 1:
            fork.wait()  # the one moment that is no race: it ends after the fork
        time.sleep(0.001 * (i // 2 % 10))  # another moment each time, no condition
        talk.say("go")
        done = (fork or forks.box.start(name, "b", verb="fork")).wait()
        if done.status == 0:
            outcomes.add("forked")
            forks.talk("b").say("go")
            assert forks.call("wait", "b").status == 3
            forks.hang_up("b")
            forks.call("rm", "b").ok()
        else:
            assert done.status == 125 and re.search(ENDED, done.err) and "No such process" not in done.err, done
            outcomes.add("refused")
        assert forks.call("wait", name).status == 3
        forks.hang_up(name)
        forks.call("rm", name).ok()
        assert forks.names("-a") == []
    assert "forked" in outcomes


def tracer_of(forks, name):
    """The keeper's child that is not init, held by SIGSTOP: a capture that stands still."""
    keeper, init = forks.keeper(name), forks.init(name)

    def catch():
        for pid in map(int, Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()):
            if pid != init:
                os.kill(pid, signal.SIGSTOP)
                return pid
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid = catch()
        if pid:
            return pid
    raise AssertionError("no tracer")


def test_a_command_that_comes_during_a_capture_waits(forks):
    """Its files would be half in the image, its process not at all."""
    a = forks.start("--disk", "200m")
    forks.execsh(a, "head -c 100000000 /dev/zero > /tmp/big; echo before > /tmp/f")
    fork = forks.box.start(a, "b", verb="fork")
    tracer = tracer_of(forks, a)
    try:
        execs = [forks.box.start(a, "/bin/sh", "-c", f"echo {i} >> /tmp/f; echo {i}; exit {i}", verb="exec") for i in (7, 8)]
        assert forks.call("inspect", a).ok().out  # a later request is answered
        poll(lambda: len(os.listdir(f"/proc/{forks.keeper(a)}/fd")) > 0)
        assert forks.tasks(a) == []
        assert all(e.popen.poll() is None for e in execs)
    finally:
        os.kill(tracer, signal.SIGCONT)
    assert fork.wait().ok().out == "b\n"
    done = [e.wait() for e in execs]
    assert [(d.status, d.out) for d in done] == [(7, "7\n"), (8, "8\n")]
    assert forks.execsh("b", "cat /tmp/f") == "before\n"
    assert sorted(forks.execsh(a, "cat /tmp/f").split()) == ["7", "8", "before"]


def test_killed_during_a_capture(forks):
    """By a signal that nothing withstands, not even what stands still."""
    for verb in ("kill", "rm"):
        a = forks.program("big = bytearray(os.urandom(1 << 20) * 100)", "--disk", "200m", name=verb)
        task = forks.tasks(a)[0]
        fork = forks.box.start(a, "b", verb="fork")
        tracer = tracer_of(forks, a)
        ender = forks.box.start(*(["-f"] if verb == "rm" else []), a, verb=verb)
        poll(lambda: not alive(task))
        os.kill(tracer, signal.SIGCONT)
        done = fork.wait()
        ender.wait()
        forks.hang_up(a)
        if done.status:
            assert re.search(ENDED, done.err), done
        poll(lambda: a not in forks.names())


def test_a_process_killed_during_a_capture(forks):
    """By somebody outside: refused with its number, or carried when it was captured before."""
    a = forks.program("big = bytearray(os.urandom(1 << 20) * 60)\nif os.fork() == 0:\n    b = bytearray(os.urandom(1 << 20) * 30)\n"
                      "    while True: time.sleep(1)\n")
    victim = forks.tasks(a)[1]
    fork = forks.box.start(a, "b", verb="fork")
    tracer = tracer_of(forks, a)
    os.kill(victim, signal.SIGKILL)
    os.kill(tracer, signal.SIGCONT)
    done = fork.wait()
    if done.status:
        assert re.search(r"process \d+ was killed while it was captured", done.err), done
    assert forks.ask(a, "1 + 1") == 2
    assert forks.fork(a, "c") == ["c"]
    assert forks.ask("c", "len(big)") == 60 << 20
