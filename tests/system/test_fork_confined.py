# SPDX-License-Identifier: Apache-2.0
"""A clone is confined as a fresh sandbox of the same spec is, and reaches neither its source nor a sibling."""
import os
import re
import subprocess

import pytest

from forks import forks, poll  # noqa: F401

# Everything that tells one confinement from another, as the process itself sees it.
LOOK = r"""
SIZES = ['size=%dk' % n for n in range(8192, 8300)]  # the skeleton has room for what --file brings, in a clone it needs none

def clean(line):
    # mount ids, device numbers and the places of the host differ from sandbox to sandbox
    words = line.split()
    dash = words.index('-')
    root = words[3] if words[3] in '/' else os.path.basename(words[3])
    options = [o for o in words[dash + 3].split(',') if not o.startswith(('uid=', 'gid=')) and o not in SIZES]
    return [root, words[4], words[5], words[dash + 1], sorted(options)]

def status():
    keep = ('Uid', 'Gid', 'Groups', 'NoNewPrivs', 'Seccomp', 'Seccomp_filters', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb',
            'SigIgn', 'SigBlk', 'NStgid', 'NSpgid', 'NSsid', 'TracerPid', 'Speculation_Store_Bypass',
            'SpeculationIndirectBranch', 'Umask', 'CoreDumping', 'THP_enabled', 'untag_mask', 'Threads')
    rows = dict(l.rstrip('\n').split(':\t', 1) for l in open('/proc/self/status') if ':\t' in l)
    return {k: rows.get(k) for k in keep}

def read(path):
    try: return open(path).read()
    except OSError as e: return e.errno

libc = ctypes.CDLL(None, use_errno=True)

def look():
    names = os.listdir('/proc/self/ns')
    return {
        'status': status(),
        'ids': [[l.split()[::2] for l in open('/proc/self/' + f)] for f in ('uid_map', 'gid_map')],
        'files': [read('/proc/self/' + f) for f in ('setgroups', 'oom_score_adj', 'loginuid', 'timerslack_ns')],
        'limits': read('/proc/self/limits'),
        'mounts': sorted(clean(l) for l in open('/proc/self/mountinfo')),
        'cgroup': read('/proc/self/cgroup'),
        'prctl': [libc.prctl(o, 0, 0, 0, 0) for o in (2, 3, 7, 16, 21, 25, 27, 30, 34, 37, 39)],
        'sys': {p: read('/proc/sys/' + p) for p in ('user/max_user_namespaces', 'user/max_mnt_namespaces', 'user/max_net_namespaces',
                'user/max_pid_namespaces', 'kernel/hostname', 'kernel/core_pattern', 'kernel/yama/ptrace_scope', 'net/ipv4/ip_forward')},
        'net': read('/proc/net/dev').split(':')[0] + str(sorted(os.listdir('/sys/class/net') if os.path.isdir('/sys/class/net') else [])),
        'fds': sorted((int(f), re_sub(os.readlink('/proc/self/fd/' + f))) for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)),
        'dev': sorted(os.listdir('/dev')), 'root': sorted(os.listdir('/')),
        'pids': sorted(int(p) for p in os.listdir('/proc') if p.isdigit()),
        'task': sorted(os.listdir('/proc/self/task')),
        'affinity': sorted(os.sched_getaffinity(0)), 'nice': os.nice(0), 'policy': os.sched_getscheduler(0),
        'session': [os.getsid(0), os.getpgid(0), os.getppid()],
        'ns': sorted(names),
    }

def re_sub(text):
    import re
    return re.sub(r'\d+', 'N', text)

# Calls that walls forbid, and some that they let through, with arguments that do no harm.
def calls():
    out = []
    def call(n, *args):
        ctypes.set_errno(0)
        r = libc.syscall(n, *[ctypes.c_long(x) for x in args])
        out.append([n, args[:2], ctypes.get_errno() if r == -1 else 'ok'])
        if r > 2 and n == 41: os.close(r)
    for n in CALLS:
        call(n, -1, -1, -1, -1, -1, -1)
        call(n, 0, 0, 0, 0, 0, 0)
    for family in range(48):
        for kind in (1, 2, 3): call(41, family, kind, 0)
    for flag in range(7, 32): call(272, 1 << flag)
    return out
"""
# ptrace, mounts, modules, keys, bpf, namespaces, io_uring, other processes' memory, Landlock, ids, clocks and so on.
CALLS = [101, 103, 105, 106, 116, 122, 123, 133, 134, 136, 139, 153, 155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172,
         173, 175, 176, 179, 206, 212, 216, 237, 238, 239, 246, 248, 249, 250, 256, 259, 272, 279, 298, 300, 303, 304, 305, 308, 310,
         311, 312, 313, 317, 320, 321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 444, 445, 446, 448, 450,
         451, 452, 457, 458, 459, 460, 461]
