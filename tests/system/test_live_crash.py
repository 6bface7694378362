# SPDX-License-Identifier: Apache-2.0
"""Keeper, init and client are killed at every step: nothing is left after gc, and the name is free."""
import fcntl
import json
import os
import re
import resource
import signal
import socket
from pathlib import Path

import pytest

from conftest import leaks, rounds
from live import COUNTER, alive, below_us, clean, cmdline, counts_on, descriptors, keepers, kill, live, poll, request, waits_at_a_row  # noqa: F401
from roots import busybox_root


def rows(box, *options):
    """step and side of each row of this launch, in order; nobody stops at a row where both meet."""
    steps = json.loads(box.call("explain", "--json", *options, "true", dev=True).ok().out)
    steps = [(s["step"], s["side"].upper()) for s in steps if s["step"] != "COMMAND_AHEAD"]  # of `run` alone
    return [row for row in steps if row[1] in ("KEEPER", "INIT", "COMMAND")]


def stopped():
    """Who waits at the row: a stopped keeper, or init or its child in pause()."""
    return next(filter(waits_at_a_row, below_us()), 0)


def one_keeper():
    """On a busy machine the process that forked it and goes may be there a moment longer."""
    found = keepers()
    return found if len(found) == 1 else None


def init_pids():
    return [pid for pid, name in below_us().items() if name == "cleave-init"]


def killed_at(live, baseline, victim, step, side, *options):
    """One start, and one who is killed while it stands at that row. False: the start does not come by there."""
    process = live.box.start(*options, "c", "--", "sleep", "1000", verb="start", dev=True, env={"CLEAVE_TEST_STOP": step})
    at = poll(lambda: stopped() or (process.popen.poll() is not None and -1), what=f"the stop at {step}")
    if at < 0:
        process.wait().ok()
        live.call("rm", "-f", "c").ok()
        return False
    keeper = poll(one_keeper, what=f"one keeper ({step})")
    inits = init_pids()
    if victim == "keeper":
        kill(keeper[0])
    elif victim == "client":
        kill(process.popen.pid)
        process.popen.wait()  # one that is still dying can be told of a sandbox that stands
        kill(keeper[0], signal.SIGCONT)
    elif inits:
        for pid in inits:
            kill(pid)
        kill(keeper[0], signal.SIGCONT)
    else:
        kill(at, signal.SIGCONT)  # no init yet: it simply starts
    done = process.wait()
    if victim == "client" and side != "KEEPER":
        kill(keeper[0])  # it waits for an init that was told to wait for ever
    elif victim == "init" and not inits:
        assert done.status == 0, (step, done)
        live.call("rm", "-f", "c").ok()
    elif victim != "client":
        assert done.status == 125 and done.err.count("\n") == 1, (step, done)
        assert done.err.startswith("cleave start: "), (step, done)
    poll(lambda: not alive(keeper[0]), what=f"the end of the keeper ({step})")
    if step == "DIE_WITH_KEEPER":
        kill(at)  # it waits before the row that would end it; without the stop it meets its closed socket
    clean(live, baseline, "c", step)
    return True


@pytest.mark.host_only  # needs the development build, which `make test` makes
@pytest.mark.parametrize("victim", ["keeper", "init", "client"])
def test_killed_at_each_step_of_a_start(live, victim):
    baseline = leaks.everything(os.getpid())
    assert sum(killed_at(live, baseline, victim, *row) for row in rows(live.box)) > 40


def every_option(box):
    """Those with rows of their own; an ordinary user without cgroups goes without what needs them."""
    source = box.directory("source")
    words = ["--ro", f"{source}:/mnt/ro", "--rw", f"{source}:/mnt/rw", "--tmpfs", "/mnt/tmpfs:1m", "--file", f"{box.file()}:/mnt/file",
             "-t", "--nest", "--nofile", "100", "--fsize", "1m", "--stack", "1m", "--cpu-time", "10",
             "--seccomp", box.file('{"defaultAction": "SCMP_ACT_ALLOW"}', "profile.json")]
    return words + (["--memory", "64m", "--pids", "50", "--cpus", "1", "--cpuset", "0"] if box.delegated else [])


