# SPDX-License-Identifier: Apache-2.0
"""cleave fork, snapshot, rollback on living sandboxes: what the verbs promise."""
import json
import os
import time

import pytest

from live import PYTHON, alive, live, poll  # noqa: F401

# Answers each line on stdin with its own count: what it remembers is its memory, what it wrote are its files.
ASKED = r"""
import os, sys
memory = {"n": 0, "big": bytearray(b"x" * 3000000)}
for line in sys.stdin:
    memory["n"] += 1
    with open("/tmp/log", "a") as f:
        f.write(line)
    print(memory["n"], len(memory["big"]), line.strip(), open("/tmp/log").read().split(), os.getpid(), flush=True)
"""


def ask(live, name, word):
    """One line to the main command by attach, its answer from the log."""
    before = live.call("logs", name).ok().out.count("\n")
    process = live.box.start("-i", name, verb="attach")
    process.popen.stdin.write(word.encode() + b"\n")
    process.popen.stdin.flush()
    line = process.popen.stdout.readline().decode()
    process.popen.kill()
    process.popen.wait()
    poll(lambda: live.call("logs", name).ok().out.count("\n") > before, what="the log")
    return line.split(" ", 3)


def start_asked(live, *options):
    script = live.box.file(ASKED, "asked.py")
    name = live.start("-i", "--file", f"{script}:/opt/asked.py", *options, command=[PYTHON, "/opt/asked.py"])
    assert ask(live, name, "one")[0] == "1"
    return name


def fork(live, *words):
    return live.call("fork", *words).ok().out.split()


def test_a_fork_goes_on_where_the_source_stood(live):
    name = start_asked(live)
    assert fork(live, name) == [f"{name}-1"]
    source, clone = ask(live, name, "two"), ask(live, f"{name}-1", "zwei")
    assert source[:3] == ["2", "3000000", "two"] and clone[:3] == ["2", "3000000", "zwei"]
    assert source[3].startswith("['one', 'two']") and clone[3].startswith("['one', 'zwei']")
    assert source[3].split()[-1] == clone[3].split()[-1], "the pid inside is the same"
    assert live.execsh(f"{name}-1", "hostname") != ""
    live.call("rm", "-f", name).ok()
    assert ask(live, f"{name}-1", "drei")[0] == "3"


def test_names_and_counts(live):
    name = start_asked(live)
    assert fork(live, name, "left", "right") == ["left", "right"]
    assert sorted(fork(live, "-n", "3", name)) == [f"{name}-{i}" for i in (1, 2, 3)]
    assert fork(live, name) != fork(live, name)
    live.call("fork", "-n", "2", name, "only").refused()
    live.call("fork", "-n", "0", name).refused()
    assert "taken" in live.call("fork", name, "fresh", "left").refused()
    assert "fresh" not in live.names("-a"), "all or none"
    assert ask(live, name, "two")[0] == "2"


def test_the_json_of_a_fork(live):
    name = start_asked(live)
    told = json.loads(live.call("fork", "--json", "-n", "2", name).ok().out)
    assert set(told) >= {"source", "clones", "carried", "recreated", "broken", "files", "timing"}
    assert told["source"]["name"] == name and told["source"]["paused_ns"] > 0
    assert [c["name"] for c in told["clones"]] == [f"{name}-1", f"{name}-2"]
    assert all(c["first_insn_ns"] > 0 and len(c["id"]) == 12 for c in told["clones"])
    assert set(told["files"]) >= {"method", "bytes", "files", "ns"} and told["files"]["files"] >= 1
    done = live.call("fork", "-v", name)
    assert done.ok().out.count("\n") == 1 and "stopped for" in done.err


def test_options_of_a_clone(live):
    name = start_asked(live, "--label", "team=a")
    fork(live, "--hostname", "other", "--label", "branch=1", name, "c")
    assert live.execsh("c", "hostname") == "other\n"
    assert live.inspect("c")["labels"]["branch"] == "1"
    assert live.execsh(name, "hostname") == f"{name}\n"


def test_lineage(live):
    name = start_asked(live)
    fork(live, name, "child")
    fork(live, "child", "grandchild")
    row = live.inspect("grandchild")
    assert row["lineage"]["parent"] == live.inspect("child")["id"]
    table = live.call("ps", "--tree").ok().out.splitlines()
    assert table[1].startswith(name) and table[2].startswith("`- child") and "`- grandchild" in table[3]
    assert ask(live, "grandchild", "x")[0] == "2"


def test_clones_are_confined_as_a_fresh_sandbox_is(live):
    name = start_asked(live)
    fork(live, name, "clone")
    look = "grep -E '^(Cap|NoNew|Seccomp|Uid|Gid|Groups)' /proc/2/status; cat /proc/2/limits /proc/self/mountinfo | " \
           "sed 's/^[0-9]* [0-9]* [0-9:]* //' | grep -v -E '^$'; ls /dev /; cat /proc/self/cgroup"
    assert live.execsh("clone", look) == live.execsh(name, look)
    spaces = "for n in /proc/self/ns/*; do readlink $n; done"
    shared = set(live.execsh("clone", spaces).split()) & set(live.execsh(name, spaces).split())
    assert all(s.startswith("time") for s in shared), shared
    assert live.init("clone") != live.init(name)
    pid = live.inspect(name)["init_pid"]
    assert live.exec("clone", "kill", "-0", pid).status != 0


