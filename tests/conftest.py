# SPDX-License-Identifier: Apache-2.0
"""What the system, fault and attack tests share.

`box` is the program under test as somebody: every test that takes it runs twice, as root and as an
ordinary user without any right (uid 65534; in the VM lane its own user, in a delegated subtree).
Run by an ordinary user, only that half runs. Each test ends with tools/leaks: a test that leaves a
process, mount, cgroup, state directory or memfd behind fails.

A case whose outcome differs for the ordinary user takes `differs` (true for that user) and stands in
tests/expect-user.txt with its reason; the two are compared at collection.
"""
import contextlib
import ctypes
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("CLEAVE_BUILD", TOP / "build/cleave"))
BUILD_DEV = Path(os.environ.get("CLEAVE_BUILD_DEV", TOP / "build-dev/cleave"))
PAYLOAD = Path(os.environ.get("CLEAVE_PAYLOAD", BUILD.parent / "tests/payload"))
LANE = os.environ.get("CLEAVE_LANE", "")
SLOW = 10 if LANE.startswith("vm-") else 4  # software emulation; a busy machine: patience is no criterion
USER_DELEGATED = LANE == "vm-v2"  # whether the user may use cgroup controllers: the lane's, not the program's
WITHOUT = os.environ.get("CLEAVE_TEST_WITHOUT", "")  # tools/mutate: the one wall that is down in every call
PYTHON = "/usr/bin/python3"
EXPECT_USER = TOP / "tests/expect-user.txt"
OUR_ROOMS = ("system", "faults", "attack", "fork")
PR_SET_CHILD_SUBREAPER = 36

sys.dont_write_bytecode = True