# Rows of a limit; which of those that make the cgroup there are depends on the kind and on whether there is a freezer.
LIMITS = {"LIMIT_MEMORY", "LIMIT_PIDS", "LIMIT_CPUS", "LIMIT_CPUSET"}
BROUGHT = {"options": {"OPEN_SOURCES", "PROC_NESTED", "EXTRA_TMPFS", "BINDS", "COPIES", "TERMINAL", "FSIZE_LIMIT", "STACK_LIMIT",
                       "CPU_LIMIT", "SECCOMP_PROFILE"},
           "root": {"OPEN_ROOT", "NEW_SKELETON", "DIRECTORY", "ACCOUNTS", "UPPER", "OVERLAY", "OURS"},
           "root-rw": {"ROOT_ITSELF", "NAMES"}}


@pytest.mark.host_only  # needs the development build
@pytest.mark.parametrize("what", BROUGHT)
def test_killed_at_each_step_that_options_bring(live, what):
    """At each row the keeper, and by turns init or the client."""
    baseline = leaks.everything(os.getpid())
    without, words = [], every_option(live.box) if what == "options" else ["--root", busybox_root(live.box)]
    if what == "root-rw":
        without, words = words, [*words, "--root-rw"]
    plain, seen = rows(live.box, *without), set()
    for i, row in enumerate(row for row in rows(live.box, *words) if row not in plain):
        for victim in ("keeper", ("init", "client")[i % 2]):
            if killed_at(live, baseline, victim, *row, *words):
                seen.add(row[0])
    assert seen >= BROUGHT[what] | (LIMITS if what == "options" and live.box.delegated else set()), seen


# ---- an exec with limits of its own ----

def exec_limits(box):
    return ["--timeout", "60", "--cpu-time", "10", *(["--memory", "64m", "--pids", "20", "--cpus", "1"] if box.delegated else [])]


def exec_rows(box):
    """Rows of its command: one of the first two, by whether init has a cgroup of v1 to put it into."""
    steps = [step for step, side in rows(box, "--cpu-time", "10") if side == "COMMAND"]
    return ["OWN_CGROUP", "TAG", *(step for step in steps if step != "UNPIN")]  # of a sandbox's first command alone


def groups(name):
    """Directories of execs in the cgroups of that sandbox."""
    found = (Path(path) for path, _, _ in os.walk("/sys/fs/cgroup"))
    return [path for path in found if path.parent.name == name and path.name.startswith("exec-")]


@pytest.mark.host_only  # needs the development build
def test_killed_at_each_step_of_a_bounded_exec(live):
    """Its command, its client and then the command, and by turns keeper or init. The first two end no sandbox."""
    baseline = leaks.everything(os.getpid())
    seen = set()
    for i, step in enumerate(exec_rows(live.box)):
        live.start(name="c", dev=True, env={"CLEAVE_TEST_STOP": step})
        told = live.inspect("c")
        for victim in ("command", "client", ("keeper", "init")[i % 2]):
            process = live.box.start(*exec_limits(live.box), "c", "true", verb="exec")
            at = poll(lambda: stopped() or (process.popen.poll() is not None and -1), what=f"the stop at {step}")
            if at < 0:
                process.wait().ok()
                break
            seen.add(step)
            kill({"command": at, "client": process.popen.pid, "keeper": told["keeper_pid"], "init": told["init_pid"]}[victim])
            done = process.wait()
            if victim == "command":
                assert (done.status, done.out, done.err) == (137, "", ""), (step, done)
            elif victim == "client":
                assert live.state("c") == "running", step
                kill(at)  # whoever asks for a command may go: it stays
            else:
                assert done.err.startswith("cleave exec: ") and "ended" in done.refused(), (step, done)
            poll(lambda: not alive(at), what=f"the end of the command ({step}, {victim})")
            if victim in ("command", "client"):
                poll(lambda: groups(told["id"]) == [], what=f"the end of its group ({step}, {victim})")
                assert live.state("c") == "running", (step, victim)
        live.call("rm", "-f", "c")
        clean(live, baseline, "c", step)
    assert seen >= set(exec_rows(live.box)) - {"OWN_CGROUP", "TAG"} and ("TAG" in seen) != live.box.delegated, seen