SETUP = f"CALLS = {CALLS!r}\n" + LOOK
SPEC = ["--hostname", "same", "--tmpfs", "/mnt/t:1m", "--nofile", "200", "--fsize", "1g", "--stack", "4m"]
MEMORY = ["--memory", "300m", "--pids", "40", "--cpus", "1.5"]


def spec(box):
    return SPEC + (MEMORY if box.delegated else [])


def clone_of(forks, source):
    name, = forks.fork(source, "--hostname", "same")
    return name


def diff(a, b):
    assert isinstance(a, dict) and isinstance(b, dict), (a, b)
    return {k: (a[k], b[k]) for k in a if a[k] != b[k]}


def test_every_layer_as_a_fresh_one(forks, box):
    a = forks.program(SETUP, *spec(box))
    b = clone_of(forks, a)
    c = clone_of(forks, b)
    fresh = forks.program(SETUP, *spec(box))
    want = forks.ask(fresh, "look()")
    assert want["status"]["NoNewPrivs"] == "1" and want["status"]["Seccomp"] == "2"
    assert int(want["status"]["CapBnd"], 16) == 0
    assert len(want["mounts"]) > 10
    for name in (a, b, c):
        assert diff(want, forks.ask(name, "look()")) == {}, name
    for verb in ("layers", "limits"):
        assert diff(forks.inspect(fresh)[verb], forks.inspect(c)[verb]) == {}


def test_every_system_call_as_in_a_fresh_one(forks, box):
    a = forks.program(SETUP, *spec(box))
    b = clone_of(forks, a)
    fresh = forks.program(SETUP, *spec(box))
    want = forks.ask(fresh, "calls()")
    assert len([row for row in want if row[2] in (1, 38)]) > 60, "walls"
    assert [(x, y) for x, y in zip(want, forks.ask(b, "calls()")) if x != y] == []


def test_what_an_exec_in_a_clone_gets(forks, box):
    """Commands that are born in the clone are confined too."""
    a = forks.program("", *spec(box))
    b = clone_of(forks, a)
    script = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap)' /proc/self/status; cat /proc/self/uid_map /proc/self/cgroup; ulimit -a"
    assert forks.execsh(b, script) == forks.execsh(a, script)


@pytest.mark.parametrize("spec_words", [[], ["--user", "root"], ["--allow-ptrace"]], ids=lambda w: "".join(w) or "default")
def test_other_specs(forks, spec_words):
    a = forks.program(SETUP, "--hostname", "same", *spec_words)
    b = clone_of(forks, a)
    assert diff(forks.ask(a, "look()"), forks.ask(b, "look()")) == {}


def namespaces(pid):
    return {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in ("user", "pid", "mnt", "uts", "ipc", "net", "cgroup")}


def test_namespaces_and_cgroups_of_its_own(forks, box):
    a = forks.program()
    names = [a, *forks.fork(a, "-n", "2")]
    tasks = [forks.tasks(n)[0] for n in names]
    sets = [namespaces(t) for t in tasks]
    host = namespaces("self")
    for kind in host:
        values = {s[kind] for s in sets} | {host[kind]}
        assert len(values) == 4, (kind, sets)
    if box.delegated:
        groups = {open(f"/proc/{t}/cgroup").read() for t in tasks}
        assert len(groups) == 3
        for name, task in zip(names, tasks):
            assert forks.inspect(name)["id"] in open(f"/proc/{task}/cgroup").read()