def rounds(n):
    """How often a test repeats what may race: less often where each round takes a second."""
    return max(3, n // 10) if LANE.startswith("vm-") else n


def load_leaks():
    loader = importlib.machinery.SourceFileLoader("leaks", str(TOP / "tools/leaks"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("leaks", loader))
    loader.exec_module(module)
    return module


leaks = load_leaks()


def poll(condition, seconds=10.0, what="the condition", of=None):
    """Waits until condition() is true and returns its value. `of`: the Process that has to live meanwhile.

    When it does not come true, the error shows what there is: what each call in the background wrote, what
    state its processes are in, and the sandboxes of each user.
    """
    begin = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begin
        assert of is None or of.popen.poll() is None, f"{what}: who should bring it about has ended\n{picture()}"
        assert waited < seconds * SLOW, f"{what} did not come true in {waited:.1f} s\n{picture()}"
        time.sleep(0.01)


def picture():
    """What runs in the background and which sandboxes there are: read when a wait was in vain."""
    lines = []
    for box in Box.made:
        lines += [process.picture() for process in box.running]
        done = box.call("ps", "-a")
        lines.append(f"cleave ps -a as {box.who} ({done.status}):\n{done.out}{done.err}")
    return "\n".join(lines)


def state_of(pid):
    """One line on a process of the host, for a person."""
    stat = leaks.read(f"/proc/{pid}/stat")
    state = stat[stat.rindex(")") + 2:].split()[0] if ")" in stat else "gone"
    words = leaks.read(f"/proc/{pid}/cmdline").replace("\0", " ")[:100]
    return f"    {pid} {state} {leaks.read(f'/proc/{pid}/wchan') or '-'} {words}"


class Done:
    """How one call of the program ended."""

    def __init__(self, argv, status, out, err, result=None):
        self.argv, self.status, self.result = argv, status, result
        self.out_bytes, self.err_bytes = out or b"", err or b""
        self.out = self.out_bytes.decode(errors="replace")
        self.err = self.err_bytes.decode(errors="replace")

    def __repr__(self):
        return f"<{' '.join(map(str, self.argv))[-300:]}: status {self.status}, out {self.out[-800:]!r}, " \
               f"err {self.err[-800:]!r}, result {str(self.result)[:600]}>"

    def ok(self):
        assert self.status == 0, self
        return self

    def refused(self, status=125):
        """cleave itself said no: the status, one clear sentence, nothing on stdout."""
        assert self.status == status, self
        assert self.out == "", self
        assert self.err.startswith("cleave "), self
        assert self.err.count("\n") == 1 and self.err.endswith("\n"), self
        assert 20 < len(self.err) < 900, self
        return self.err


class Process:
    """A running call of the program; killed at the end of the test if it lives."""

    def __init__(self, box, argv, popen):
        self.box, self.argv, self.popen = box, argv, popen

    def below(self):
        """pid -> name of all processes below ours, as the host sees them."""
        table = leaks.process_table(self.popen.pid)
        return {pid: row[1] for pid, row in table.items() if pid != self.popen.pid}

    def picture(self):
        """Its end or its processes' states, and what it has written that nobody has read."""
        status = self.popen.poll()
        lines = [f"{' '.join(map(str, self.argv))[-300:]}: {'runs' if status is None else f'status {status}'}"]
        lines += [state_of(pid) for pid in sorted(leaks.process_table(self.popen.pid))]
        for name, stream in (("stdout", self.popen.stdout), ("stderr", self.popen.stderr)):
            if stream and not stream.closed:
                os.set_blocking(stream.fileno(), False)
                with contextlib.suppress(OSError):
                    lines.append(f"    {name}: {(os.read(stream.fileno(), 65536))[-2000:]!r}")
        return "\n".join(lines)

    def named(self, name):
        return sorted(pid for pid, n in self.below().items() if n == name)

    def init(self):
        return poll(lambda: self.named("cleave-init"), what="init")[0]

    def keeper(self):
        init = self.init()
        return leaks.process_table(self.popen.pid)[init][0]

    def workload(self, name):
        return poll(lambda: self.named(name), what=f"a process called {name}")[0]

    def wait(self, seconds=30):
        out, err = self.popen.communicate(timeout=seconds * SLOW)
        return Done(self.argv, self.popen.returncode, out, err)


class Box:
    """The program as root or as an ordinary user."""
    made = []
    extra = ()  # options of each run and start: for tests that are read with several kinds of root

    def __init__(self, who, base):
        Box.made.append(self)
        self.who, self.is_user = who, who == "user"
        self.uid = self.gid = 0
        self.prefix = []
        if self.is_user and os.geteuid() == 0:
            self.uid = self.gid = int(os.environ.get("CLEAVE_TEST_USER", "65534"))
            wrapper = os.environ.get("CLEAVE_TEST_AS_USER")
            self.prefix = [wrapper] if wrapper else [
                "setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]
        elif self.is_user:
            self.uid, self.gid = os.geteuid(), os.getegid()
        self.delegated = not self.is_user or USER_DELEGATED
        self.dir = base / who
        self.dir.mkdir(mode=0o755)
        self.state = self.dir / "state"
        self.state.mkdir(mode=0o711)
        self.tmp = self.dir / "tmp"
        self.tmp.mkdir()
        self.own(self.dir, self.state, self.tmp)
        self.running = []

    def own(self, *paths):
        for path in paths:
            if os.geteuid() == 0:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return paths[0]

    def directory(self, name="d", mode=0o755):
        """A fresh directory that belongs to this user."""
        path = Path(tempfile.mkdtemp(prefix=name + "-", dir=self.dir))
        path.chmod(mode)
        return self.own(path)

    def file(self, text="x\n", name="f", mode=0o644, directory=None):
        path = (directory or self.directory()) / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return self.own(path)

    def environment(self, more=None):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8",
               "TERM": os.environ.get("TERM", "xterm"), "CLEAVE_STATE": str(self.state), "TMPDIR": str(self.tmp)}
        # LeakSanitizer can't stop its own threads where ptrace is restricted; leaks are another lane.
        env["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=1"
        env.update({k: v for k, v in (more or {}).items() if v is not None})
        if WITHOUT:
            env["CLEAVE_TEST_WITHOUT"] = ",".join(filter(None, (env.get("CLEAVE_TEST_WITHOUT"), WITHOUT)))
        for key in [k for k, v in (more or {}).items() if v is None]:
            env.pop(key, None)
        return env

    def argv(self, *words, dev=False):
        if words and words[0] in ("run", "start"):
            words = (words[0], *self.extra, *words[1:])
        return [*self.prefix, str(BUILD_DEV if dev else BUILD), *map(os.fspath, map(_word, words))]

    def call(self, *words, dev=False, env=None, timeout=60, input=b"", **more):
        """cleave WORDS..., to its end."""
        argv = self.argv(*words, dev=dev)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        if "stdin" not in more:
            more["input"] = input.encode() if isinstance(input, str) else input
        more.setdefault("cwd", self.dir)
        done = subprocess.run(argv, env=self.environment(env), timeout=timeout * SLOW, **more)
        return Done(argv, done.returncode, done.stdout, done.stderr)

    def run(self, *words, **more):
        return self.call("run", *words, **more)

    def sh(self, script, *options, **more):
        """The output of a shell script inside."""
        return self.run(*options, "/bin/sh", "-c", script, **more).ok().out

    def python(self, code, *options, **more):
        """What a Python script inside prints, which has to be JSON."""
        return json.loads(self.run(*options, PYTHON, "-c", code, **more).ok().out)

    def result(self, *words, **more):
        """The same as run(), with the result record in .result."""
        path = self.directory("json") / "result"
        done = self.run(f"--json={path}", *words, **more)
        done.result = json.loads(path.read_text())
        return done

    def start(self, *words, dev=False, env=None, verb="run", **more):
        """cleave run WORDS... in the background; it runs, and no longer what makes it the ordinary user's."""
        argv = self.argv(verb, *words, dev=dev)
        for stream in ("stdin", "stdout", "stderr"):
            more.setdefault(stream, subprocess.PIPE)
        more.setdefault("cwd", self.dir)
        process = Process(self, argv, subprocess.Popen(argv, env=self.environment(env), **more))
        self.running.append(process)
        if self.prefix:
            poll(lambda: process.popen.poll() is not None or
                 not leaks.read(f"/proc/{process.popen.pid}/cmdline").startswith(self.prefix[0]), what="cleave")
        return process

    def payload(self, *words):
        """Options and command that run a static test program inside."""
        program = PAYLOAD / words[0]
        assert program.exists(), f"{program} is not built"
        return ["--ro", f"{program}:/opt/{words[0]}", f"/opt/{words[0]}", *words[1:]]

    def end(self):
        for process in self.running:
            popen = process.popen
            if popen.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(popen.pid, signal.SIGCONT)
                popen.kill()
            popen.wait()
            for stream in (popen.stdin, popen.stdout, popen.stderr):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
        self.running.clear()


def _word(word):
    return str(word) if isinstance(word, (int, float)) else word


def whos():
    return ["root", "user"] if os.geteuid() == 0 else ["user"]


def runs(who, path):
    """Whether this half of a file is asked for: both are, unless the lane names some."""
    wanted = os.environ.get(f"CLEAVE_TEST_{who.upper()}_RUNS")
    path = os.path.relpath(path, TOP)
    return wanted is None or any((path + "/").startswith(w.split("::")[0].rstrip("/") + "/") for w in wanted.split())


def pytest_generate_tests(metafunc):
    if "box" in metafunc.fixturenames:
        halves = [who for who in ("root", "user") if runs(who, metafunc.definition.path)]
        marks = {"root": [] if os.geteuid() == 0 else [pytest.mark.skip(reason="pytest runs as an ordinary user")],
                 "user": []}
        metafunc.parametrize("box", [pytest.param(who, marks=marks[who]) for who in halves], indirect=True, ids=halves)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes too long under software emulation")
    config.addinivalue_line("markers", "host_only: not for the VM lane")
    config.addinivalue_line("markers", "root_only: means something for root alone")
    # a session that is told to end (timeout, a closed terminal) takes its sandboxes along
    for signo in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's job in the background ignores it, and all below it would


def listed_for_user():
    if not EXPECT_USER.exists():
        return {}
    rows = [l for l in EXPECT_USER.read_text().splitlines() if l.strip() and l[0] != "#"]
    return {row.split("#", 1)[0].strip(): row.split("#", 1)[1].strip() for row in rows}


def pytest_collection_modifyitems(config, items):
    """expect-user.txt and the tests that take `differs` say the same."""
    listed = listed_for_user()
    collected = {item.nodeid.split("[")[0]: item for item in items}
    files = {name.split("::")[0] for name in collected}
    asking = {name for name, item in collected.items() if "differs" in item.fixturenames}
    whole = not any("::" in arg for arg in config.args) and not config.option.keyword
    wrong = [f"{name} takes `differs` but is not in tests/expect-user.txt" for name in asking
             if name not in listed]
    if whole:
        wrong += [f"tests/expect-user.txt: no such case: {name}" for name in listed
                  if name.split("::")[0] in files and name not in asking]
    wrong += [f"tests/expect-user.txt: no reason: {name}" for name, reason in listed.items()
              if not reason]
    if wrong:
        raise pytest.UsageError("\n".join(wrong))


def cgroup_kind():
    """What /proc/self/mountinfo tells: v1, v2, hybrid (both, controllers where v1 has them) or none."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    kinds = {line.split(" - ")[1].split()[0] for line in lines}
    return {0: "none", 1: "v1", 2: "v2", 3: "hybrid"}[("cgroup" in kinds) + 2 * ("cgroup2" in kinds)]


@pytest.fixture(scope="session", autouse=True)
def told_where(record_testsuite_property):
    """For tools/gen-support: what each half of these results was seen on (a case's `who` says of which half it is)."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    user = "user" + ", delegated" * USER_DELEGATED + ", nothing as root" * (os.geteuid() != 0)
    for who, words in {"root": "root", "user": user}.items():
        record_testsuite_property(who, f"Linux {kernel}, cgroup {cgroup_kind()}, {words}")


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(
        f"{len(listed_for_user())} cases end differently for an ordinary user (tests/expect-user.txt)")


@pytest.fixture(scope="session")
def base_directory():
    """A directory that both users can enter; pytest's own are closed to others."""
    base = Path(tempfile.mkdtemp(prefix="ct-"))
    base.chmod(0o755)
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def boxes(base_directory):
    assert BUILD.exists(), f"{BUILD} is not built"
    # Orphans come to us: so everything that the tests leave behind descends from this process.
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    made = {who: Box(who, base_directory) for who in whos()}
    os.environ["CLEAVE_LEAKS_STATE"] = ":".join(str(b.state) for b in made.values())
    os.environ["CLEAVE_LEAKS_TMP"] = ":".join(str(b.tmp) for b in made.values())
    yield made
    reap_orphans()
    # Each test looked at what descends from us by the kernel's lists of children, which may miss one while another
    # one ends; so all processes once more.
    left = sorted(leaks.processes(leaks.process_table(), os.getpid()))
    assert not left, "left behind by some test:\n" + "\n".join(left)


def reap_orphans():
    """Collects what was reparented to us and is dead."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.fixture
def box(request, boxes, record_property):
    box = boxes[request.param]
    record_property("who", box.who)
    if box.is_user and request.node.get_closest_marker("root_only"):
        pytest.skip("means something for root alone")
    before = leaks.everything(os.getpid())
    yield box
    box.end()
    reap_orphans()
    left = leaks.check(before, os.getpid())
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture
def differs(box, request, record_property):
    """True where the case is expected to end as tests/expect-user.txt says; the results tell why."""
    reason = listed_for_user()[request.node.nodeid.split("[")[0]]
    if not box.is_user or (reason.startswith("no cgroup:") and box.delegated):
        return False
    record_property("differs", reason)
    return True
