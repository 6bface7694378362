# SPDX-License-Identifier: Apache-2.0
"""fork, snapshot, snapshots, rollback as people use them: names, numbers, lineage, limits, refusals."""
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from forks import forks, poll  # noqa: F401
from live import cmdline, keepers, kill

STEP = "[state.update(n=state.get('n', 0) + 1), state['n'], os.getpid(), os.getppid()]"


def step(forks, name):
    nothing, n, pid, parent = forks.ask(name, STEP)
    assert (nothing, pid, parent) == (None, 2, 1)
    return n


def test_names_given(forks):
    a = forks.program()
    assert step(forks, a) == 1
    done = forks.call("fork", a, "x1", "x2", "x3").ok()
    assert (done.out, done.err) == ("x1\nx2\nx3\n", "")
    assert forks.names() == sorted([a, "x1", "x2", "x3"])
    assert [step(forks, n) for n in ("x1", "x2", "x3", "x1", a)] == [2, 2, 2, 3, 2]
    ids = {forks.inspect(n)["id"] for n in (a, "x1", "x2", "x3")}
    assert len(ids) == 4


def test_default_names_are_free_ones(forks):
    a = forks.program(name="a")
    assert forks.fork(a) == ["a-1"]
    assert forks.fork(a, "a-3") == ["a-3"]
    assert forks.fork(a, "-n", "3") == ["a-2", "a-4", "a-5"]
    assert forks.fork("a-2", "-n", "1") == ["a-2-1"]
    assert forks.fork(forks.inspect("a")["id"][:8], "b") == ["b"]
    assert [step(forks, n) for n in forks.names()] == [1] * 8


def test_paused_source(forks):
    a = forks.program()
    assert step(forks, a) == 1
    forks.call("pause", a).ok()
    clones = forks.fork(a, "-n", "2")
    assert forks.state(a) == "paused"
    assert [forks.state(n) for n in clones] == ["running"] * 2
    assert [step(forks, n) for n in clones] == [2, 2]
    forks.call("resume", a).ok()
    assert step(forks, a) == 2


def test_whoever_makes_the_clones_is_killed(forks):
    """Clones that stand but were not let go end; nothing stays, and the source has not noticed."""
    a = forks.program()
    for wanted in (0, 3):  # keepers that exist by then
        fork = forks.box.start(a, "-n", "12", verb="fork")
        nursery = []
        poll(lambda: nursery.extend(p for p in keepers() if cmdline(p)[2:3] == ["c"]) or nursery or fork.popen.poll() is not None)
        poll(lambda: len(keepers()) >= wanted + 2 or fork.popen.poll() is not None)
        for pid in sorted(nursery)[:1]:
            kill(pid)
        done = fork.wait()
        if done.status:
            assert re.search("the process that makes clones died|clones.? keepers", done.err), done
            poll(lambda: [row["name"] for row in forks.ps()] == [a])
        else:  # it was over already
            forks.call("rm", "-f", *done.out.split()).ok()
    assert step(forks, a) == 1
    assert len(forks.fork(a, "-n", "2")) == 2


def test_all_or_none(forks):
    a = forks.program(name="a")
    forks.fork(a, "there")
    forks.call("snapshot", a, "snap").ok()
    for words, what in ((["new", "there"], "taken"), (["new", "snap"], "taken"), (["new", "a"], "taken"),
                        (["new", "new"], "twice"), (["new", "-n", "3"], "1 names|names are given"),
                        (["-n", "0"], "whole number"), (["-n", "70000"], "whole number"), (["new", ".bad"], "no name"),
                        (["new", "x/y"], "no name"), (["new", "--memory", "x"], "memory"),
                        (["new", "--timeout", "soon"], "timeout")):
        line = forks.refused(a, *words)
        assert re.search(what, line), (words, line)
        assert step(forks, a) >= 1
    assert "nobody" in forks.refused("nobody", "new")
    assert forks.fork(a, "new") == ["new"]


def test_ended_source(forks):
    a = forks.sh("exit 3")
    poll(lambda: forks.state(a) == "exited")
    assert "has ended" in forks.refused(a, "b")


UNFORKABLE = {
    "shared memory": "m = mmap.mmap(-1, 4096)",
    "io_uring or its absence": "l = ctypes.CDLL(None); fd = l.inotify_init()",
    "network socket": "s = socket.socket()",
}