def test_no_page_is_writable_and_executable(forks):
    a = forks.program("t = threading.Thread(target=lambda: [time.sleep(0.05) for _ in iter(int, 1)], daemon=True); t.start()")
    source = sorted(l.split()[1] for l in forks.ask(a, "open('/proc/self/maps').read()").splitlines())
    b, = forks.fork(a)
    c, = forks.fork(b)
    for name in (b, c):
        for task in forks.tasks(name):
            for line in open(f"/proc/{task}/maps"):
                mode = line.split()[1]
                assert not ("w" in mode and "x" in mode), line
                assert "s" not in mode or "w" not in mode, f"shared and writable: {line}"
        lines = forks.ask(name, "open('/proc/self/maps').read()").splitlines()
        more = len([l for l in lines if "x" in l.split()[1]]) - len([m for m in source if "x" in m])
        assert more <= 1, "what stays of the restorer is one mapping"


@pytest.mark.host_only  # needs the development build, which `make test` makes
def test_nobody_runs_before_all_are_confined(forks, box):
    """One process of the tree can't be rebuilt (the only one with threads): of the others, which were done before, none
    has run an instruction of its own, whose trace would be a file of the host's."""
    trace = box.directory("trace")
    a = forks.program("""
def run():
    while True:
        open('/home/user/trace/ran-' + open('/run/cleave/generation').read().split()[0], 'w').close(); time.sleep(0.001)
for i in range(4):
    if os.fork() == 0: run()
threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()
pages = bytearray(b'x') * (16 << 20)
""", "--rw", f"{trace}:/home/user/trace", dev=True)
    poll(lambda: (trace / "ran-0").exists(), what="a process of the source")
    for row in ("THREADS", "THREADS", "THREADS", "GATE", "FILTER"):
        line = forks.refused(a, "-n", "3", dev=True, env={"CLEAVE_TEST_FAIL": f"restore.{row}:28"})
        assert f"restore.{row}" in line and not (trace / "ran-1").exists(), line
    forks.fork(a, dev=True)
    poll(lambda: (trace / "ran-1").exists(), what="a process of a clone")


def test_processors_of_threads(forks):
    """What a thread chose itself it has in the clone, on its own processors too; the others may run on all."""
    a = forks.program("""
every = os.sched_getaffinity(0); tid = []
def other():
    os.sched_setaffinity(0, {max(every)}); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    tid.append(threading.get_native_id())
    while True: time.sleep(1)
threading.Thread(target=other, daemon=True).start()
while not tid: time.sleep(0.001)
""")
    look = "[sorted(os.sched_getaffinity(t)) + [os.sched_getscheduler(t)] for t in (0, tid[0])]"
    every = sorted(os.sched_getaffinity(0))
    assert forks.ask(a, look) == [[*every, os.SCHED_OTHER], [max(every), os.SCHED_IDLE]]
    b, = forks.fork(a)
    assert forks.ask_all([a, b, *forks.fork(b)], look) == [[[*every, os.SCHED_OTHER], [max(every), os.SCHED_IDLE]]] * 3


def test_images_are_out_of_reach(forks):
    """No descriptor leads to the image, and no mapping of it can be written through."""
    a = forks.program("big = bytearray(b'x' * (4 << 20)); box = (ctypes.c_char * len(big)).from_buffer(big)\nstart = ctypes.addressof(box)")
    b, c = forks.fork(a, "-n", "2")
    assert [t for t in forks.ask(b, "[os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd') "
                                    "if os.path.lexists('/proc/self/fd/' + f)]") if "memfd" in t or "cleave" in t] == []
    assert forks.ask(b, "[ctypes.memset(start, 89, 1 << 20) and 0, ctypes.string_at(start, 3).decode()]") == [0, "YYY"]
    poke = "[(f := open('/proc/self/mem', 'r+b', 0)).seek(start + (2 << 20)) and 0, f.write(b'Z' * 8192), f.close()]"
    forks.ask(b, poke)
    forks.ask(b, r"exec('def attempt(n):\n try: return open(\'/proc/self/map_files/\' + n, \'r+b\', 0).write(b\'!\')\n "
                 r"except OSError as e: return e.errno\n', globals())")
    written = forks.ask(b, "[attempt('%x-%x' % (int(l.split('-')[0], 16), int(l.split('-')[1].split()[0], 16))) "
                           "for l in open('/proc/self/maps') if 'memfd' in l]")
    assert [w for w in written if w not in (1, 2, 13)] == [], "an errno each"
    for name in (a, c):
        assert forks.ask(name, "[big.count(b'x'), ctypes.string_at(start, 3).decode()]") == [4 << 20, "xxx"]
    d, = forks.fork(a)
    assert forks.ask(d, "big.count(b'x')") == 4 << 20