# ---- later ----

def test_killed_while_running(live):
    baseline = leaks.everything(os.getpid())
    for victim in ("keeper_pid", "init_pid"):
        name = live.sh("sleep 1000 & sleep 1000", name="c")
        row = live.inspect(name)
        process = live.box.start("-i", name, "/bin/sh", "-c", "echo on; sleep 1000", verb="exec")
        waiting = live.box.start(name, verb="wait")
        assert process.popen.stdout.readline() == b"on\n"
        kill(row[victim])
        done = process.wait()
        assert done.status in (125, 137), done
        waiting.wait()
        poll(lambda: not alive(row["init_pid"]), what="the end of init")
        if victim == "init_pid":
            poll(lambda: live.state(name) == "exited", what="the state")
            live.call("rm", name).ok()
        else:
            assert live.names() == []
        clean(live, baseline, name)


@pytest.mark.parametrize("victim", ["keeper_pid", "init_pid"])
def test_killed_while_paused(live, victim):
    baseline = leaks.everything(os.getpid())
    name = live.sh("while :; do sleep 0.01; done", name="c")
    row = live.inspect(name)
    inside = [pid for pid, n in below_us().items() if n in ("sh", "sleep")]
    # the freezer of v1 keeps even what was killed until it is thawed, so there init's death comes with rm
    held = victim == "init_pid" and "freezer:/cleave" in Path(f"/proc/{row[victim]}/cgroup").read_text()
    live.call("pause", name).ok()
    kill(row[victim])
    if not held:
        poll(lambda: not alive(row[victim]), what="its death")
        live.call("gc").ok()
        poll(lambda: not any(alive(pid) for pid in inside), what="the end of a frozen tree")
    live.call("rm", "-f", name)
    poll(lambda: not any(alive(pid) for pid in [row[victim], *inside]), what="the end of all")
    clean(live, baseline, name)


def test_whoever_asks_for_a_pause_is_gone_before_the_answer(live):
    """Whether it was heard or not: the state that is told is the one that it is in, and the sandbox goes on."""
    name = live.sh(COUNTER)
    counts_on(live, name)
    keeper = live.keeper(name)
    before = len(descriptors(keeper))
    kill(keeper, signal.SIGSTOP)
    with live.connect(name) as sock:
        for method in ("hello", "pause"):
            sock.send(request(method))
    kill(keeper, signal.SIGCONT)
    live.state(name)  # it is the turn of the first connection before this one
    poll(lambda: len(descriptors(keeper)) <= before, what="the end of the connection")
    if live.state(name) == "paused":
        assert "paused" in live.exec(name, "true").refused()
        live.call("resume", name).ok()
    counts_on(live, name)


@pytest.mark.parametrize("end", ["resume", "rm"])
def test_the_client_of_an_exec_is_killed_while_paused(live, end):
    """Its command stays, as it does without a pause, and goes on or ends with the sandbox."""
    baseline = leaks.everything(os.getpid())
    name = live.sh(COUNTER, name="c")
    counts_on(live, name)
    before = len(descriptors(live.keeper(name)))
    process = live.box.start("-i", name, "/bin/sh", "-c", "echo on; read x; echo went on > /tmp/on; exec sleep 1000", verb="exec")
    assert process.popen.stdout.readline() == b"on\n"
    # asked once each: what else is below us may end between two looks
    command = next(pid for pid in below_us() if any("went on" in word for word in cmdline(pid)[-2:-1]))
    live.call("pause", name).ok()
    kill(process.popen.pid)
    process.popen.wait()
    poll(lambda: len(descriptors(live.keeper(name))) <= before, what="the end of its connection")
    assert live.state(name) == "paused" and alive(command)
    if end == "resume":
        live.call("resume", name).ok()
        counts_on(live, name)
        poll(lambda: live.exec(name, "cat", "/tmp/on").out == "went on\n", what="its command at the end of its input")
    live.call("rm", "-f", name).ok()
    poll(lambda: not alive(command), what="the end of its command")
    clean(live, baseline, name)


