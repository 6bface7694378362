# SPDX-License-Identifier: Apache-2.0
"""Attacks on the system call filter. Each test says by its number which attack it is."""
import re

import pytest
from conftest import PYTHON, TOP
from test_a_identity import ENOSYS, EPERM, calls

EPROTONOSUPPORT = 93
SIGSYS = 31


def numbers():
    """name -> number, as this machine's compiler knows them."""
    import subprocess
    text = subprocess.run(["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True, text=True,
                          check=True).stdout
    return {m[1]: int(m[2]) for m in re.finditer(r"#define __NR_(\w+) (\d+)", text)}


def rows(kind):
    return re.findall(rf"^{kind}\((\w+),", (TOP / "src/box/syscalls.def").read_text(), re.M)


def test_c31_other_tables(box):
    """The 32-bit call gate and the x32 table: killed, not judged by the wrong table."""
    for words in (["int80", "20"], ["int80", "11"], ["x32", "39"], ["x32", "59"], ["x32", "512"], ["x32", "520"]):
        done = box.run(*box.payload("probe", *words)).ok()
        assert done.out == f"signal {SIGSYS}\n", (words, done)


def test_c32_upper_halves_of_arguments(box):
    """CVE-2019-7303: the kernel looks at 32 bits, so must the filter. TIOCSTI, TIOCLINUX, TIOCSETD."""
    for request in (0x5412, 0x541c, 0x5423):
        plain, high, top = calls(box, f"16:0:{request}", f"16:0:{request | 1 << 32}", f"16:0:{request | 0xffffffff << 32}")
        assert (plain, high, top) == (-EPERM,) * 3, hex(request)
    assert calls(box, f"56:{0x10000000 | 1 << 32}", f"272:{1 << 32 | 0x10000000}") == [-EPERM] * 2
    assert calls(box, f"41:{38 | 1 << 32}:5:0", f"41:{17 | 1 << 40}:3:0") == [-EPERM] * 2


def test_c33_every_denied_call(box):
    """What the table denies, by name; with the arguments 0 that would be harmless."""
    known = numbers()
    denied = [(n, known[n]) for n in rows("DENY") + rows("PTRACE") + rows("NEST") if n in known]
    assert len(denied) > 50
    got = calls(box, *(str(nr) for _, nr in denied))
    assert [(n, v) for (n, _), v in zip(denied, got, strict=True) if v != -EPERM] == []


def test_c33_absent_calls(box):
    known = numbers()
    absent = [(n, known[n]) for n in rows("ABSENT") + rows("NEST_ABSENT") if n in known]
    assert {"clone3", "landlock_create_ruleset"} <= {n for n, _ in absent}
    got = calls(box, *(str(nr) for _, nr in absent))
    assert [(n, v) for (n, _), v in zip(absent, got, strict=True) if v != -ENOSYS] == []


def test_c34_socket_families(box):
    """UNIX, INET, INET6 and NETLINK(ROUTE); everything else is refused before the kernel loads a module."""
    assert all(v >= 0 for v in calls(box, "41:1:1:0", "41:1:2:0", "41:1:5:0", "41:2:1:0", "41:2:2:0", "41:10:1:0", "41:10:2:0", "41:16:3:0"))
    others = [f for f in range(0, 64) if f not in (1, 2, 10, 16)]
    got = calls(box, *(f"41:{f}:{k}:0" for f in others for k in (2, 3, 5)))
    assert set(got) == {-EPERM}
    # raw and packet sockets, other protocols, other netlink families
    assert all(v < 0 for v in calls(box, "41:2:3:1", "41:2:3:255", "41:10:3:58", "41:2:10:0", "41:17:3:0x300"))
    assert set(calls(box, *(f"41:16:3:{p}" for p in range(1, 24) if p != 9))) == {-EPERM}
    assert calls(box, "41:16:3:9") == [-EPROTONOSUPPORT]  # AUDIT, as on a kernel without it
    assert set(calls(box, "41:2:1:132", "41:2:1:262", "41:2:2:136", "41:2:6:33")) <= {-EPERM, -EPROTONOSUPPORT}


def test_c35_libc_falls_back_from_clone3(box):
    out = box.python("""if True:
        import json, subprocess, threading, os
        r = []
        t = [threading.Thread(target=r.append, args=(i,)) for i in range(20)]
        [x.start() for x in t]; [x.join() for x in t]
        print(json.dumps([len(r), subprocess.run(['true']).returncode, os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1])]))""")
    assert out == [20, 0, 0]


def test_c36_the_filter_can_not_be_taken_off(box):
    """A second filter that allows all, SECCOMP_MODE off, and no_new_privs off."""
    out = box.python("""if True:
        import ctypes, json
        l = ctypes.CDLL(None, use_errno=True)
        class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('f', ctypes.c_void_p)]
        code = (ctypes.c_uint64 * 1)(0x7fff000000000006)
        p = P(1, ctypes.addressof(code))
        r = [l.prctl(22, 0), l.syscall(317, 1, 0, ctypes.byref(p)), l.syscall(317, 1, 2, ctypes.byref(p))]
        ctypes.set_errno(0); r.append([l.unshare(0x10000000), ctypes.get_errno()])
        ctypes.set_errno(0); r.append([l.mount(0, 0, 0, 0, 0), ctypes.get_errno()])
        r.append([s.split()[1] for s in open('/proc/self/status') if s.startswith('Seccomp')])
        print(json.dumps(r))""")
    assert out[0] == -1
    assert out[3] == [-1, EPERM] and out[4] == [-1, EPERM]
    assert out[5][0] == "2"


def test_c37_numbers_that_nobody_knows(box):
    top = max(numbers().values())
    unknown = [n for n in range(480, 1100, 7) if n > top] + [2000, 65535, 0x3fffffff]
    assert set(calls(box, *map(str, unknown))) == {-ENOSYS}


def test_c37_numbers_with_the_sign(box):
    got = calls(box, "-1", "0xffffffff", str(1 << 32 | 165))
    assert all(v in (-ENOSYS, -EPERM) or str(v).startswith("signal") for v in got), got


@pytest.mark.parametrize("kind", ["personality", "prlimit-init", "priority-init", "kill-init"])
def test_c_init_is_not_tuned_by_the_workload(box, kind):
    """The one process inside that is not the workload's (in a user's sandbox of the same id)."""
    call = {"personality": "135:0x400000", "prlimit-init": "302:1:7:0:0", "priority-init": "141:0:1:19",
            "kill-init": "62:1:9"}[kind]
    got = calls(box, call)[0]
    if kind == "kill-init" and box.is_user:
        assert got in (0, -EPERM)  # the kernel drops it: PID 1 without a handler
        return
    assert got in (-EPERM, -13), got


def test_c_init_is_not_bound_to_another_processor(box):
    done = box.run(PYTHON, "-c", "import os\ntry: os.sched_setaffinity(1, {0}); print('bound')\nexcept PermissionError: print('refused')").ok()
    assert done.out == "refused\n"


def test_c38_ordinary_ipc_still_works(box):
    """UNIX sockets with descriptors, epoll, eventfd, timerfd, signalfd, memfd, pidfd, futexes."""
    out = box.python("""if True:
        import array, ctypes, json, os, select, signal, socket, threading
        a, b = socket.socketpair()
        socket.send_fds(a, [b'x'], [0]); n = len(socket.recv_fds(b, 1, 1)[1])
        e = select.epoll(); f = os.eventfd(1); e.register(f, select.EPOLLIN)
        m = os.memfd_create('x'); os.write(m, b'abc')
        l = ctypes.CDLL(None)
        t = l.timerfd_create(1, 0); s = l.signalfd(-1, ctypes.byref((ctypes.c_ulong * 16)()), 0)
        p = os.pidfd_open(os.getpid())
        signal.pidfd_send_signal(p, 0)
        c = threading.Condition(); got = []
        def w():
            with c: got.append(1); c.notify()
        with c: threading.Thread(target=w).start(); c.wait(5)
        print(json.dumps([n, len(e.poll(1)), os.fstat(m).st_size, t >= 0, s >= 0, p >= 0, got]))""")
    assert out == [1, 1, 3, True, True, True, [1]]