@pytest.mark.parametrize("case", UNFORKABLE)
def test_unforkable_is_named(forks, case):
    a = forks.program("a = 0")
    assert step(forks, a) == 1
    forks.ask(a, f"exec({UNFORKABLE[case]!r}, globals())")
    for i in range(3):
        done = forks.call("fork", "--json", a, "-n", "4")
        if done.status == 0:  # carried by now: then the clones answer
            assert [step(forks, c["name"]) for c in json.loads(done.out)["clones"]] == [2] * 4
            break
        line = done.refused()
        assert re.search(r"(process|thread) 2\b", line) and "capture." in line, line
        assert forks.names("-a") == [a]
        assert step(forks, a) == 2 + i


def test_forks_of_forks(forks):
    a = forks.program(name="g0")
    forks.ask(a, "state.update(path=[])")
    for generation in range(1, 5):
        source, clone = f"g{generation - 1}", f"g{generation}"
        forks.ask(source, f"state['path'].append({generation})")
        assert forks.fork(source, clone) == [clone]
        row, parent = forks.inspect(clone), forks.inspect(source)
        assert row["lineage"] == {"parent": parent["id"], "parent_name": source, "generation": generation}
        assert forks.execsh(clone, "cat /run/cleave/generation").split()[0] == str(generation)
    forks.fork("g1", "side")
    for generation in range(5):
        assert forks.ask(f"g{generation}", "state['path']") == list(range(1, min(generation + 1, 4) + 1))
    assert forks.ask("side", "state['path']") == [1, 2]
    lines = forks.call("ps", "--tree").ok().out.splitlines()[1:]
    depth = {re.search(r"(g\d|side)", l)[1]: re.search(r"(g\d|side)", l).start() // 3 for l in lines}
    assert depth == {"g0": 0, "g1": 1, "g2": 2, "g3": 3, "g4": 4, "side": 2}, lines
    forks.hang_up("g2")
    forks.call("rm", "-f", "g2").ok()
    assert forks.ask("g3", "state['path']") == [1, 2, 3, 4]
    assert len(forks.call("ps", "--tree").ok().out.splitlines()) == 6


def test_hostname_and_labels(forks):
    a = forks.program("", "--label", "team=x", "--hostname", "first")
    assert forks.ask(a, "socket.gethostname()") == "first"
    forks.fork(a, "b")
    forks.fork(a, "c", "d", "--hostname", "other", "--label", "role=y", "--label", "team=z")
    assert forks.ask_all("bcd", "socket.gethostname()") == ["b", "other", "other"]
    assert forks.inspect("b")["labels"] == {"team": "x"}
    assert forks.inspect("c")["labels"] == {"team": "z", "role": "y"}
    assert forks.names("--filter", "label=role=y") == ["c", "d"]
    assert forks.ask(a, "socket.gethostname()") == "first"


def test_limits_of_a_clone(forks):
    a = forks.program()
    forks.fork(a, "short", "--timeout", "300ms")
    forks.fork(a, "brief", "--ttl", "300ms")
    forks.fork(a, "bored", "--idle-timeout", "300ms")
    assert forks.call("wait", "short", timeout=20).status == 124
    assert forks.inspect("short")["status"] == "timeout"
    poll(lambda: forks.state("brief") == "exited")
    poll(lambda: forks.state("bored") == "exited")
    assert forks.inspect("short")["limits"]["timeout"]["asked"] == 300000000
    assert forks.inspect(a)["limits"]["timeout"]["asked"] is None
    assert step(forks, a) == 1


def test_a_clone_that_idles_has_no_end(forks):
    """--timeout is the command's: an idle sandbox has none, and so has its clone."""
    a = forks.start("--timeout", "1", name="base")
    b, = forks.fork(a, "b")
    time.sleep(1.6)
    assert [forks.state(n) for n in (a, b)] == ["running"] * 2


@pytest.mark.skipif(os.cpu_count() < 2, reason="one processor has no other to keep away from")
def test_processors_of_a_clone(forks, differs):
    """Also where the caller, whose processors a clone's tasks get, may use none of the set."""
    a = forks.program()
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    if differs:
        assert "--cpuset can't be enforced" in forks.call("fork", a, "there", "--cpuset", str(last)).refused()
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {first})
    try:
        forks.fork(a, "there", "--cpuset", str(last))
    finally:
        os.sched_setaffinity(0, mine)
    assert forks.ask("there", "sorted(os.sched_getaffinity(0))") == [last]
    assert forks.inspect("there")["limits"]["cpuset"]["enforced"] is True
    assert forks.inspect(a)["limits"]["cpuset"]["asked"] is None


