# SPDX-License-Identifier: Apache-2.0
"""Each carrier of src/fork/carriers.def: with it the clone says what the source says, without it something else, and
exactly what is to be expected. Development build (CLEAVE_TEST_WITHOUT). carriers.table says which state each belongs to.
"""
import json
import re
import subprocess
import sys

import pytest
from conftest import BUILD, TOP
from test_engine import drive  # noqa: F401

sys.path.insert(0, str(TOP / "tests/system"))

from forks import WRITER, forks  # noqa: E402,F401

HERE = TOP / "tests/fork"
CARRIERS = re.findall(r'^CARRIER\(\w+,\s*"([\w-]+)"', (TOP / "src/fork/carriers.def").read_text(), re.M)


class Case:
    """A program, what it is asked, what it must say, and what it says or how it ends without the carrier."""

    def __init__(self, program, ask, right, without, clone=None, before="x"):
        self.program, self.ask, self.right, self.without, self.before = program, ask, right, without, before
        self.clone = right if clone is None else clone  # what a re-created state is


def build(box, name, *options):
    source = next(p for p in (HERE / "programs").iterdir() if p.stem == name)
    program = box.directory("program") / name
    subprocess.run(["gcc", "-O1", *options, "-o", program, source], check=True)
    program.chmod(0o755)
    return program


def compiled(name, *options):
    """Started, and set up: it has answered."""
    def make(drive, box, *words):
        d = drive(build(box, name, "-pthread", *options), *words)
        assert not d.ask("source", "x").startswith("error")
        return d
    return make


FREESTANDING = "-nostdlib", "-static", "-no-pie"


def memory(*more):
    return lambda drive, box: compiled("memory", *FREESTANDING)(drive, box, box.file(b"F" + bytes(4095) + b"f" + bytes(4095), "two"), *more)


def vector():
    flags = set(re.search(r"^flags\s*:(.*)$", open("/proc/cpuinfo").read(), re.M)[1].split())
    return 512 if "avx512f" in flags else 256 if "avx2" in flags else 128


SPOKEN = {128: ("bp234589AXcmFG", 15), 256: ("bp234589AXcmFGy", 16), 512: ("bp234589AXcmFGyzXk", 19)}[vector()]


registers = compiled("registers", *FREESTANDING, f"-DVECTOR={vector()}", f"-DLENGTH={SPOKEN[1]}")


def dots(text, *gone):
    return "".join("." if i in gone else c for i, c in enumerate(text))


def python(setup):
    return lambda drive, box: drive.python(setup.replace("@FILE@", str(box.file("0123456789" * 10, "data", 0o666))))


STATUS = "[l.split(':')[1].split() for l in open('/proc/self/status') if l.split(':')[0] in (%s)]"

# The two threads differ; of processors with one alone there is nothing to choose.
SCHEDULING = """
libc = ctypes.CDLL(None); every = os.sched_getaffinity(0); tids = [0]
def other():
    os.sched_setaffinity(0, {max(every)}); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    libc.syscall(251, 1, 0, 3 << 13); tids.append(threading.get_native_id())
    while True: time.sleep(1)
threading.Thread(target=other, daemon=True).start()
while len(tids) < 2: time.sleep(0.001)
os.sched_setaffinity(0, {min(every)}); os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))
libc.syscall(251, 1, 0, 2 << 13 | 6)
def one(tid):
    policy = os.sched_getscheduler(tid)
    return [os.sched_getaffinity(tid) == every, policy & ~os.SCHED_RESET_ON_FORK, bool(policy & os.SCHED_RESET_ON_FORK),
            libc.syscall(252, 1, tid)]
def look(): return [one(tid) for tid in tids]
"""

SIGNALS = """
libc = ctypes.CDLL(None); room = ctypes.create_string_buffer(65536)
libc.sigaltstack(struct.pack('QiiQ', ctypes.addressof(room), 0, 0, 65536), None)
signal.signal(signal.SIGINT, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL); signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGUSR1, lambda s, f: None); signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
def look():
    old = ctypes.create_string_buffer(24); libc.sigaltstack(None, old); at, flags, _, size = struct.unpack('QiiQ', old.raw)
    masks = [int(l.split()[1], 16) & 0x7fffffff for l in  # without the C library's own 32 and 33
              open('/proc/self/status') if l[:6] in ('SigBlk', 'SigIgn', 'SigCgt')]
    return [masks, at == ctypes.addressof(room), flags, size]
"""