def test_a_killed_keeper_is_told_and_collected(live):
    name = live.start()
    kill(live.keeper(name))
    poll(lambda: live.names() == [], what="the end")
    done = live.exec(name, "true")
    assert done.status == 125 and name in done.err, done
    live.call("gc").ok()
    assert live.ps("-a") == []
    assert live.start(name=name) == name


def test_rm_after_a_crash(live):
    name = live.start()
    kill(live.keeper(name))
    poll(lambda: live.names() == [], what="the end")
    live.call("rm", "-f", name).ok()
    assert live.ps("-a") == []


def test_gc_leaves_the_living_and_the_ended_alone(live):
    names = [live.start(), live.sh("sleep 1000")]
    ended = live.sh("echo out; exit 3")
    assert live.call("wait", ended).status == 3
    poll(lambda: live.state(ended) == "exited", what="the end")
    for _ in range(3):
        live.call("gc").ok()
    for name in names:
        live.usable(name)
    assert live.call("wait", ended).status == 3
    assert live.call("logs", ended).ok().out == "out\n"


def shared_cgroups():
    return [p for p in Path("/sys/fs/cgroup").glob("**/cleave") if p.is_dir() and p.parent.name != "cleave"]


@pytest.mark.root_only
def test_gc_removes_the_cgroups_that_all_share(live):
    """Not while somebody lives in one, whoever that is; and the next sandbox makes them again."""
    live.box.run("--memory", "64m", "true").ok()
    assert shared_cgroups()
    name = live.start("--memory", "64m")
    used = [p for p in shared_cgroups() if (p / live.inspect(name)["id"]).is_dir()]
    assert used
    live.call("gc").ok()
    assert set(used) <= set(shared_cgroups())
    live.usable(name)
    live.call("rm", "-f", name).ok()
    live.call("gc").ok()
    assert [p for p in used if p.is_dir() and not any(c.is_dir() for c in p.iterdir())] == []
    live.box.run("--memory", "64m", "true").ok()


