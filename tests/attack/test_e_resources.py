# SPDX-License-Identifier: Apache-2.0
"""Attacks on the host's resources. Each test says by its number which attack it is.

What could exhaust the host is tried only under a limit of its own.
"""
import os
import time
from pathlib import Path

import pytest
from conftest import PYTHON, SLOW, poll


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.root_only
def test_e52_fork_bomb_is_gone_at_once(box):
    """setsid, double fork, threads: when we end, not one process is left."""
    process = box.start("--pids", "200", "--timeout", "4", *box.payload("probe", "bomb"))
    pids = set()
    poll(lambda: len(process.below()) > 50, what="the bomb")
    pids.update(process.below())
    done = process.wait()
    assert done.status == 124, done
    assert not any(map(alive, pids))


def test_e52_orphans_of_many_sessions_are_gone(box):
    process = box.start("--timeout", "20", "/bin/sh", "-c", "for i in $(seq 40); do (setsid sh -c 'setsid sleep 300 & setsid sleep 300 &' &) ; done; read x")
    poll(lambda: len(process.named("sleep")) == 80, what="80 sleepers")
    pids = list(process.below())
    process.popen.stdin.close()
    process.popen.stdin = None
    assert process.wait().status in (0, 1)
    assert not any(map(alive, pids))


@pytest.mark.root_only
@pytest.mark.parametrize("kind", ["heap", "shared", "tmpfs", "tables", "pipe", "mlock", "threads"])
def test_e53_memory_of_every_kind_is_bounded(box, kind):
    done = box.result("--memory", "64M", "--pids", "300", "--disk", "1g", "--timeout", "10", *box.payload("probe", "fill", kind))
    assert done.result["status"] in ("memory_limit", "exited", "timeout"), done
    assert done.result["memory_peak_bytes"] <= 66 << 20
    assert done.result["status"] == "memory_limit" or done.result["exit_code"] in (4, 5) or done.result["limits"]["pids"]["hit"], done


def test_e54_threads_that_spin_do_not_outlive_the_clock(box):
    done = box.result("--timeout", "500ms", *box.payload("probe", "spin", "50", "60"))
    assert done.status == 124, done
    assert done.result["wall_ns"] < 3e9 * SLOW


def test_e54_a_tree_of_stopped_processes(box):
    done = box.result("--timeout", "300ms", *box.payload("probe", "stop"))
    assert done.status == 124, done


def test_e54_stopped_by_a_tracer(box):
    """A child in ptrace-stop, where --allow-ptrace lets it be."""
    done = box.result("--allow-ptrace", "--timeout", "500ms", PYTHON, "-c",
                      "import ctypes, os, time\nif os.fork() == 0: ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), 19)\ntime.sleep(100)")
    assert done.status == 124, done


@pytest.mark.parametrize("where", ["1", "2", "1; cat /dev/zero >&2"])
def test_e56_flood_of_output(box, where):
    done = box.result("--output-limit", "3M", "--timeout", "20", "/bin/sh", "-c", f"cat /dev/zero >&{where}", stdout=open(os.devnull, "wb"))
    assert done.status == 124 and done.result["status"] == "output_limit", done


def test_e57_all_descriptors(box):
    out = box.python("""if True:
        import json, os
        n = 0
        try:
            while True: os.pipe(); n += 2
        except OSError as e: print(json.dumps([n, e.errno]))""", "--nofile", "500")
    assert out[0] < 500 and out[1] == 24


def test_e60_ways_to_die_of_9_are_told_apart(box, differs):
    ends = {"exited": ["/bin/sh", "-c", "exit 137"], "signaled": ["/bin/sh", "-c", "kill -9 $$"]}
    if not differs or box.delegated:
        ends["memory_limit"] = ["--memory", "32M", *box.payload("probe", "fill", "heap")]
    for status, words in ends.items():
        done = box.result(*words)
        assert (done.status, done.result["status"]) == (137, status), done


def test_e61_the_wall_clock_does_not_matter(box):
    """Times are of the monotonic clock: what the record says agrees with it."""
    began = time.monotonic_ns()
    done = box.result("/bin/sleep", "0.3").ok()
    assert 300e6 <= done.result["wall_ns"] <= time.monotonic_ns() - began
    assert box.run(PYTHON, "-c", "import time; time.clock_settime(0, 0)").status == 1


def test_e64_what_is_not_enforced_is_said(box, differs):
    done = box.result("--memory", "64M", "--pids", "50", "--cpus", "1", "--degrade", "/bin/true").ok()
    for name in ("memory", "pids", "cpus"):
        limit = done.result["limits"][name]
        assert limit["enforced"] is (not differs or box.delegated), name
        assert limit["asked"] is not None