@pytest.mark.skipif(os.cpu_count() < 2, reason="one processor has no other to keep away from")
def test_own_processors_in_another_set(forks, differs):
    """A clone's set is not the source's: a thread that chose nothing gets all of it, one whose choice lies outside too."""
    first, *_, last = sorted(os.sched_getaffinity(0))
    look = "[sorted(os.sched_getaffinity(t)) for t in (0, *tids)]"
    if differs:
        assert "--cpuset can't be enforced" in forks.call("start", "--cpuset", str(first), "a").refused()
        return
    a = forks.program("tids = []", "--cpuset", str(first))
    b, = forks.fork(a, "b", "--cpuset", f"{first},{last}")
    c, = forks.fork(a, "c")
    assert forks.ask_all([a, b, c], look) == [[[first]], [[first, last]], [[first]]]
    choosing = f"""
tids = []
def other(cpu):
    os.sched_setaffinity(0, {{cpu}}); tids.append(threading.get_native_id())
    while True: time.sleep(1)
for n, cpu in enumerate(({first}, {last})):
    threading.Thread(target=other, args=(cpu,), daemon=True).start()
    while len(tids) == n: time.sleep(0.001)
"""
    # init stands on one of the set: who chose that one has chosen too
    f = forks.program(choosing, "--cpuset", f"{first},{last}")
    assert forks.ask_all([f, *forks.fork(f)], look) == [[[first, last], [first], [last]]] * 2
    d = forks.program(choosing)
    every = sorted(os.sched_getaffinity(0))
    e, = forks.fork(d, "e", "--cpuset", str(last))
    assert forks.ask_all([d, e, *forks.fork(d)], look) == [[every, [first], [last]], [[last], [last], [last]], [every, [first], [last]]]


def test_memory_and_pids_of_a_clone(forks, differs):
    a = forks.program()
    words = [a, "b", "--memory", "64m", "--pids", "5"]
    if differs:
        assert "--memory can't be enforced" in forks.refused(*words)
        return
    forks.fork(*words)
    limits = forks.inspect("b")["limits"]
    assert limits["memory"]["asked"] == 64 << 20 and limits["memory"]["enforced"] is True
    assert limits["pids"]["asked"] == 5 and limits["pids"]["enforced"] is True
    many = "[c for c in [os.fork() or os._exit(0 if time.sleep(5) else 0) for i in range(9)]]"
    assert "BlockingIOError" in forks.ask("b", many)
    forks.talk("b").say("len(bytearray(200 << 20))")
    poll(lambda: forks.state("b") == "exited" or forks.inspect("b")["oom_kills"] > 0)
    assert forks.ask(a, "len(bytearray(200 << 20))") == 200 << 20


LIMITS = "[resource.getrlimit(w) for w in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK)]"


