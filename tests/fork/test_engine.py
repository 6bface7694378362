# SPDX-License-Identifier: Apache-2.0
"""The fork engine alone, by fork-driver: what a clone carries, what is refused, what a failure leaves.

Every program answers each line of its stdin with one line. State is asserted in source and clone.
"""
import os
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD_DEV, PYTHON, SLOW, TOP, poll

DRIVER = Path(os.environ.get("FORK_DRIVER", BUILD_DEV.parent / "tests/fork/fork-driver"))

# Lines of the program are Python expressions; `state` is a place for what the set-up made.
PROGRAM = """
import ctypes, fcntl, json, mmap, os, resource, select, signal, socket, struct, sys, threading, time
state = {}
%s
print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = eval(line)
    except Exception as error:
        answer = repr(error)
    print(json.dumps(answer, default=str), flush=True)
"""


class Driver:
    def __init__(self, box, argv, env=None, options=(), fds=()):
        self.box = box
        self.popen = subprocess.Popen([*box.prefix, str(DRIVER), *options, *map(str, argv)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
                                      env=box.environment(env), pass_fds=fds)
        self.count = 0

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()
        answer = self.popen.stdout.readline().rstrip("\n")
        assert answer, f"the driver died at {line!r}"
        return answer

    def ask(self, who, text):
        return self.say(f"ask {who} {text}")

    def capture(self, who="source"):
        answer = self.say(f"capture {who}")
        assert answer.startswith("captured "), answer
        return {k: int(v) for k, v in re.findall(r"(\S+)=(\d+)", answer)}

    def fork(self):
        answer = self.say("fork")
        assert answer.startswith("clone "), answer
        self.count = int(answer.split()[1])
        return self.count

    def end(self):
        self.popen.stdin.close()
        self.popen.wait(30 * SLOW)
        self.popen.stdout.close()


@pytest.fixture
def drive(box):
    drivers = []

    def make(*argv, env=None, options=("--filter",), fds=()):
        driver = Driver(box, argv, env, options, fds)
        drivers.append(driver)
        return driver

    def python(setup="", env=None, options=("--filter",), fds=()):
        driver = make(PYTHON, "-u", box.file(PROGRAM % setup, "program.py"), env=env, options=options, fds=fds)
        assert driver.say("read source") == "ready"
        return driver

    make.python = python
    yield make
    for driver in drivers:
        driver.end()


def test_memory_goes_on_apart(drive):
    d = drive.python("state['n'] = 0\nstate['big'] = bytearray(b'x') * 3000000")
    step = "state.update(n=state['n'] + 1), state['big'].count(b'x'), state['n'], os.getpid()"
    assert d.ask("source", step) == '[null, 3000000, 1, 2]'
    d.capture()
    clones = [d.fork() for _ in range(3)]
    d.ask("source", "state.update(n=50, big=b'y')")
    for n in clones:
        assert d.ask(n, step) == '[null, 3000000, 2, 2]'
    d.ask(clones[0], "state.update(n=70)")
    assert d.ask(clones[1], "state['n']") == "2"
    assert d.ask("source", "state['n'], state['big']") == '[50, "b\'y\'"]'


def test_fork_of_fork_of_fork(drive):
    d = drive.python("state['path'] = []")
    maps = []
    who = "source"
    for generation in range(5):
        d.ask(who, f"state['path'].append({generation})")
        figures = d.capture(who)
        maps.append(figures["maps"])
        who = d.fork()
    assert d.ask(who, "state['path']") == "[0, 1, 2, 3, 4]"
    assert d.ask("source", "state['path']") == "[0]"
    # Each generation is captured as if it were the first.
    assert maps[4] <= maps[2] + 8


def test_threads(drive):
    d = drive.python("""
counts = [0] * 8
def work(i):
    while True:
        counts[i] += 1
        time.sleep(0.005)
for i in range(8):
    threading.Thread(target=work, args=(i,), daemon=True, name="w%d" % i).start()
def moved():
    before = list(counts); deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(b > a for a, b in zip(before, counts)): time.sleep(0.01)
    return sum(b > a for a, b in zip(before, counts)), threading.active_count(), sorted(map(int, os.listdir("/proc/self/task")))
""")
    tasks = d.ask("source", "moved()")
    assert tasks.startswith("[8, 9, [2,")
    d.capture()
    assert d.ask(d.fork(), "moved()") == tasks
    assert d.ask("source", "moved()") == tasks


def test_tree_waits_and_pipes(drive, box):
    inner = box.file(PROGRAM % "", "inner.py")
    script = box.file(f"x=7\n{PYTHON} -u {inner}\necho \"$$ $x $?\"\nexit 5\n", "tree.sh")
    d = drive("/bin/bash", script)
    assert d.say("read source") == "ready"
    ids = "os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)"
    assert d.ask("source", ids) == "[3, 2, 2, 2]"
    d.capture()
    n = d.fork()
    assert d.ask(n, ids) == "[3, 2, 2, 2]"
    for who in (n, "source"):
        d.say(f"eof {who}")
        assert d.say(f"read {who}") == "2 7 0"
        assert d.say(f"wait {who}") == "exit 5"


CARRIED = {
    "signals": ("""
hits = []
signal.signal(signal.SIGUSR1, lambda s, f: hits.append(s))
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGTRAP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
""", "[hits.clear(), os.kill(os.getpid(), 10), time.sleep(0.01), list(hits), "
     "open('/proc/self/status').read().split('SigIgn:\\t')[1][:16], "
     "open('/proc/self/status').read().split('SigBlk:\\t')[1][:16]]"),
    "pending traps": ("""
hits, turn, other = [], threading.Semaphore(0), []
signal.signal(signal.SIGTRAP, lambda s, f: hits.append(s))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTRAP])
libc = ctypes.CDLL(None); room = ctypes.create_string_buffer(65536); up = threading.Event()
def work():
    libc.sigaltstack(struct.pack('QiiQ', ctypes.addressof(room), 0, 0, 65536), None)
    signal.pthread_kill(threading.get_ident(), signal.SIGTRAP); other.append(threading.get_native_id()); up.set()
    while True:
        turn.acquire(); old = ctypes.create_string_buffer(24); libc.sigaltstack(None, old)
        other.append([sorted(signal.sigpending()), struct.unpack('QiiQ', old.raw)[0] == ctypes.addressof(room)])
t = threading.Thread(target=work, daemon=True); t.start(); up.wait()
""", "[turn.release(), [time.sleep(0.01) for _ in range(1000) if len(other) < 2][:0], other.pop(), sorted(signal.sigpending())]"),
    "pending": ("""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN])
os.kill(os.getpid(), signal.SIGUSR1)
""", "sorted(signal.sigpending())"),
    "itimer": ("signal.signal(signal.SIGALRM, lambda s, f: None)\nsignal.setitimer(signal.ITIMER_REAL, 1000, 7)",
               "[signal.getitimer(signal.ITIMER_REAL)[0] > 900, signal.getitimer(signal.ITIMER_REAL)[1]]"),
    "umask-cwd": ("os.umask(0o27)\nos.chdir('/usr/share')", "[os.getcwd(), os.umask(0o27), os.readlink('/proc/self/exe')]"),
    "pipe": ("""
r, w = os.pipe()
os.write(w, b'unread' * 10000)
fcntl.fcntl(w, fcntl.F_SETFL, os.O_NONBLOCK)
""", "[len(os.read(r, 60000)), os.write(w, b'unread' * 10000), os.get_blocking(w), os.get_inheritable(r)]"),
    "packet-mode": ("""
r, w = os.pipe2(os.O_DIRECT | os.O_NONBLOCK); os.write(w, b'one'); os.read(r, 9)
""", "[os.write(w, b'one'), os.write(w, b'two'), os.read(r, 2).decode(), os.read(r, 9).decode()]"),
    "file": ("""
f = os.open('/usr/bin/python3', os.O_RDONLY); os.lseek(f, 1000, 0); g = os.dup(f); os.set_inheritable(g, True)
d = os.open('/usr', os.O_RDONLY | os.O_DIRECTORY); p = os.open('/usr', os.O_PATH)
""", "[os.lseek(f, 0, 1), os.lseek(g, 5, 1), os.lseek(f, -5, 1), os.get_inheritable(g), len(os.read(f, 8)), os.lseek(f, 1000, 0), "
     "'bin' in os.listdir(d), os.readlink('/proc/self/fd/%d' % p)]"),
    "devices": ("n, z, f, r, u = (os.open('/dev/' + name, os.O_RDONLY) for name in ('null', 'zero', 'full', 'random', 'urandom'))",
                "[len(os.read(n, 4)), os.read(z, 4).hex(), os.read(f, 4).hex(), len(os.read(r, 16)), len(os.read(u, 16))]"),
    "eventfd": ("e = os.eventfd(5, os.EFD_NONBLOCK)", "[os.eventfd_read(e), os.eventfd_write(e, 5)]"),
    "epoll": ("""
p = select.epoll(); r, w = os.pipe(); r2, w2 = os.pipe()
p.register(r, select.EPOLLIN); p.register(w2, select.EPOLLOUT | select.EPOLLONESHOT); p.poll(0); os.write(w, b'x')
""", "[p.poll(0), p.poll(0), os.read(r, 1).decode(), p.poll(0), p.modify(w2, select.EPOLLOUT | select.EPOLLONESHOT), p.poll(0), os.write(w, b'x')]"),
    "timerfd": ("""
l = ctypes.CDLL(None); t = l.timerfd_create(1, os.O_NONBLOCK); u = l.timerfd_create(1, os.O_NONBLOCK)
one = struct.pack('4q', 1000, 0, 1000, 0); l.timerfd_settime(t, 0, one, None)
l.timerfd_settime(u, 0, struct.pack('4q', 0, 0, 0, 1000), None); time.sleep(0.05)
def left():
    b = ctypes.create_string_buffer(32); l.timerfd_gettime(t, b); v = struct.unpack('4q', b.raw); return v[0], v[2] > 900
""", "[left(), state.setdefault('ticks', struct.unpack('q', os.read(u, 8)) if 'ticks' not in state else 0)]"),
    "signalfd": ("""
l = ctypes.CDLL(None); m = struct.pack('Q', 1 << 9); signal.pthread_sigmask(0, [10]); s = l.signalfd(-1, m, os.O_NONBLOCK); os.kill(os.getpid(), 10)
""", "[struct.unpack('I', os.read(s, 128)[:4]), os.kill(os.getpid(), 10)]"),
    "socketpair": ("""
a, b = socket.socketpair(); a.send(b'one'); a.send(b'two'); b.send(b'back'); a.setblocking(False)
c, d = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); c.send(b'one'); c.send(b'two')
e, f = socket.socketpair(); e.send(b'last words'); e.close()
g, h = socket.socketpair(); g.shutdown(socket.SHUT_WR)
""", "state.setdefault('all', [b.recv(6).decode(), a.recv(9).decode(), d.recv(9).decode(), d.recv(9).decode(), f.recv(99).decode(), f.recv(9).decode(), "
     "h.recv(1).decode(), h.send(b'x'), g.recv(1).decode(), a.gettimeout(), a.send(b'x'), b.recv(1).decode()])"),
    "asyncio": ("""
import asyncio
async def work(): await asyncio.sleep(0.01); return 7
loop = asyncio.new_event_loop(); loop.run_until_complete(work())
""", "[loop.run_until_complete(work()), loop.call_soon_threadsafe(print) and None]"),
    "shared memory": ("""
m = mmap.mmap(-1, 1 << 20); m[:5] = b'hello'; m[900000:900003] = b'end'
c = os.fork()
if not c:
    while True:
        time.sleep(0.002); m[10] = (m[10] + 1) % 200
""", "[bytes(m[:5]).decode(), bytes(m[900000:900003]).decode(), [time.sleep(0.01) for b in [m[10]] for _ in range(300) if m[10] == b][:0], os.getpid()]"),
    "memfd": ("""
f = os.memfd_create('own', os.MFD_ALLOW_SEALING); os.write(f, b'x' * 100000); g = os.dup(f); m = mmap.mmap(f, 8192)
fcntl.fcntl(f, 1033, 2); h = os.open('/proc/self/fd/%d' % f, os.O_RDONLY)
""", "[os.lseek(g, 0, 1), os.pread(h, 3, 99998).decode(), m.__setitem__(slice(0, 3), b'abc'), os.pread(f, 4, 0).decode(), "
     "fcntl.fcntl(f, 1034), os.readlink('/proc/self/fd/%d' % g), os.lseek(h, 0, 1)]"),
    "deleted file": ("""
import tempfile; f = tempfile.TemporaryFile(dir='/tmp'); f.write(b'y' * 5000); f.flush(); f.seek(7)
""", "[f.tell(), len(f.read()), f.seek(7), os.fstat(f.fileno()).st_size]"),
    "semaphores": ("""
import multiprocessing as mp
mp.set_start_method('fork'); q = mp.Queue(); lock = mp.Lock(); lock.acquire()
def echo(q, lock):
    while True:
        with lock: q.put(os.getpid())
        time.sleep(0.01)
p = mp.Process(target=echo, args=(q, lock), daemon=True); p.start()
""", "[lock.release() if not state.setdefault('free', False) else None, state.update(free=True), q.get(timeout=10), p.pid]"),
    "limits": ("resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
               "[resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)]"),
    "names": ("""
libc = ctypes.CDLL(None)
libc.prctl(15, b'renamed', 0, 0, 0); libc.prctl(29, 12345, 0, 0, 0); libc.prctl(36, 1, 0, 0, 0)
""", "[open('/proc/self/comm').read(), libc.prctl(30, 0, 0, 0, 0)]"),
    "zombies": ("""
chld = []
signal.signal(signal.SIGCHLD, lambda s, f: chld.append(s))
pids = [os.fork() for code in (7, 8)]
""".replace("pids = [os.fork() for code in (7, 8)]", """
pids = []
for code in (7, 8):
    pids.append(os.fork())
    if not pids[-1]: os.setpgid(0, 0); os.kill(os.getpid(), 9) if code == 8 else os._exit(code)
c = os.fork()
if not c:
    os.setpgid(0, pids[0])
    while True: time.sleep(1)
time.sleep(0.2); chld.clear()
"""), "[len(chld), os.getpgid(c) == pids[0], state.setdefault('waits', [os.waitpid(p, os.WNOHANG) for p in pids])]"),
    "memory flags": ("""
def area(advice):
    m = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m[:4] = b'keep'; m.madvise(advice)
    return m, ctypes.addressof(ctypes.c_char.from_buffer(m))
areas = {advice: area(advice) for advice in (10, 16, 18)}
def flags(at):
    return open('/proc/self/smaps').read().split('\\n%x-' % at)[1].split('VmFlags:')[1].split('\\n')[0].split()
""", "[[sorted({'dc', 'wf', 'dd'} & set(flags(at))) for m, at in areas.values()], bytes(areas[10][0][:4]).decode(), bytes(areas[16][0][:4]).decode()]"),
    "protections": ("""
libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
a = libc.mmap(None, 12288, 3, 0x22, -1, 0)
ctypes.memset(a, 65, 12288); libc.mprotect(a, 4096, 0); libc.mprotect(a + 8192, 4096, 1)
""", "[[l.split()[1] for l in open('/proc/self/maps') if int(l.split('-')[0], 16) in (a, a + 4096, a + 8192)], "
     "libc.mprotect(a, 4096, 1), ctypes.string_at(a, 2).decode(), libc.mprotect(a, 4096, 0), ctypes.string_at(a + 8192, 2).decode()]"),
}


@pytest.mark.parametrize("case", CARRIED)
def test_carried(drive, case):
    setup, check = CARRIED[case]
    d = drive.python(setup)
    d.capture()
    n = d.fork()
    clone = d.ask(n, check)
    assert d.ask("source", check) == clone
    assert "Error" not in clone, clone


FUTEX = """
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static pthread_mutex_t m;
static volatile int go, held;
static void *owner(void *a) { pthread_mutex_lock(&m); held = 1; while (!go) usleep(1000); return a; }
int main(void)
{
	pthread_mutexattr_t a;
	pthread_t t;
	char line[80];
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &a);
	pthread_create(&t, 0, owner, 0);
	while (!held) usleep(1000);
	puts("ready"); fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		go = 1;
		printf("join %d", pthread_join(t, 0));
		printf(" lock %d\\n", pthread_mutex_lock(&m)); fflush(stdout);
	}
	return 0;
}
"""


def test_what_the_kernel_does_when_a_thread_ends(drive, box):
    """It clears the thread's word, so that join returns, and walks its list: the lock's owner has died (130)."""
    source, program = box.file(FUTEX, "p.c"), box.directory() / "p"
    subprocess.run(["gcc", "-pthread", "-o", program, source], check=True)
    program.chmod(0o755)
    d = drive(program)
    assert d.say("read source") == "ready"
    d.capture()
    for who in (d.fork(), d.fork(), "source"):
        assert d.ask(who, "go") == "join 0 lock 130", who


def test_rseq_is_registered(drive):
    """Asking for it again answers EBUSY (16) in every thread; where it is lost, it would work."""
    d = drive.python("""
l = ctypes.CDLL(None, use_errno=True); l.pthread_self.restype = ctypes.c_ulong
offset = ctypes.c_long.in_dll(l, '__rseq_offset').value
def ask():
    r = l.syscall(334, ctypes.c_ulong(l.pthread_self() + offset), 32, 0, 0x53053053); return ctypes.get_errno() if r < 0 else 'lost'
seen, turn = [], threading.Semaphore(0)
def other():
    while True: turn.acquire(); seen.append(ask())
threading.Thread(target=other, daemon=True).start()
""")
    check = "[ask(), turn.release(), [time.sleep(0.01) for _ in range(500) if not seen][:0], seen.pop()]"
    assert d.ask("source", check) == "[16, null, [], 16]"
    d.capture()
    for who in (d.fork(), "source"):
        assert d.ask(who, check) == "[16, null, [], 16]", who


def test_sleep_and_wait_go_on(drive):
    """A system call that the capture interrupted ends as if nothing had happened."""
    d = drive.python("""
r, w = os.pipe()
out = []
def waits():
    poll = select.poll(); poll.register(r, select.POLLIN)
    out.append(poll.poll(60000))
def sleeps():
    start = time.monotonic(); time.sleep(1.5); out.append(round(time.monotonic() - start, 1) >= 1.5)
for f in (waits, sleeps): threading.Thread(target=f, daemon=True).start()
time.sleep(0.1)
""")
    d.capture()
    n = d.fork()
    for who in (n, "source"):
        check = "[os.write(w, b'x'), [time.sleep(0.02) for _ in range(200) if len(out) < 2][:0], sorted(map(str, out))]"
        assert d.ask(who, check) == '[1, [], ["True", "[(%d, 1)]"]]' % int(d.ask(who, "r"))


REFUSED = {
    "network socket": ("s = socket.socket()", "network socket"),
    "listening socket": ("s = socket.socket(socket.AF_UNIX); s.bind(b'\\0x%d' % os.getpid()); s.listen()", "listening"),
    "descriptors on their way": ("a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])", "on their way"),
    "inotify": ("l = ctypes.CDLL(None); f = l.inotify_init()", "inotify"),
    "pidfd": ("f = os.pidfd_open(os.getpid())", "pidfd"),
    "proc file": ("f = open('/proc/self/status')", "/proc/"),
    "fifo": ("import tempfile; n = tempfile.mktemp(); os.mkfifo(n); f = os.open(n, os.O_RDWR); os.unlink(n)", "named pipe"),
    "one-packet": ("r, w = os.pipe2(os.O_DIRECT); os.write(w, b'one'); os.close(w)", "packet mode"),
    "packets": ("r, w = os.pipe2(os.O_DIRECT); os.write(w, b'one'); os.write(w, b'two')", "packet mode"),
    "lock": ("f = open('/usr/bin/python3'); fcntl.flock(f, fcntl.LOCK_SH)", "holds a lock"),
    "stopped": ("""
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True: signal.pause()
os.kill(pid, signal.SIGSTOP); time.sleep(0.2)""", "job control"),
    "mlock": ("libc = ctypes.CDLL(None); b = ctypes.create_string_buffer(8192); assert libc.mlock(b, 4096) == 0", "locked"),
    "posix timer": ("""
libc = ctypes.CDLL(None, use_errno=True); t = ctypes.c_void_p(); assert libc.timer_create(1, None, ctypes.byref(t)) == 0""", "POSIX timers"),
    "orphan of a dead session": ("""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(1)
    os._exit(0)
os.wait(); time.sleep(0.1)""", "has exited"),
    "semaphores of nobody": ("""
if os.fork() == 0: os._exit(ctypes.CDLL(None).semget(7, 2, 0o1600) < 0)
assert os.wait()[1] == 0""", "1 sets of semaphores"),
    "queue of nobody": ("assert ctypes.CDLL(None).msgget(0, 0o1600) >= 0", "1 message queues"),
    "memory of nobody": ("assert ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0", "1 memory segments"),
    "async": ("r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)", "O_ASYNC"),
    "filter": ("""
libc = ctypes.CDLL(None); prog = (ctypes.c_ubyte * 8)(*struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
class F(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_void_p)]
if os.fork() == 0:
    libc.prctl(22, 2, ctypes.byref(F(1, ctypes.addressof(prog))), 0, 0)
    while True: time.sleep(1)
time.sleep(0.2)""", "seccomp filter"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(drive, case):
    setup, word = REFUSED[case]
    d = drive.python(setup + "\nstate['n'] = 41")
    assert d.ask("source", "state['n']") == "41"
    answer = d.say("capture source")
    assert answer.startswith("error unforkable "), answer
    assert word in answer and re.search(r"process (\d+)|thread \d+", answer), answer
    assert d.ask("source", "state.update(n=42), state['n']") == "[null, 42]"
    assert d.say("fork").startswith("error"), "nothing may be left to fork from"


# What the sandbox's filter never lets a workload make; the engine must refuse it by itself. Each line gives the
# descriptor or 0, or a negative errno where this kernel or user has none.
NEVER_CARRIED = {
    "io_uring": ("l.syscall(425, 4, ctypes.create_string_buffer(120))", "io_uring"),
    "aio": ("l.syscall(206, 8, ctypes.create_string_buffer(8))", "aio"),
    "userfaultfd": ("l.syscall(323, 1)", "userfaultfd"),
    "perf": ("l.syscall(298, struct.pack('IIQQQQQ', 1, 112, 0, 0, 0, 0, 0x61).ljust(112, b'\\0'), 0, -1, -1, 0)", "perf"),
    "bpf": ("l.syscall(321, 0, struct.pack('IIIII', 2, 4, 4, 1, 0).ljust(72, b'\\0'), 72)", "bpf"),
    "fanotify": ("l.syscall(300, 0x200, 0)", "fanotify"),
}


@pytest.mark.parametrize("case", NEVER_CARRIED)
def test_never_carried(drive, case):
    expression, word = NEVER_CARRIED[case]
    d = drive.python("l = ctypes.CDLL(None, use_errno=True)\nstate['n'] = 41")
    made = int(d.ask("source", f"(lambda r: r if r >= 0 else -ctypes.get_errno())({expression})"))
    if made < 0:
        pytest.skip(f"errno {-made} here")
    answer = d.say("capture source")
    assert answer.startswith("error unforkable ") and "process 2" in answer and word in answer.lower(), answer
    assert d.ask("source", "state['n']") == "41"


C_SOURCES = {
    "vfork": ("#include <unistd.h>\n#include <stdio.h>\nint main(void) { puts(\"ready\"); fflush(stdout); if (vfork() == 0) { pause(); _exit(0); } "
              "pause(); }", [], "does not stop"),
    "m32": ("void _start(void) { __asm__ volatile(\"mov $4, %eax; mov $1, %ebx; mov $m, %ecx; mov $6, %edx; int $0x80; 1: mov $29, %eax; int $0x80; jmp 1b; "
            ".data; m: .ascii \\\"ready\\\\n\\\"; .text\"); }", ["-m32", "-nostdlib", "-static", "-no-pie", "-fno-pie"], "32-bit"),
}


@pytest.mark.parametrize("case", C_SOURCES)
def test_programs_that_are_never_carried(drive, box, case):
    """The program is the child of one that answers, before and after."""
    text, options, word = C_SOURCES[case]
    source, program = box.file(text, "p.c"), box.directory() / "p"
    if subprocess.run(["gcc", *options, "-o", program, source], capture_output=True).returncode:
        pytest.skip("this compiler can't make such a program")
    program.chmod(0o755)
    d = drive.python(f"""
import subprocess
state['n'] = 41
try:
    p = subprocess.Popen([{str(program)!r}], stdout=subprocess.PIPE); said = p.stdout.readline().decode()
except OSError as error:
    said = repr(error)
""")
    if d.ask("source", "said") != '"ready\\n"':
        pytest.skip("this kernel can't run such a program")
    for n in (41, 42):
        assert d.ask("source", "state['n'], p.poll()") == f"[{n}, null]"
        answer = d.say("capture source")
        assert answer.startswith("error unforkable ") and re.search(r"process [34]\b", answer) and word in answer, answer
        assert d.ask("source", "state.update(n=state['n'] + 1), state['n'], p.poll()") == f"[null, {n + 1}, null]"
    assert d.ask("source", "p.kill(), p.wait()") == "[null, -9]" or case == "vfork"


# What a graphics card's program has open. No driver is asked: the number decides, as it would with one.
DEVICES = {
    "nvidia": (os.makedev(195, 0), os.O_PATH),
    "a render node": (os.makedev(226, 128), os.O_PATH),
    "one with a driver": ("/dev/fuse", os.O_RDWR),
    "mapped": ("/dev/loop0", os.O_RDONLY),
}


@pytest.mark.parametrize("case", DEVICES)
def test_a_device_is_never_carried(drive, box, case):
    """A sandbox has none of them in its /dev; a descriptor or mapping that came from elsewhere refuses the fork all the same."""
    what, flags = DEVICES[case]
    path = what
    try:
        if not isinstance(what, str):
            path = str(box.directory("dev") / "card0")
            os.mknod(path, stat.S_IFCHR | 0o666, what)
        fd = os.open(path, flags)
    except OSError as error:
        pytest.skip(f"{case}: {error}")
    try:
        os.set_inheritable(fd, True)
        setup = f"state['n'] = 41; fd = {fd}"
        if case == "mapped":
            setup += "; m = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ); os.dup2(0, fd, False); os.close(fd)"
        d = drive.python(setup, env={"DRIVER_FDS": "1"}, fds=[fd])
    finally:
        os.close(fd)
    for n in (41, 42):
        assert d.ask("source", f"state['n'], os.path.exists('/proc/self/fd/{fd}')") == f"[{n}, {str(case != 'mapped').lower()}]"
        answer = d.say("capture source")
        want = f"process 2 maps the device {path}" if case == "mapped" else f"process 2: descriptor {fd} is the device {path}"
        assert answer.startswith("error unforkable ") and want in answer, answer
        assert d.ask("source", "state.update(n=state['n'] + 1), state['n']") == f"[null, {n + 1}]"


def test_traced_is_never_carried(drive):
    d = drive.python("""
l = ctypes.CDLL(None, use_errno=True); state['n'] = 41
p = os.fork()
if not p:
    while True: time.sleep(0.01)
assert l.ptrace(0x4206, p, 0, 0) == 0
""")
    answer = d.say("capture source")
    assert answer.startswith("error unforkable ") and "process 3 is traced" in answer, answer
    assert d.ask("source", "l.ptrace(0x4207, p, 0, 0), os.waitpid(p, 0x40000000)[0] == p, l.ptrace(17, p, 0, 0)") == "[0, true, 0]"
    d.capture()
    assert d.ask(d.fork(), "state['n']") == "41"


def rows(table):
    return re.findall(r"^ROW\((\w+),", (TOP / table).read_text(), re.M)


@pytest.mark.parametrize("row", rows("src/fork/harvest.def"))
def test_capture_row_fails(drive, row):
    d = drive.python("threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()",
                     env={"CLEAVE_TEST_FAIL": f"capture.{row}:28"})
    answer = d.say("capture source")
    assert answer.startswith(f"error internal ENOSPC capture.{row}:"), answer
    assert d.ask("source", "1 + 1, threading.active_count()") == "[2, 2]"
    assert d.ask("source", "open('/proc/self/status').read().split('TracerPid:')[1].split()[0]") == '"0"'
    assert "rwxp" not in d.ask("source", "open('/proc/self/maps').read()")


# LEAVE comes after the gate: munmap and sigreturn, whose failure would be the task's own death.
@pytest.mark.parametrize("row", [r for r in rows("src/raw/restore.def") if r != "LEAVE"])
def test_restore_row_fails(drive, box, row):
    inner = box.file(PROGRAM % """
threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()
os.setpgid(0, 0); e = os.eventfd(1)""", "inner.py")
    d = drive("/bin/bash", box.file(f"{PYTHON} -u {inner}\necho end\n", "tree.sh"))
    assert d.say("read source") == "ready"
    d.capture()
    answer = d.say(f"fork restore.{row}:28")
    assert answer.startswith(f"error launch ENOSPC restore.{row}:"), answer
    assert d.ask("source", "1 + 1") == "2"
    assert d.ask(d.fork(), "1 + 1") == "2"


def test_confined_as_the_source(drive):
    d = drive.python()
    d.capture()
    n = d.fork()
    assert d.say(f"layers {n}") == d.say("layers source")
    assert d.say(f"layers {n}").endswith("wx=0")


def test_changed_file_is_noticed(drive, box):
    where = box.directory("lib")
    library = box.file(open("/usr/lib/x86_64-linux-gnu/libm.so.6", "rb").read(), "own.so", directory=where)
    if open(f"/proc/self/mounts").read().count(f" {box.dir} tmpfs") or os.statvfs(where).f_fsid == 0:
        pytest.skip("files of a tmpfs are carried, not compared")
    d = drive.python(f"l = ctypes.CDLL({str(library)!r})")
    d.capture()
    os.utime(library, (1, 1))
    assert "ESTALE restore.OPEN" in d.say("fork")
    assert d.ask("source", "1") == "1"


@pytest.fixture(params=["v1", "v2"])
def freezer(request, box):
    """A cgroup whose freezer works, of either version; root's alone here."""
    top = {"v1": "/sys/fs/cgroup/freezer", "v2": "/sys/fs/cgroup/unified"}[request.param]
    if request.param == "v2" and not os.path.isdir(top):
        top = "/sys/fs/cgroup"
    if box.is_user or not os.path.exists(f"{top}/cgroup.procs"):
        pytest.skip("no such hierarchy, or not ours")
    path = f"{top}/fork-driver-{os.getpid()}"
    os.mkdir(path)
    yield path
    poll(lambda: not open(f"{path}/cgroup.procs").read(), what="an empty cgroup")
    os.rmdir(path)


@pytest.mark.root_only
def test_freezer(box, freezer):
    """Frozen first, thawed while held, with threads that never wait; a paused source is paused again."""
    setup = """
counts = [0] * 8
def work(i):
    while True:
        counts[i] += 1
for i in range(2): threading.Thread(target=work, args=(i,), daemon=True).start()
for i in range(5):
    if os.fork() == 0:
        while True: time.sleep(0.001)
"""
    path = box.file(PROGRAM % setup, "program.py")
    d = Driver(box, ["--freezer", freezer, PYTHON, "-u", path], options=["--filter"])
    try:
        assert d.say("read source") == "ready"
        for i in range(6):
            assert d.capture()["processes"] == 6
            assert d.ask("source", "os.getpid()") == "2"
            assert d.ask(d.fork(), "os.getpid()") == "2"
            assert d.say(f"drop {d.count}") == "ok"  # it spins too, and nobody needs it
        assert d.say("freeze") == "ok"
        for i in range(6):
            assert d.capture()["processes"] == 6
            assert d.ask(d.fork(), "os.getpid()") == "2"
            assert d.say(f"drop {d.count}") == "ok"
        state = "freezer.state" if os.path.exists(f"{freezer}/freezer.state") else "cgroup.events"
        assert "FROZEN" in open(f"{freezer}/{state}").read() or "frozen 1" in open(f"{freezer}/{state}").read()
        assert d.say("thaw") == "ok"
        assert d.ask("source", "os.getpid()") == "2"
    finally:
        with open(f"{freezer}/" + ("freezer.state" if "freezer.state" in os.listdir(freezer) else "cgroup.freeze"), "w") as f:
            f.write("THAWED" if "freezer.state" in os.listdir(freezer) else "0")
        d.end()


NODE = """
let n = 0, ticks = 0
setInterval(() => ticks++, 5)
const worker = new (require('worker_threads').Worker)(
  "const {parentPort} = require('worker_threads'); let m = 0; parentPort.on('message', () => parentPort.postMessage(++m))", {eval: true})
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const before = ticks
  setTimeout(() => { worker.once('message', m => console.log(++n, m, ticks > before, line)); worker.postMessage(1) }, 30)
})
worker.once('online', () => console.log('ready'))
"""


def test_node(drive, box):
    """Timers, worker threads, an event loop on epoll: carried, or refused by name."""
    d = drive("/usr/bin/node", box.file(NODE, "loop.js"))
    assert d.say("read source") == "ready"
    assert d.ask("source", "a") == "1 1 true a"
    d.capture()
    for n in (d.fork(), d.fork()):
        assert d.ask(n, "b") == "2 2 true b"
        assert d.ask(n, "c") == "3 3 true c"
    assert d.ask("source", "d") == "2 2 true d"


def test_gcc_half_way(drive, box):
    """A build is captured at some moment of its life, between vforks; source and clones end alike."""
    source = box.file("".join(f"int f{i}(int x) {{ return x * {i} + (x >> {i % 7}); }}\n" for i in range(300)), "big.c")
    script = box.file(f"echo ready\nwhile read line; do echo started; gcc -O1 -pipe -S -o - {source} | md5sum; done\n", "build.sh")
    d = drive("/bin/bash", script)
    assert d.say("read source") == "ready"
    assert d.ask("source", "go") == "started"
    whole = d.say("read source")
    assert len(whole.split()[0]) == 32, whole
    captured = 0
    for i in range(6):
        # What the source has not read yet is the keeper's, not the clone's.
        assert d.ask("source", "go") == "started"
        time.sleep(0.02 * i)
        answer = d.say("capture source")
        if answer.startswith("captured"):
            captured += 1
            n = d.fork()
            assert d.say(f"read {n}") == whole
        else:
            assert answer.startswith("error unforkable"), answer
        assert d.say("read source") == whole
    assert captured


HOSTILE = {
    "forks and waits": "while True:\n    if os.fork() == 0: os._exit(0)\n    os.wait()",
    "forks and leaves orphans": "while True:\n    if os.fork() == 0:\n        if os.fork() == 0: time.sleep(0.003)\n        os._exit(0)\n    os.wait()",
    "vforks and executes": "import subprocess\nwhile True: subprocess.run(['/bin/true'])",
    "executes itself": "os.execv('/bin/bash', ['bash', '-c', 'exec /bin/bash -c \"$0\" \"$0\"', 'exec /bin/bash -c \"$0\" \"$0\"'])",
    "threads come and go": "while True:\n    t = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(5)]\n    [x.start() for x in t]; [x.join() for x in t]",
    "mappings come and go": "while True:\n    m = [mmap.mmap(-1, 4096 * 50, flags=0x22) for _ in range(50)]; m[3][:3] = b'abc'; del m",
    "signals flood": "signal.signal(10, lambda s, f: None)\np = os.getpid()\nif os.fork() == 0:\n    while True: os.kill(p, 10)\nwhile True: pass",
    "signals blocked": "signal.pthread_sigmask(0, range(1, 65))\nwhile True: pass",
    "descriptors": "f = [os.open('/dev/null', 0) for _ in range(900)]\nwhile True: os.close(os.open('/dev/null', 0))",
    "interval timer": "signal.signal(14, lambda s, f: None)\nsignal.setitimer(0, 0.0005, 0.0005)\nwhile True: time.sleep(0.1)",
    "pages change": "b = bytearray(8 << 20)\nwhile True:\n    for i in range(0, len(b), 4096): b[i] = (b[i] + 1) % 256",
    "job control": "c = os.fork()\nif c == 0:\n    while True: pass\nwhile True: os.kill(c, 19); os.kill(c, 18)",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_source(drive, case):
    """Captured or refused by name, again and again; the source answers, and so does what was forked."""
    body = "\n".join("    " + line for line in HOSTILE[case].splitlines())
    d = drive.python(f"if os.fork() == 0:\n{body}\n    os._exit(9)\ntime.sleep(0.05); state['n'] = 0")
    outcomes = []
    for i in range(12):
        answer = d.say("capture source")
        outcomes.append(answer.split(" capture.")[0])
        assert answer.startswith(("captured ", "error unforkable ")), answer
        assert d.ask("source", "state.update(n=state['n'] + 1), state['n']") == f"[null, {i + 1}]"
        if answer.startswith("captured"):
            n = d.fork()
            assert d.ask(n, "state['n']") == str(i), outcomes
            assert d.say(f"drop {n}") == "ok"
    print(*outcomes, sep="\n")


# What programs/hostile.c takes away, and what a refusal says; None: it can be captured all the same.
TAKEN_AWAY = {
    "no stack": None, "stack elsewhere": None, "stack in the vdso": None, "flags": None, "traps": None, "steps": None,
    "no vdso": "has unmapped its vdso", "damaged vdso": "has damaged its vdso", "nothing mapped": "has unmapped its vdso",
    "no memory": "ask process 3 for its state", "no exec gain": "ask process 3 for its state", "again first": None,
    "leader exits": "main thread", "many mappings": None,
}


@pytest.mark.parametrize("mode", TAKEN_AWAY)
def test_a_source_without_what_a_tracer_needs(drive, box, mode):
    """Captured or refused by name, again and again; it goes on as it was, and its parent answers in source and clone."""
    program = box.directory("program") / "hostile"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, TOP / "tests/fork/programs/hostile.c"], check=True)
    program.chmod(0o755)
    d = drive.python(f"""
import subprocess
state['n'] = 0; off = dict(GLIBC_TUNABLES="glibc.pthread.rseq=0")  # the kernel ends who unmaps what it writes to
p = subprocess.Popen([{str(program)!r}, {mode!r}], env=off, stdout=subprocess.PIPE); said = p.stdout.readline().decode()
""")
    if d.ask("source", "said") != '"ready\\n"':
        pytest.skip(f"{mode}: this kernel does not let it")
    step = "state.update(n=state['n'] + 1), state['n'], p.poll()"
    outcomes = []
    for i in range(6):
        answer = d.say("capture source")
        outcomes.append(answer.split(" capture.")[0])
        assert answer.startswith(("captured ", "error unforkable ")), answer
        assert d.ask("source", step) == f"[null, {i + 1}, null]", outcomes
        if answer.startswith("captured"):
            n = d.fork()
            assert d.ask(n, step) == f"[null, {i + 1}, null]", outcomes
            assert d.say(f"drop {n}") == "ok"
        elif TAKEN_AWAY[mode]:
            assert TAKEN_AWAY[mode] in answer and "process 3" in answer, answer
    captured = sum(o.startswith("captured") for o in outcomes)
    print(captured, *sorted(set(outcomes)), sep="\n")
    if mode != "again first":  # that one is met at any moment of its exec
        assert captured == (0 if TAKEN_AWAY[mode] else 6), outcomes
