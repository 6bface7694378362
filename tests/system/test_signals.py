# SPDX-License-Identifier: Apache-2.0
"""Signals that we get are the command's; how it ends is how we end."""
import os
import signal
import time

import pytest
from conftest import poll


def started(box, *options):
    process = box.start(*options, *box.payload("probe", "signals"))
    assert process.popen.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_forwarded(box, name):
    process = started(box)
    number = signal.Signals[name]
    process.popen.send_signal(number)
    assert process.popen.stdout.readline() == b"%d\n" % number
    if number != signal.SIGTERM:
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.stdout.readline() == b"15\n"
    assert process.wait().status == 5


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM", "SIGQUIT", "SIGUSR1"])
def test_deadly(box, name):
    """A command that does not care dies of it, and we tell."""
    result = box.directory() / "result"
    process = box.start(f"--json={result}", "/bin/sleep", "100")
    process.workload("sleep")
    process.popen.send_signal(signal.Signals[name])
    done = process.wait()
    assert done.status == 128 + signal.Signals[name], done
    assert f'"signal_name":"{name}"' in result.read_text()
    assert done.err == ""


def test_in_order_and_each_once(box):
    process = started(box)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
        process.popen.send_signal(number)
        assert process.popen.stdout.readline() == b"%d\n" % number
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait().status == 5


def test_interrupt_reaches_the_whole_group(box):
    """As from a terminal: the children of a shell too."""
    process = box.start("/bin/sh", "-c", "trap 'echo parent; exit 3' INT; sh -c 'trap \"echo child; exit\" INT; "
                        "echo ready; while :; do sleep 0.1; done'; sleep 0.1")
    assert process.popen.stdout.readline() == b"ready\n"
    process.popen.send_signal(signal.SIGINT)
    done = process.wait()
    assert done.out == "child\nparent\n" and done.status == 3, done


def test_stop_and_go_on(box):
    """SIGTSTP stops the command and us; SIGCONT both again.

    Nothing is forked meanwhile: dash uses vfork, and one whose child is stopped before its exec is not stopped itself.
    """
    process = box.start("/bin/sh", "-c", "echo on; exec sleep 1000")
    process.popen.stdout.readline()
    keeper = process.keeper()
    shell = process.workload("sleep")

    def state(pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    os.kill(keeper, signal.SIGTSTP)
    poll(lambda: state(keeper) == "T" and state(shell) == "T", what="both stopped")
    os.kill(keeper, signal.SIGCONT)
    poll(lambda: state(keeper) != "T" and state(shell) != "T", what="both running")
    os.kill(keeper, signal.SIGTERM)
    assert process.wait().status == 143


def test_ignored_by_the_caller(box):
    """nohup's SIG_IGN is the caller's, not the command's."""
    def ignore():
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    out = box.sh("grep -E 'SigIgn|SigBlk' /proc/self/status", preexec_fn=ignore, restore_signals=False)
    assert [line.split()[1] for line in out.splitlines()] == ["0" * 16] * 2


def test_blocked_by_the_caller(box):
    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    out = box.sh("grep -E 'SigIgn|SigBlk' /proc/self/status", preexec_fn=block)
    assert [line.split()[1] for line in out.splitlines()] == ["0" * 16] * 2


def test_broken_pipe_inside(box):
    done = box.run("/bin/bash", "-c", "yes | head -n 1; echo ${PIPESTATUS[0]}").ok()
    assert done.out == "y\n141\n" and done.err == ""


def test_signal_while_it_is_made(box):
    """At any moment of the launch: it ends, with a status that tells, and nothing is left."""
    for delay in range(0, 10):
        process = box.start("/bin/sleep", "100")
        time.sleep(delay / 1000)
        process.popen.send_signal(signal.SIGTERM)
        done = process.wait()
        assert done.status in (143, -15), done


def test_killed_while_it_is_made(box):
    for delay in range(0, 10):
        process = box.start("/bin/sleep", "100")
        time.sleep(delay / 1000)
        process.popen.kill()
        process.popen.wait()


def test_pid_1_can_not_be_signalled_from_inside(box, differs):
    out = box.sh("for s in KILL STOP TERM HUP SEGV; do kill -$s 1 2>/dev/null; echo -n $?; done; echo; kill -9 -1; echo gone")
    words = out.split()
    if not differs:
        assert words[0] == "11111"
    # `kill -9 -1` takes every process but the one that says it and init
    assert words[1] == "gone"
