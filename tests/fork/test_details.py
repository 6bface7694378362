# SPDX-License-Identifier: Apache-2.0
"""State that is easily overlooked, by fork-driver: carried, or refused by process, object and reason."""
import re

import pytest
from test_engine import drive  # noqa: F401

REFUSED = {
    "empty datagram": ("a, b = socket.socketpair(type=socket.SOCK_DGRAM); a.send(b'1'); a.send(b''); a.send(b'3')", "empty message"),
    "empty packet": ("a, b = socket.socketpair(type=socket.SOCK_SEQPACKET); a.send(b''); a.send(b'3')", "empty message"),
    "empty packet at the end": ("a, b = socket.socketpair(type=socket.SOCK_SEQPACKET); a.send(b''); a.shutdown(1)", "empty message"),
    "empty packet, then other": ("a, b = socket.socketpair(type=socket.SOCK_SEQPACKET); a.send(b'1'); a.send(b''); a.send(b'3'); a.shutdown(1)", "empty message"),
    "a connection that was reset": ("a, b = socket.socketpair(); b.send(b'request'); a.send(b'reply'); a.close()", "an error under way"),
    "a receive timeout": ("a, b = socket.socketpair(); a.setsockopt(1, socket.SO_RCVTIMEO, struct.pack('2q', 9, 0))", "SO_RCVTIMEO"),
    "a send timeout": ("a, b = socket.socketpair(); b.setsockopt(1, socket.SO_SNDTIMEO, struct.pack('2q', 0, 5))", "SO_SNDTIMEO"),
    "a low water mark": ("a, b = socket.socketpair(); b.setsockopt(1, socket.SO_RCVLOWAT, 7)", "SO_RCVLOWAT"),
    "system calls of its own": ("""
l = ctypes.CDLL(None); on = (ctypes.c_char * 1)(1); vdso = int([x for x in open('/proc/self/maps') if '[vdso]' in x][0].split('-')[0], 16)
assert l.prctl(59, 1, ctypes.c_long(4096), ctypes.c_long(vdso - 4096), on) == 0""", "process 2: thread 2 dispatches"),
    "a protection key": ("""
libc = ctypes.CDLL(None); m = mmap.mmap(-1, 4096); key = libc.pkey_alloc(0, 0)
assert key < 0 or libc.pkey_mprotect(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))), 4096, 3, key) == 0""", "has a protection key"),
    "a writer before the seal": ("""
f = os.memfd_create('own', os.MFD_ALLOW_SEALING); os.truncate(f, 4096); m = mmap.mmap(f, 4096); fcntl.fcntl(f, 1033, 16)""", "F_SEAL_FUTURE_WRITE"),
    "a child that ends with another signal": ("""
libc = ctypes.CDLL(None); signal.signal(10, lambda s, f: None); child = libc.syscall(56, 10, 0, 0, 0, 0)
while not child: time.sleep(1)
""", "process 3 tells its parent of its end by signal 10"),
    "a child that ends without a signal": ("""
libc = ctypes.CDLL(None); child = libc.syscall(56, 0, 0, 0, 0, 0)
while not child: time.sleep(1)
""", "process 3 tells its parent of its end by signal 0"),
    "a lock of another holder": ("""
f = open(__file__); r, w = os.pipe()
if os.fork() == 0:
    fcntl.lockf(f, fcntl.LOCK_SH); os.write(w, b'x')
    while True: time.sleep(1)
os.read(r, 1)""", "process 3: descriptor 3 (/"),
}