def test_a_paused_one_can_be_forked(live):
    name = start_asked(live)
    live.call("pause", name).ok()
    fork(live, name, "clone")
    assert live.state(name) == "paused"
    assert ask(live, "clone", "two")[0] == "2"
    live.call("resume", name).ok()
    assert ask(live, name, "two")[0] == "2"


def test_many_clones_of_one_dump(live):
    name = start_asked(live)
    begin = time.monotonic()
    names = fork(live, "-n", "20", name)
    took = time.monotonic() - begin
    assert len(set(names)) == 20 and took < 30
    for i, clone in enumerate(names):
        assert ask(live, clone, f"w{i}")[:3] == ["2", "3000000", f"w{i}"]
    assert ask(live, name, "two")[0] == "2"


def test_a_child_of_one_of_many_threads(live):
    """Each thread has a list of its own children."""
    code = """
import os, threading, time
gate = threading.Event()
def last():
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    open("/tmp/child", "w").write(str(pid))
    gate.wait()
for i in range(300):
    threading.Thread(target=gate.wait).start()
threading.Thread(target=last).start()
"""
    source, clone = live.start(command=[PYTHON, "-c", code]), "twin"
    pid = live.execsh(source, "until test -s /tmp/child; do sleep 0.01; done; cat /tmp/child")
    live.call("fork", source, clone).ok()
    assert live.execsh(clone, f"ls -d /proc/{pid}; ls /proc/2/task | wc -l") == f"/proc/{pid}\n302\n"


def test_an_exec_under_way_is_forked_too(live):
    name = start_asked(live)
    process = live.box.start(name, "/bin/sh", "-c", "echo on; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 5", verb="exec")
    assert process.popen.stdout.readline() == b"on\n"
    fork(live, name, "clone")
    poll(lambda: "sleep" in live.comms("clone"), what="the clone's exec")  # the shell may be between fork and exec
    live.execsh("clone", "touch /tmp/go")
    poll(lambda: "sleep" not in live.comms("clone"), what="the end of the clone's exec")
    assert process.popen.poll() is None
    live.execsh(name, "touch /tmp/go")
    assert process.wait().status == 5


# ---- snapshots ----

def snapshots(live):
    return [row["name"] for row in json.loads(live.call("snapshots", "--json").ok().out)]


@pytest.fixture
def forget(live):
    yield
    for name in snapshots(live):
        live.call("snapshot", "rm", name).ok()


def test_snapshot_and_fork_of_it(live, forget):
    name = start_asked(live)
    live.call("snapshot", name, "base").ok()
    assert snapshots(live) == ["base"]
    assert "base" in live.call("snapshots").ok().out
    assert ask(live, name, "two")[0] == "2"
    live.call("rm", "-f", name).ok()
    fork(live, "base", "again", "more")
    assert ask(live, "again", "zwei")[:3] == ["2", "3000000", "zwei"]
    assert ask(live, "more", "dos")[3].startswith("['one', 'dos']")
    live.call("snapshot", "rm", "base").ok()
    assert snapshots(live) == []
    assert "base" in live.call("snapshot", "rm", "base").refused()
    assert ask(live, "again", "drei")[0] == "3"


def test_snapshot_with_stop(live, forget):
    name = start_asked(live)
    live.call("snapshot", "--stop", name, "base").ok()
    poll(lambda: live.state(name) == "exited", what="the end")
    fork(live, "base", "again")
    assert ask(live, "again", "two")[0] == "2"


def test_rollback(live, forget):
    name = start_asked(live)
    live.call("snapshot", name, "base").ok()
    assert ask(live, name, "two")[0] == "2"
    live.execsh(name, "echo later > /tmp/later")
    live.call("rollback", name, "base").ok()
    assert live.names() == [name]
    assert ask(live, name, "zwei")[:3] == ["2", "3000000", "zwei"]
    assert live.exec(name, "test", "-e", "/tmp/later").status == 1


def test_names_of_snapshots(live, forget):
    name = start_asked(live)
    live.call("snapshot", name, "base").ok()
    assert "taken" in live.call("snapshot", name, "base").refused()
    assert "taken" in live.call("start", "base").refused()
    assert "taken" in live.call("snapshot", name, name).refused()
    live.call("snapshot", name, "../x").refused()
    live.call("rollback", name, "nothing").refused()


# ---- refusals ----

def test_a_refusal_names_what_and_leaves_the_source_unharmed(live):
    name = start_asked(live)
    holder = live.box.start(name, PYTHON, "-c", "import socket, time; s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); "
                            "print('on', flush=True); time.sleep(1000)", verb="exec")
    assert holder.popen.stdout.readline() == b"on\n"
    sentence = live.call("fork", name, "clone").refused()
    assert "descriptor" in sentence or "socket" in sentence, sentence
    assert live.names("-a") == [name]
    assert ask(live, name, "two")[0] == "2"


def test_a_clone_that_can_not_be_made_takes_all_with_it(live):
    name = start_asked(live)
    taken = live.start()
    live.call("fork", name, "a", "b", taken).refused()
    assert live.names("-a") == sorted([name, taken])
    assert ask(live, name, "two")[0] == "2"


def test_the_source_can_end_before_its_clones(live):
    name = start_asked(live)
    names = fork(live, "-n", "3", name)
    inits = [live.init(n) for n in names]
    live.call("kill", name).ok()
    poll(lambda: live.state(name) == "exited", what="the end")
    assert all(alive(pid) for pid in inits)
    for clone in names:
        assert ask(live, clone, "x")[0] == "2"