def test_limits_of_each_process_of_a_clone(forks):
    """What the source's spec said is the clone's to say, up or down; what a process took from itself stays so."""
    mib = 1 << 20
    a = forks.program("os.dup2(1, 250)", "--nofile", "300", "--fsize", "1m")
    forks.ask(a, f"resource.setrlimit(resource.RLIMIT_FSIZE, ({mib // 2}, {mib}))")
    (_, _), (_, _), (stack, most) = forks.ask(a, LIMITS)
    assert stack > 4 * mib
    b, c, d = [*forks.fork(a, "b", "--nofile", "500", "--fsize", "2m", "--stack", "4m"), *forks.fork(a, "c", "--nofile", "100"),
               *forks.fork(a, "d")]
    assert forks.ask(b, LIMITS) == [[500, 500], [mib // 2, 2 * mib], [4 * mib, 4 * mib]]
    assert forks.ask(c, LIMITS) == [[100, 100], [mib // 2, mib], [stack, most]]
    assert forks.ask(d, LIMITS) == forks.ask(a, LIMITS) == [[300, 300], [mib // 2, mib], [stack, most]]
    assert "Too many open files" in forks.ask(c, "[os.open('/dev/null', 0) for _ in range(100)]")
    assert forks.ask(c, "os.fstat(250).st_mode") == forks.ask(a, "os.fstat(250).st_mode")
    assert [forks.execsh(name, "ulimit -n").strip() for name in (a, b, c)] == ["300", "500", "100"]
    e, = forks.fork(b, "e")
    assert forks.ask(e, LIMITS) == forks.ask(b, LIMITS)
    assert forks.inspect(b)["limits"]["nofile"]["asked"] == 500 and forks.inspect(d)["limits"]["nofile"]["asked"] == 300


def test_disk_of_a_clone(forks):
    a = forks.program("open('/tmp/f', 'wb').write(bytes(3 << 20))")
    forks.fork(a, "b", "--disk", "6m")
    write = "open('/tmp/g', 'wb', 0).write(b'x' * (5 << 20))"
    assert forks.ask("b", "os.path.getsize('/tmp/f')") == 3 << 20
    assert forks.ask(a, write) == 5 << 20
    assert "No space" in forks.ask("b", f"{write} and open('/tmp/h', 'wb', 0).write(b'x' * 4096)")
    assert "No space" in forks.refused(a, "c", "--disk", "1m")
    assert forks.inspect("b")["limits"]["disk"]["asked"] == 6 << 20


def test_timeout_goes_on(forks):
    a = forks.program("", "--timeout", "6")
    time.sleep(1)
    began = time.monotonic()
    forks.fork(a, "b")
    forks.fork(a, "c", "--timeout", "1")
    assert forks.call("wait", "c", timeout=20).status == 124
    assert 0.9 < time.monotonic() - began < 4
    assert forks.call("wait", "b", timeout=20).status == 124
    assert time.monotonic() - began < 5.9, "the clone began its time anew"
    assert forks.inspect("b")["status"] == "timeout"


def timeout_left(forks, name):
    with forks.connect(name) as sock:
        sock.send(json.dumps({"v": 1, "id": 1, "method": "checkpoint"}).encode())
        return json.loads(sock.recv(65536))["result"]["timeout_left_ns"]


def test_timeout_goes_on_in_clones_of_clones(forks):
    a = forks.program("time.sleep(1)", "--timeout", "100")  # a second that has to count
    left = [timeout_left(forks, a)]
    for source, clone in ((a, "b"), ("b", "c")):
        forks.fork(source, clone)
        left.append(timeout_left(forks, clone))
    assert 99 * 10**9 > left[0] > left[1] > left[2] > 0


def test_json(forks):
    a = forks.program("", name="a")
    answer = forks.fork_json(a, "b", "c")
    assert answer["source"]["name"] == "a" and 0 < answer["source"]["paused_ns"] < 5e9
    assert [c["name"] for c in answer["clones"]] == ["b", "c"]
    for c in answer["clones"]:
        assert forks.inspect(c["name"])["id"] == c["id"]
        assert 0 < c["first_insn_ns"] < 20e9
    for key in ("carried", "recreated", "broken"):
        assert all(isinstance(line, str) for line in answer[key])
    assert [line for line in answer["recreated"] if "descriptor 1 of process 2" in line]
    assert answer["broken"] == []
    counts = dict(line.rsplit(": ", 1) for line in answer["carried"])
    assert counts["tree: processes"] == counts["threads"] == "1" and int(counts["fd: descriptors"]) >= 3 and int(counts["mem: mappings"]) > 20
    assert {line.split(":")[0] for line in answer["recreated"]} == {"fd-stdio", "identity", "random"}
    files = answer["files"]
    assert files["method"] == "copy" and files["files"] == 1 and files["bytes"] > 100 and files["ns"] > 0
    assert files["ahead_bytes"] == 0 and files["ahead_ns"] > 0, "a file as small as this is not worth two looks"
    assert all(set(t) == {"step", "ns"} for t in answer["timing"]) and answer["timing"]
    assert answer["memory"]["processes"] == 1 and answer["memory"]["bytes"] > 0
    again = forks.fork_json("b", "d")
    assert again["source"]["name"] == "b"


def test_verbose(forks):
    a = forks.program(name="a")
    done = forks.call("fork", "-v", a, "b").ok()
    assert done.out == "b\n"
    assert "a was stopped for" in done.err and "b (" in done.err and "files:" in done.err
    assert all(l.startswith("cleave fork: ") for l in done.err.splitlines())


def test_output_goes_to_the_own_log(forks):
    a = forks.program()
    forks.ask(a, "'before'")
    forks.fork(a, "b", "c")
    forks.ask("b", "'only b'")
    forks.ask(a, "'only a'")
    logs = {n: forks.call("logs", n).ok().out for n in (a, "b", "c")}
    assert "before" in logs[a] and "only a" in logs[a] and "only b" not in logs[a]
    assert logs["b"] == '"only b"\n' and logs["c"] == ""


def test_a_clone_ends_alone(forks):
    a = forks.program()
    forks.fork(a, "b", "c")
    forks.talk("b").say("os._exit(7)")
    assert forks.call("wait", "b").status == 7
    assert forks.inspect("b")["exit_code"] == 7
    forks.call("kill", "-s", "USR1", "c").ok()
    assert forks.call("wait", "c").status == 128 + 10
    assert forks.state(a) == "running"
    assert step(forks, a) == 1


def test_clones_survive_their_source(forks):
    a = forks.program()
    forks.fork(a, "b")
    forks.hang_up(a)
    forks.call("rm", "-f", a).ok()
    assert step(forks, "b") == 1
    forks.fork("b", "c")
    assert forks.inspect("c")["lineage"]["generation"] == 2
    assert step(forks, "c") == 2


def test_verbs_work_on_clones(forks):
    a = forks.program()
    forks.fork(a, "b")
    forks.usable("b")
    assert forks.execsh("b", "cat /proc/2/comm") == "python3\n"
    forks.call("pause", "b").ok()
    forks.call("resume", "b").ok()
    assert step(forks, "b") == 1
    assert forks.call("stats", "b").ok().out
    forks.call("stop", "--timeout", "1", "b").ok()
    assert forks.state("b") == "exited"
    assert step(forks, a) == 1


def test_two_forks_at_once(forks):
    a = forks.program()
    both = [forks.box.start(a, "-n", "3", verb="fork") for _ in range(2)]
    done = [p.wait() for p in both]
    made = [d for d in done if d.status == 0]
    assert made, done
    for d in done:
        assert d.status == 0 or d.status == 125 and d.err.startswith("cleave fork"), d
    names = [n for d in made for n in d.out.split()]
    assert sorted(names + [a]) == forks.names("-a")
    assert [step(forks, n) for n in names] == [1] * len(names)
    assert step(forks, a) == 1


def test_snapshot(forks):
    a = forks.program(name="a")
    assert step(forks, a) == 1
    forks.ask(a, "open('/tmp/f', 'w').write('one')")
    forks.call("snapshot", a, "s").ok()
    assert step(forks, a) == 2
    forks.ask(a, "open('/tmp/f', 'w').write('two')")
    row, = forks.snapshots()
    assert row["name"] == "s" and row["source"] == "a" and row["source_id"] == forks.inspect(a)["id"]
    assert "taken" in forks.call("snapshot", a, "s").refused()
    assert "taken" in forks.call("snapshot", a, "a").refused()
    assert forks.fork("s", "-n", "2") == ["s-1", "s-2"]
    assert forks.ask_all(["s-1", "s-2", a], "open('/tmp/f').read()") == ["one", "one", "two"]
    assert [step(forks, n) for n in ("s-1", "s-2")] == [2, 2]
    assert forks.inspect("s-1")["lineage"]["generation"] == 1
    forks.hang_up(a)
    forks.call("rm", "-f", a).ok()
    forks.fork("s", "late")
    assert step(forks, "late") == 2
    forks.fork("late", "later")
    assert step(forks, "later") == 3
    forks.call("snapshot", "rm", "s").ok()
    assert forks.snapshots() == []
    assert "s" in forks.refused("s", "never")
    assert "no snapshot" in forks.call("snapshot", "rm", "s").refused()
    assert step(forks, "s-1") == 3


def test_snapshot_and_stop(forks):
    a = forks.program()
    assert step(forks, a) == 1
    forks.call("snapshot", "--stop", a, "s").ok()
    poll(lambda: forks.state(a) == "exited")
    forks.fork("s", "b")
    assert step(forks, "b") == 2


def test_snapshot_of_a_paused_one(forks):
    a = forks.program()
    forks.call("pause", a).ok()
    forks.call("snapshot", a, "s").ok()
    assert forks.state(a) == "paused"
    forks.fork("s", "b")
    assert step(forks, "b") == 1
    forks.call("resume", a).ok()
    assert step(forks, a) == 1


def test_snapshot_that_fails_leaves_nothing(forks):
    a = forks.program()
    forks.ask(a, "exec('l = ctypes.CDLL(None); fd = l.inotify_init()', globals())")
    line = forks.call("snapshot", "--stop", a, "s")
    if line.status != 0:
        line.refused()
        assert forks.snapshots() == [] and forks.state(a) == "running"
        assert step(forks, a) == 1


def test_rollback(forks):
    a = forks.program(name="a")
    step(forks, a)
    forks.ask(a, "open('/tmp/f', 'w').write('one')")
    forks.call("snapshot", a, "s").ok()
    for _ in range(2):
        step(forks, a)
        forks.ask(a, "[open('/tmp/f', 'w').write('two'), open('/tmp/new', 'w').write('x')]")
        forks.hang_up(a)
        forks.call("rollback", a, "s").ok()
        assert forks.names("-a") == [a]
        assert forks.ask(a, "[open('/tmp/f').read(), os.path.exists('/tmp/new')]") == ["one", False]
        assert step(forks, a) == 2
    assert "no snapshot" in forks.call("rollback", a, "none").refused()
    forks.call("rollback", "none", "s").refused()
    assert step(forks, a) == 3


def test_rollback_to_what_can_not_be_made(forks):
    """The image is read before the sandbox goes."""
    a = forks.program(name="a")
    forks.call("snapshot", a, "s").ok()
    image = forks.box.state / "snapshots/s/image"
    image.chmod(0o600)
    data = bytearray(image.read_bytes())
    data[:8] = b"x" * 8
    image.write_bytes(data)
    forks.call("rollback", a, "s").refused()
    forks.refused("s", "b")
    assert step(forks, a) == 1


def test_a_changed_snapshot_is_refused(forks):
    a = forks.program(name="a")
    forks.call("snapshot", a, "s").ok()
    for part in ("image", "layer", "meta.json", "spec.json"):
        path = forks.box.state / "snapshots/s" / part
        path.chmod(0o600)
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
        forks.refused("s", "b")
        path.write_bytes(whole)
    assert forks.fork("s", "b") == ["b"]
    assert step(forks, "b") == 1


@pytest.mark.parametrize("part", ["image", "layer", "meta.json", "spec.json"])
def test_a_broken_snapshot_is_seen_and_removed(forks, part):
    """Its name is taken: so it is listed, as what it is, and goes like any other."""
    a = forks.program(name="a")
    forks.call("snapshot", a, "s").ok()
    forks.call("snapshot", a, "good").ok()
    directory = forks.box.state / "snapshots/s"
    (directory / part).rename(directory / "elsewhere")
    assert {row["name"]: row["broken"] for row in forks.snapshots()} == {"s": True, "good": False}
    table = {l.split()[0]: l for l in forks.call("snapshots").ok().out.splitlines()}
    assert "(broken)" in table["s"] and "(broken)" not in table["good"]
    forks.refused("s", "b")
    assert "taken" in forks.call("snapshot", a, "s").refused()
    forks.call("rollback", a, "s").refused()
    forks.call("snapshot", "rm", "s").ok()
    assert [row["name"] for row in forks.snapshots()] == ["good"] and not directory.exists()
    forks.call("snapshot", a, "s").ok()
    assert forks.fork("s", "b") == ["b"]
    assert step(forks, "b") == 1


@pytest.mark.parametrize("verb, before, after", [("resume", "paused", "running"), ("pause", "running", "paused"),
                                                 ("stop", "paused", "stopping")])
def test_moves_wait_for_a_capture(forks, verb, before, after):
    a = forks.program("state['memory'] = b'x' * (400 << 20)")
    if before == "paused":
        forks.call("pause", a).ok()
    keeper, init = forks.keeper(a), forks.init(a)
    with forks.connect(a) as sock:
        snapshot = forks.box.start(a, "s", verb="snapshot")
        children = Path(f"/proc/{keeper}/task/{keeper}/children")
        tracer = []
        poll(lambda: tracer.extend(int(p) for p in children.read_text().split() if int(p) != init) or tracer)
        os.kill(tracer[0], signal.SIGSTOP)
        for number, method in enumerate((verb, "inspect")):
            sock.send(json.dumps({"v": 1, "id": number, "method": method}).encode())
        answer = json.loads(sock.recv(65536))
        os.kill(tracer[0], signal.SIGCONT)
        assert answer["id"] == 1 and answer["result"]["state"] == before
        assert json.loads(sock.recv(65536)) == {"v": 1, "id": 0, "result": {}}
    assert snapshot.wait().ok()
    if after == "stopping":
        forks.call("wait", a)
    else:
        assert forks.state(a) == after
        if after == "paused":
            forks.call("resume", a).ok()
        assert step(forks, a) == 1


def test_a_refusal_names_what_is_no_text(forks):
    setup = "state['f'] = open(b'/tmp/\\xff', 'w'); fcntl.flock(state['f'], fcntl.LOCK_EX)"
    a = forks.program(setup)
    refusal = forks.refused(a)
    assert "/tmp/\\xff" in refusal and "lock" in refusal