TREE = """
r, w = os.pipe(); r2, w2 = os.pipe(); f = os.open('@FILE@', os.O_RDWR | os.O_APPEND); os.lseek(f, 7, 0)
c = os.fork()
if not c:
    os.close(w); os.close(r2)
    while os.read(r, 1): os.write(w2, json.dumps([os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), os.lseek(f, 0, 1)]).encode())
    os._exit(0)
os.close(r); os.close(w2)
def child(): os.write(w, b'x'); return json.loads(os.read(r2, 200))
def tree():
    try: waited = list(os.waitpid(c, os.WNOHANG))
    except ChildProcessError: waited = 'not mine'
    return [os.getpid(), child()[:4], waited]
def shared(): os.lseek(f, 23, 0); there = child()[4]; os.lseek(f, 7, 0); return there
def state(): return [os.lseek(f, 0, 1), bool(fcntl.fcntl(f, fcntl.F_GETFL) & os.O_APPEND)]
"""

PIPE = "r, w = os.pipe(); os.write(w, b'unread'); os.set_blocking(r, False)"
WIPE = "m = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.madvise(18); m[:4] = b'seed'"
RSEQ = """
l = ctypes.CDLL(None, use_errno=True); l.pthread_self.restype = ctypes.c_ulong
offset = ctypes.c_long.in_dll(l, '__rseq_offset').value
def rseq():
    r = l.syscall(334, ctypes.c_ulong(l.pthread_self() + offset), 32, 0, 0x53053053)
    return 'registered' if r < 0 and ctypes.get_errno() == 16 else 'lost'
"""
DEVICES = """
n, z, f, r, u = (os.open('/dev/' + name, os.O_RDWR) for name in ('null', 'zero', 'full', 'random', 'urandom'))
def write(fd):
    try: return os.write(fd, b'abc')
    except OSError as error: return error.errno
"""
BAD = '"OSError(9, \'Bad file descriptor\')"'
THREADS = "2:threads 3:count0 4:count1 5:count2 6:owner moving 3"
CREDS = STATUS % "'Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs'"


def has_rights(answer):
    status = json.loads(answer)
    return int(status[4][0], 16) != 0 and int(status[5][0], 16) != 0 and status[-1] == ["0"]


def is_elsewhere(answer):
    cwd, umask, exe = json.loads(answer)
    return cwd == "/" and umask != 0o27 and exe.endswith("fork-driver")


CASES = {
    "mem-anon": Case(memory(), "x", "AHSFDb", "...FD."),
    "mem-file": Case(memory("moved"), "x", "AHSFDb", "AHS..b"),
    "mem-file-dirty": Case(memory(), "x", "AHSFDb", "AHSFfb"),
    "mem-wipe": Case(python(WIPE), "bytes(m[:4]).hex()", '"73656564"', '"73656564"', clone='"00000000"'),
    "vdso": Case(python(""), "time.monotonic() > 0", "true", "signal 11", before="1 + 1"),
    "regs": Case(registers, "x", SPOKEN[0], dots(SPOKEN[0], *range(9))),
    "xstate": Case(registers, "x", SPOKEN[0], dots(SPOKEN[0], 9, 10, 11, *range(14, len(SPOKEN[0])))),
    "tls": Case(registers, "x", SPOKEN[0], dots(SPOKEN[0], 12, 13)),
    "syscall": Case(compiled("calls"), "x", "read 0 wait 0", "read 512 wait 4"),
    "threads": Case(compiled("threads"), "x", THREADS, "2:threads moving 0"),
    "names": Case(compiled("threads"), "x", THREADS, re.sub(":\\w+", ":", THREADS)),
    "futex": Case(compiled("threads"), "end", "join 0 lock 130", "join 16 lock 16"),
    "rseq": Case(python(RSEQ), "rseq()", '"registered"', '"lost"'),
    "scheduling": Case(python(SCHEDULING), "look()", None, "[[true, 0, false, 0], [true, 0, false, 0]]"),
    "signals": Case(python(SIGNALS), "look()", "[[8192, 2048, 512], true, 0, 65536]", "[[0, 0, 0], false, 2, 0]"),
    "tree": Case(python(TREE), "tree()", "[2, [3, 2, 2, 2], [0, 0]]", '[2, [3, 1, 2, 2], "not mine"]'),
    "groups": Case(python(TREE), "tree()", "[2, [3, 2, 2, 2], [0, 0]]", "[2, [3, 2, 3, 3], [0, 0]]"),
    "pids": Case(python(TREE), "tree()", "[2, [3, 2, 2, 2], [0, 0]]", '[1002, [1003, 1002, 1002, 1002], "not mine"]'),
    "creds": Case(python(""), CREDS, None, has_rights),
    "cwd": Case(python("os.umask(0o27)\nos.chdir('/usr/share')"), "[os.getcwd(), os.umask(0o27), os.readlink('/proc/self/exe')]", None, is_elsewhere),
    "fd-file": Case(python(TREE), "state()", "[7, true]", BAD),
    "fd-state": Case(python(TREE), "state()", "[7, true]", "[0, false]"),
    "fd-shared": Case(python(TREE), "shared()", "23", "7"),
    "fd-pipe": Case(python(PIPE), "[os.read(r, 100).decode(), os.write(w, b'unread')]", '["unread", 6]', BAD),
    "fd-content": Case(python(PIPE), "[os.read(r, 100).decode(), os.write(w, b'unread')]", '["unread", 6]',
                       "\"BlockingIOError(11, 'Resource temporarily unavailable')\""),
    "fd-stdio": Case(compiled("stdio"), "x", "here", "exit 77"),
    "fd-dev": Case(python(DEVICES), "[write(n), write(f), os.read(z, 4).hex(), os.read(f, 2).hex(), "
                   "len(os.read(r, 16)), len(os.read(u, 16))]", '[3, 28, "00000000", "0000", 16, 16]', BAD),
}
# Those that stand elsewhere in this file.
OTHER = {"rseq-section": "test_rseq_section", "files": "test_files", "files-moment": "test_files_of_one_moment",
         "files-written": "test_files_written_meanwhile", "identity": "test_identity"}