@pytest.mark.slow
def test_who_stands_still_with_the_lock_on_the_names_holds_up_nobody_for_ever(live):
    """A `cleave gc` that was stopped in the middle: the others say so."""
    name = live.start()
    fd = os.open(live.box.state / "names", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert "stands still" in live.call("start", "other", timeout=60).refused()
        live.usable(name)
    finally:
        os.close(fd)
    live.call("start", "other").ok()
    live.call("rm", "-f", "other").ok()


@pytest.mark.parametrize("verb", [("rm", "-f"), ("kill",)], ids=["rm", "kill"])
@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_stopped_keeper_does_not_hold_anybody_up(live, verb, state):
    baseline = leaks.everything(os.getpid())
    name = live.sh("while :; do sleep 0.01; done", name="c")
    row = live.inspect(name)
    if state == "paused":
        live.call("pause", name).ok()
    kill(row["keeper_pid"], signal.SIGSTOP)
    # a signal that is not the end is not forced on anybody
    line = live.call("kill", "-s", "USR1", name).refused()
    assert "does not answer" in line and "stopped" in line
    assert alive(row["keeper_pid"])
    live.call(*verb, name, timeout=30).ok()
    assert not alive(row["keeper_pid"])
    poll(lambda: not alive(row["init_pid"]), what="the end of init")
    clean(live, baseline, name)


def test_rm_with_a_crowd_before_a_stopped_keeper(live):
    """More connections wait than the keeper takes at once: even connecting would block."""
    name = live.start(name="c")
    keeper = live.keeper(name)
    kill(keeper, signal.SIGSTOP)
    crowd = []
    try:
        for _ in range(40):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.setblocking(False)
            crowd.append(sock)
            try:
                sock.connect(str(path := live.box.state / "sandboxes" / live_id(live) / "control.sock"))
            except BlockingIOError:
                break
        else:
            raise AssertionError(f"{path} takes any number of connections")
        live.call("rm", "-f", name, timeout=30).ok()
    finally:
        for sock in crowd:
            sock.close()
    assert not alive(keeper)
    assert live.start(name=name) == name


def live_id(live):
    return next(p.name for p in (live.box.state / "sandboxes").iterdir() if len(p.name) == 12)


def test_a_stale_state_directory(live):
    """As after a power cut: state and names are there, processes, cgroups and mounts are not."""
    name = live.start()
    row = live.inspect(name)
    copy = live.box.directory("copy")
    os.system(f"cp -a {live.box.state}/. {copy}/")
    live.call("rm", "-f", name).ok()
    for part in ("sandboxes", "names"):
        os.system(f"cp -a {copy}/{part}/. {live.box.state}/{part}/")
    assert live.names() == []
    assert "taken" in live.call("start", name).refused()
    live.call("gc").ok()
    assert live.ps("-a") == []
    assert not (live.box.state / "sandboxes" / row["id"]).exists()
    assert live.start(name=name) == name


def test_a_signal_to_the_keeper(live):
    """An administrator's TERM is a stop, not a crash."""
    name = live.sh("trap 'exit 3' TERM; while :; do sleep 0.05; done")
    keeper = live.keeper(name)
    assert cmdline(keeper)[1] == "keeper"
    kill(keeper, signal.SIGTERM)
    poll(lambda: not alive(keeper), 20, "the end of the keeper")
    live.call("gc").ok()
    live.call("rm", "-f", name)
    assert live.ps("-a") == []


@pytest.mark.root_only
def test_out_of_disk(live):
    """The state directory lies on a full file system: refused with a sentence, and nothing is left."""
    small = live.box.directory("small")
    assert os.system(f"mount -t tmpfs -o size=64k,nr_inodes=400,mode=755 none {small}") == 0
    try:
        (small / "ballast").write_bytes(b"x" * 60000)
        with open(small / "rest", "wb", buffering=0) as f:
            try:
                while f.write(b"x" * 512):
                    pass
            except OSError:
                pass
        done = live.call("start", "f", env={"CLEAVE_STATE": str(small)})
        assert done.status == 125 and "No space left" in done.err, done
        for name in ("rest", "ballast"):
            (small / name).unlink()
        env = {"CLEAVE_STATE": str(small)}
        assert live.call("start", "f", env=env).ok()
        # what it writes can't be kept any more: it goes on all the same
        live.call("rm", "-f", "f", env=env).ok()
        name = "g"
        live.call("start", name, "--", "/bin/sh", "-c", "yes | head -c 1000000; exec sleep 1000", env=env).ok()
        assert live.call("exec", name, "echo", "fine", env=env).ok().out == "fine\n"
        live.call("rm", "-f", name, env=env).ok()
        assert [p for p in (small / "sandboxes").iterdir()] == []
    finally:
        assert os.system(f"umount {small}") == 0


def with_few(live, limit, *words):
    """With so many descriptors it goes well (true), or the sentence says what there were too few of."""
    done = live.call(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    if done.status == 0:
        return True
    line = done.err
    assert done.status == 125 and line.startswith("cleave ") and line.count("\n") == 1, (limit, done)
    assert "file descriptors" in line or "open files" in line, (limit, done)
    return False


def test_out_of_descriptors(live):
    for limit in range(4, 27):
        if with_few(live, limit, "start", "f"):
            live.call("rm", "-f", "f").ok()
        assert live.ps("-a") == [], limit


@pytest.mark.parametrize("words", [
    ["exec", "f", "true"], ["cp", "f:/etc/passwd", "-"], ["diff", "f"], ["logs", "f"], ["inspect", "f"], ["ps"], ["stats", "f"],
    ["pause", "f"], ["fork", "f", "g"], ["snapshot", "f", "s"]], ids=lambda words: words[0])
def test_a_client_out_of_descriptors(live, words):
    live.start(name="f")
    undo = {"pause": ["resume", "f"], "fork": ["rm", "-f", "g"], "snapshot": ["snapshot", "rm", "s"]}.get(words[0])
    seen = set()
    for limit in range(4, 44, 3 if words[0] == "fork" else 1):
        well = with_few(live, limit, *words)
        seen.add(well)
        if undo and well:
            live.call(*undo).ok()
        assert live.names("-a") == ["f"] and live.execsh("f", "echo fine") == "fine\n", limit
    assert seen == {False} if words[0] == "fork" else {False, True}  # a fork needs more than 256


@pytest.mark.host_only  # needs the development build, which `make test` makes
def test_the_sandbox_ends_while_an_exec_is_starting(live):
    """Its command never began: whoever asked for it hears that, and why."""
    live.start(name="c", dev=True, env={"CLEAVE_TEST_STOP": "NO_NEW_PRIVS"})
    process = live.box.start("c", "true", verb="exec", dev=True)
    poll(stopped, what="the stop of the command")
    live.call("kill", "c").ok()
    done = process.wait()
    assert (done.status, done.out) == (125, ""), done
    assert done.err == "cleave exec: the sandbox has ended while the command was starting\n", done


@pytest.mark.host_only  # needs the development build
def test_timeout_before_init_has_told_of_the_start(live):
    """The keeper's timer runs although nobody ever says that the main command was started."""
    live.call("start", "--timeout", "300ms", "c", "--", "sleep", "100", dev=True, env={"CLEAVE_TEST_STOP": "NO_NEW_PRIVS"}).ok()
    assert live.state("c") == "exited"
    assert live.call("wait", "c").status == 124


def test_exec_into_one_that_ends_at_some_moment(live):
    """It ran, it was ended with the sandbox, or the sentence says that there is no sandbox any more."""
    said = set()
    for i in range(rounds(30)):
        live.start(name="c", command=["sleep", str(0.002 * (i % 10))])
        while not said or live.state("c") == "running":
            done = live.exec("c", "true")
            if done.status == 125:
                said.add(re.sub("'c' ", "", done.refused()))
            else:
                assert done.status in (0, 137) and done.err == "", done
        poll(lambda: live.state("c") == "exited", what="the end")
        live.call("rm", "c").ok()
    sentences = ("has ended", "has ended while the command was starting", "is exited: no command can start", "is stopping: no command can start")
    assert said <= {f"cleave exec: the sandbox {s}\n" for s in sentences}, said


def test_a_long_command_does_not_hide_the_others(live):
    other, big = live.start(), live.start(command=["sh", "-c", "sleep 99", *["x" * 100000] * 11])
    assert live.names() == sorted([other, big])
    assert len(live.inspect(big)["command"]) == 14
    live.call("rm", "-f", big).ok()
    assert live.names() == [other]


def test_a_state_that_can_not_be_read_does_not_hide_the_others(live):
    other, lost = live.start(), live.start()
    row, directory = live.inspect(lost), live.directory(lost)
    kill(row["keeper_pid"])
    poll(lambda: live.names() == [other], what="the end")
    os.truncate(directory / "state.json", 1 << 30)
    assert [(r["id"], r["state"]) for r in live.ps("-a") if r["name"] != other] == [(row["id"], "dead")]
    live.call("rm", row["id"]).ok()
    assert live.names("-a") == [other]
    assert live.start(name=lost) == lost