def test_memory_is_apart(forks):
    a = forks.program("big = bytearray(b'0' * (2 << 20))")
    names = [a, *forks.fork(a, "-n", "3")]
    for i, name in enumerate(names):
        forks.ask(name, f"[big.__setitem__(slice(0, None, 4096), b'{i + 1}' * len(big[::4096])), 0][1]")
    for i, name in enumerate(names):
        assert forks.ask(name, "[big[0], big.count(big[0]), big.count(b'0')]") == [ord(str(i + 1)), 512, (2 << 20) - 512]


def test_nothing_of_a_sibling_is_in_reach(forks):
    a = forks.program("""
hits = []
signal.signal(signal.SIGUSR1, lambda s, f: hits.append(s))
f = open('/tmp/lock', 'w+')
libc = ctypes.CDLL(None, use_errno=True)
""")
    b, c = forks.fork(a, "-n", "2")
    # the same pids, each in its own room
    assert forks.ask_all([a, b, c], "sorted(p for p in os.listdir('/proc') if p.isdigit())") == [["1", "2"]] * 3
    forks.ask(b, "[os.kill(2, 10), time.sleep(0.05)]")
    assert forks.ask_all([a, b, c], "hits") == [[], [10], []]
    assert "Error" in forks.ask(b, "os.kill(-1, 10) or os.kill(3, 10)")
    assert forks.ask_all([a, c], "hits") == [[], []]
    # abstract sockets
    listen = "exec('s = socket.socket(socket.AF_UNIX); s.bind(\"\\\\0here\"); s.listen()', globals())"
    forks.ask(a, listen)
    for name in (b, c):
        assert "ConnectionRefused" in forks.ask(name, "socket.socket(socket.AF_UNIX).connect('\\0here')")
        forks.ask(name, listen)
    # the loopback
    forks.ask(a, "exec('t = socket.socket(); t.bind((\"127.0.0.1\", 4000)); t.listen()', globals())")
    assert "ConnectionRefused" in forks.ask(b, "socket.create_connection(('127.0.0.1', 4000))")
    # locks
    for name in (a, b, c):
        assert forks.ask(name, "[fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB), fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)]") == [None, None]
    # System V objects
    for name in (a, b, c):
        assert forks.ask(name, "libc.msgget(77, 0o3600)") >= 0, name  # IPC_CREAT | IPC_EXCL
    # names of what the others are
    for pid in forks.tasks(a) + forks.tasks(c) + [forks.keeper(b), forks.keeper(a)]:
        if pid > 2:
            assert forks.ask(b, f"os.path.exists('/proc/{pid}')") is False


def test_identity(forks):
    a = forks.program("")
    one = "[socket.gethostname(), open('/etc/hostname').read() if os.path.exists('/etc/hostname') else '', " \
          "open('/etc/machine-id').read(), open('/run/cleave/generation').read()]"
    names = [a, *forks.fork(a, "-n", "3")]
    rows = forks.ask_all(names, one)
    assert [r[0] for r in rows] == names
    assert len({r[2] for r in rows}) == 4 and all(re.fullmatch(r"[0-9a-f]{32}\n", r[2]) for r in rows)
    assert [r[3].split()[0] for r in rows] == ["0", "1", "1", "1"]
    assert len({r[3].split()[1] for r in rows}) == 4
    assert "Error" in forks.ask(names[1], "open('/run/cleave/generation', 'w')")