def test_every_carrier_has_its_test():
    assert sorted([*CASES, *OTHER]) == sorted(CARRIERS)
    assert all(callable(globals()[name]) for name in OTHER.values())


def outcome(d, n, ask):
    """What clone n answers, or how it ended without an answer."""
    answer = d.ask(n, ask)
    return d.say(f"wait {n}") if answer == "error eof" else answer


@pytest.mark.parametrize("carrier", CASES)
def test_switched_off(drive, box, carrier):  # noqa: F811
    case = CASES[carrier]
    d = case.program(drive, box)
    right = case.right if case.right is not None else d.ask("source", case.ask)
    clone = case.clone or right
    d.capture()
    n = d.fork()
    assert outcome(d, n, case.ask) == clone
    assert d.say(f"without carrier:{carrier}") == "ok"
    d.capture()
    n = d.fork()
    if case.before != "x":
        assert d.ask(n, case.before) == str(eval(case.before)), "without it a clone lives until it needs it"
    got = outcome(d, n, case.ask)
    assert got != clone
    assert case.without(got) if callable(case.without) else got == case.without, got
    assert d.say("without") == "ok"
    d.capture()
    n = d.fork()
    assert outcome(d, n, case.ask) == clone
    assert d.ask("source", case.ask) == right


def test_rseq_section(drive, box):  # noqa: F811
    """A thread that was captured in the middle of a restartable sequence begins it anew in the clone, as in the source."""
    d = compiled("section")(drive, box)
    begun = 1
    assert d.ask("source", begun) == "begun 1 ended 0"
    for without, ended in (("", 0), ("carrier:rseq-section", 1), ("", 0)):
        assert d.say(f"without {without}") == "ok"
        d.capture()
        n = d.fork()
        begun += 1
        assert d.ask("source", begun) == "begun 1 ended 0"
        assert d.ask(n, begun) == f"begun 1 ended {ended}"


# ---- what the keeper carries, by the command line ----

def without(*carriers):
    return {"CLEAVE_TEST_WITHOUT": ",".join(f"carrier:{c}" for c in carriers)}


def test_files(forks):  # noqa: F811
    look = "[open(p).read() if os.path.exists(p) else None for p in ('/tmp/f', '/home/user/g')]"
    a = forks.program("open('/tmp/f', 'w').write('one'); open('/home/user/g', 'w').write('two')", dev=True)
    b, = forks.fork(a, dev=True)
    c, = forks.fork(a, dev=True, env=without("files"))
    assert forks.ask_all([a, b, c], look) == [["one", "two"], ["one", "two"], [None, None]]


MOMENT = r"""
wrong, n, lock = [], 0, threading.Lock()
open('/tmp/n', 'w').write('0')
def look():
    seen = open('/tmp/n').read()
    if seen != str(n) and not wrong: wrong.append([n, seen])
def work():
    global n
    while True:
        with lock:
            try:
                look()
                with open('/tmp/new', 'w') as f: f.write(str(n + 1))
                os.rename('/tmp/new', '/tmp/n')
            except OSError as error: wrong.append(repr(error))
            n += 1
threading.Thread(target=work, daemon=True).start()
def agree():
    before, end = n, time.monotonic() + 40
    while n < before + 3 and time.monotonic() < end: time.sleep(0.005)
    return [n > before, not wrong]
"""