# membarrier(2): GET_REGISTRATIONS, PRIVATE_EXPEDITED, then SYNC_CORE and RSEQ of it
MEMBARRIER = "[libc.syscall(324, c, 0, 0) for c in (512, 8, 32, 128)]"
CARRIED = {
    "output that does not wait": ("os.set_blocking(1, False)", "[os.get_blocking(0), not os.get_blocking(1)]"),
    "execute only": ("""
libc = ctypes.CDLL(None); m = mmap.mmap(-1, 8192); at = ctypes.addressof(ctypes.c_char.from_buffer(m)); m[:1] = b'\\xc3'
assert libc.mprotect(ctypes.c_void_p(at), 4096, 4) == 0; call = ctypes.CFUNCTYPE(None)(at)
""", "[call(), [x.split()[1] for x in open('/proc/self/maps') if x.startswith('%x-' % at)]]"),
    "membarrier": ("libc = ctypes.CDLL(None); [libc.syscall(324, c, 0, 0) for c in (4, 16, 64, 256)]\n"
                   "threading.Thread(target=time.sleep, args=(9999,), daemon=True).start()", MEMBARRIER),
    "membarrier of one kind": ("libc = ctypes.CDLL(None); libc.syscall(324, 64, 0, 0)", MEMBARRIER),
    "a full queue": ("""
pairs = [socket.socketpair() for _ in 'ac']; SND = socket.SOL_SOCKET, socket.SO_SNDBUF
for a, b in pairs: a.setsockopt(*SND, 300000); a.setblocking(False)
size = pairs[0][0].getsockopt(*SND) * 2 // 3; sent = [a.send(b'f' * size) for a, b in pairs]; pairs[1][0].close()
def count(s):
    n = 0
    while n < size:
        got = len(s.recv(size)); n += got
        if not got: break
    return n == size
""", "state.setdefault('all', [sent == [size, size], pairs[0][0].getsockopt(*SND) > size, count(pairs[0][1]), count(pairs[1][1])])"),
    "periodic timers": ("""
l = ctypes.CDLL(None); t, u = (l.timerfd_create(1, 0) for _ in 'tu')
l.timerfd_settime(t, 0, struct.pack('4q', 0, 1000000, 0, 1000000), None); l.timerfd_settime(u, 0, struct.pack('4q', 5, 0, 0, 0), None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while not select.select([t], [], [], 0)[0] or not signal.sigpending(): time.sleep(0.001)
def left():
    b = ctypes.create_string_buffer(32); l.timerfd_gettime(u, b); return struct.unpack('4q', b.raw)
""", "[select.select([t], [], [], 20)[0] == [t] and struct.unpack('q', os.read(t, 8))[0] > 0 for _ in 'abc'] + "
     "[signal.sigtimedwait([signal.SIGALRM], 20) is not None for _ in 'abc'] + [left()[2:] == (0, 0)]"),
    "messages": ("""
pairs = [socket.socketpair(type=t) for t in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)]
texts = [b'm' * n for n in (1, 128, 129, 4096, 5000, 17000, 66000, 1)]
for a, b in pairs: [a.send(x) for x in texts]; b.send(b'back')
pairs[1][0].shutdown(socket.SHUT_WR)
""", "state.setdefault('all', [[[b.recv(70000) == x for x in texts], a.recv(9).decode()] for a, b in pairs] + [len(pairs[1][1].recv(9))])"),
}


@pytest.mark.parametrize("case", CARRIED)
def test_carried(drive, case):  # noqa: F811
    setup, check = CARRIED[case]
    d = drive.python(setup)
    d.capture()
    n = d.fork()
    clone = d.ask(n, check)
    assert d.ask("source", check) == clone
    assert "Error" not in clone and "false" not in clone, clone


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(drive, case):  # noqa: F811
    """Twice: what the first capture looked at must look the same to the second one."""
    setup, word = REFUSED[case]
    d = drive.python(setup + "\nstate['n'] = 0")
    if d.ask("source", "globals().get('key', 0)") == "-1":
        pytest.skip("no protection keys here")
    for n in (1, 2):
        answer = d.say("capture source")
        assert answer.startswith("error unforkable "), answer
        assert word in answer and re.search(r"process \d+", answer), answer
        assert d.ask("source", "state.update(n=state['n'] + 1), state['n']") == f"[null, {n}]"


def test_not_dumpable(drive, box):  # noqa: F811
    """Carried where root captures; an ordinary user can't read what /proc says of such a process."""
    d = drive.python("""
libc = ctypes.CDLL(None); r, w = os.pipe()
if not os.fork():
    libc.prctl(4, 0, 0, 0, 0); signal.pthread_sigmask(0, [10]); os.write(w, b'x')
    while signal.sigwait([10]): os.write(w, b'%d' % libc.prctl(3, 0, 0, 0, 0))
os.read(r, 1)
""")
    check = "[libc.prctl(3, 0, 0, 0, 0), os.kill(3, 10), os.read(r, 1).decode()]"
    if box.is_user:
        answer = d.say("capture source")
        assert answer.startswith("error unforkable ") and "process 3 is not dumpable" in answer, answer
    else:
        d.capture()
        assert d.ask(d.fork(), check) == '[1, null, "0"]'
    assert d.ask("source", check) == '[1, null, "0"]'