def test_randomness_that_differs_by_itself(forks):
    """What asks the kernel. WIPEONFORK memory is zero in a clone, so what keeps its state there begins anew."""
    a = forks.program("""
import uuid
m = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.madvise(18); m[:4] = b'seed'
fd = os.open('/dev/urandom', os.O_RDONLY); secrets.token_hex(8); os.getrandom(8); uuid.uuid4()
system = random.SystemRandom(); system.random(); libc = ctypes.CDLL(None)
""")
    answer = forks.fork_json(a, "-n", "4")
    clones = [c["name"] for c in answer["clones"]]
    assert [line for line in answer["recreated"] if line.startswith("mem-wipe: 8192 bytes at ") and "process 2" in line]
    draw = "[os.getrandom(16).hex(), secrets.token_hex(16), os.urandom(16).hex(), os.read(fd, 16).hex(), uuid.uuid4(), system.random(), " \
           "open('/proc/sys/kernel/random/uuid').read()]"
    drawn = forks.ask_all([a, *clones], draw)
    for column in zip(*drawn):
        assert len(set(column)) == 5, column
    assert forks.ask_all([a, *clones], "bytes(m[:4]).hex()") == [b"seed".hex(), *["00000000"] * 4]


def test_randomness_that_does_not(forks):
    """Generators in user space go on where they stood: twins draw the same. A program must mix something in after a fork;
    /run/cleave/generation tells it that there was one."""
    a = forks.program("import ssl\nrandom.random(); ssl.RAND_bytes(8)")
    clones = forks.fork(a, "-n", "3")
    assert len(set(forks.ask_all(clones, "random.random()"))) == 1
    reseed = "[random.seed(os.urandom(16) + open('/run/cleave/generation', 'rb').read()), random.random()][1]"
    assert len(set(forks.ask_all(clones, reseed))) == 3
    same = set(forks.ask_all(clones, "ssl.RAND_bytes(16).hex()"))
    assert len(same) == 1, "OpenSSL notices clones by now: say so in THREATS.md"


def test_numpy_does_not_either(forks):
    a = forks.program("import numpy\nnumpy.random.seed(5); rng = numpy.random.default_rng(); rng.random()")
    clones = forks.fork(a, "-n", "3")
    assert len(set(forks.ask_all(clones, "[float(numpy.random.random()), float(rng.random())][1]"))) == 1
    assert len(set(forks.ask_all(clones, "float(numpy.random.default_rng().random())"))) == 3


NODE = """
const crypto = require('crypto'), fs = require('fs'), { Worker } = require('worker_threads')
const worker = code => new Promise(told => new Worker(
    `require('worker_threads').parentPort.postMessage(${code})`, {eval: true}).on('message', told))
Math.random(); crypto.randomBytes(8); crypto.randomUUID()
require('readline').createInterface({input: process.stdin}).on('line', async line => console.log(JSON.stringify(await eval(line))))
"""


def test_node_does_not_either(forks):
    """All that node draws in its process, keys and a new worker's numbers included; it has no call that seeds anything anew."""
    script = forks.box.file(NODE, "draw.js")
    a = forks.start("-i", "--file", f"{script}:/home/user/draw.js", command=["node", "/home/user/draw.js"])
    assert forks.ask(a, "1 + 1") == 2
    clones = forks.fork(a, "-n", "3")
    for draw in ("Math.random()", "crypto.randomBytes(16).toString('hex')", "crypto.randomUUID()", "crypto.getRandomValues(new Uint8Array(16))",
                 "crypto.generateKeyPairSync('ed25519').privateKey.export({format: 'jwk'}).d", "worker('[Math.random(), require(\"crypto\").randomUUID()]')"):
        assert len({str(drawn) for drawn in forks.ask_all(clones, draw)}) == 1, f"{draw} differs by now: say so in THREATS.md"
    for draw in ("fs.readSync(fs.openSync('/dev/urandom'), state = Buffer.alloc(16)) && state.toString('hex')",
                 "require('child_process').execFileSync('node', ['-p', 'Math.random() + crypto.randomUUID()']).toString()"):
        assert len(set(forks.ask_all(clones, draw))) == 3, draw


def test_a_second_user_can_not_fork(forks):
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    a = forks.program()
    done = subprocess.run(["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups", *forks.box.argv("fork", a)[len(forks.box.prefix):]],
                          env=forks.box.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and done.stdout == "", done
    assert forks.names("-a") == [a]