def test_files_of_one_moment(forks):  # noqa: F811
    """Files are what memory says. Without the carrier they were taken before the processes stood still."""
    a = forks.program(MOMENT, dev=True)
    assert forks.ask_all([a, *forks.fork(a, dev=True)], "agree()") == [[True, True]] * 2
    b = forks.program(MOMENT, dev=True, env=without("files-moment"))

    def disagrees():
        done = forks.call("fork", b, dev=True)
        if done.status:  # the thread had a file open that was not there at that moment
            return "restore.OPEN" in done.refused()
        return forks.ask(done.out.strip(), "agree()") == [True, False]

    # on a busy machine the thread may have stood still in between: until it did not
    assert any(disagrees() for _ in range(20))
    assert forks.ask(b, "agree()") == [True, True]


def test_files_written_meanwhile(forks):  # noqa: F811
    """What is copied before the processes stand still is copied again where it was written since."""
    a = forks.program(WRITER, dev=True)
    for name in [a, *forks.fork(a, dev=True)]:
        assert forks.ask(name, "check()") == []
    b = forks.program(WRITER, dev=True, env=without("files-written"))
    assert any(forks.ask(*forks.fork(b, dev=True), "check()") for _ in range(20))
    assert forks.ask(b, "check()") == []


def test_identity(forks):  # noqa: F811
    look = "[socket.gethostname(), open('/run/cleave/generation').read().split()[0], open('/etc/machine-id').read()]"
    a = forks.program("", dev=True)
    host, generation, machine = forks.ask(a, look)
    assert (host, generation) == (a, "0")
    with_it = forks.ask_all(forks.fork(a, "b", "c", dev=True), look)
    assert [row[:2] for row in with_it] == [["b", "1"], ["c", "1"]]
    assert len({machine, *(row[2] for row in with_it)}) == 3
    lost = forks.ask_all(forks.fork(a, "d", "e", dev=True, env=without("identity")), look)
    assert [row[:2] for row in lost] == [[a, "0"]] * 2 and lost[0][2] == lost[1][2]


# ---- the list ----

def table():
    rows = {}
    for line in (HERE / "carriers.table").read_text().splitlines():
        if line.strip() and line[0] != "#":
            state, out, when, carriers, proof = (cell.strip() for cell in line.split("|"))
            tests, _, why = proof.partition("why:")
            assert state not in rows, f"{state} stands twice"
            rows[state] = {"out": out, "when": when, "carriers": carriers.split(), "tests": tests.split(), "why": why.strip()}
    return rows


def what_lacks(rows):
    """One line for each row that is marked first and proves nothing."""
    for state, row in rows.items():
        if row["when"] != "first":
            continue
        if row["out"] in ("C", "R") and not row["carriers"] and not row["why"]:
            yield f"{state}: no carrier that can be switched off, and no reason why"
        if row["out"] in ("X", "B") and not row["tests"] and not row["why"]:
            yield f"{state}: no test, and no reason why"
        yield from (f"{state}: there is no carrier {c}" for c in row["carriers"] if c not in CARRIERS)


def collected(files):
    out = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *sorted(files)],
                         cwd=TOP, capture_output=True, text=True).stdout
    names = set()
    for line in out.splitlines():
        if line.startswith("tests/"):
            name = re.sub(r"\b(root|user)-|-(root|user)\b|\[(root|user)\]", "", line[len("tests/"):])
            names |= {name, name.split("[")[0]}
    return names


def test_the_table():
    rows = table()
    assert list(what_lacks(rows)) == []
    assert {c for row in rows.values() for c in row["carriers"]} == set(CARRIERS), "every carrier carries some state"
    named = {t for row in rows.values() for t in row["tests"]}
    assert named - collected({f"tests/{t.split('::')[0]}" for t in named}) == set(), "no such test"


def test_the_table_is_held_to_something():
    rows = table()
    rows["vdso"]["carriers"], rows["gpu"]["tests"], rows["random"]["why"], rows["regs"]["carriers"] = [], [], "", ["gone"]
    assert len(list(what_lacks(rows))) == 4


def test_a_release_knows_none_of_it():
    program = BUILD.read_bytes()
    assert b"CLEAVE_STATE" in program and b"CLEAVE_TEST" not in program
    assert not [c for c in ("mem-file-dirty", "rseq-section", "fd-content", "files-moment") if c.encode() + b"\0" in program]
