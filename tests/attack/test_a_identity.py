# SPDX-License-Identifier: Apache-2.0
"""Attacks on identity and privilege. Each test says by its number which attack it is."""
import os
import shutil
import subprocess

import pytest
from conftest import PYTHON

EPERM, ENOSYS, ESRCH, ENOENT, EACCES, ENOSPC, EINVAL = 1, 38, 3, 2, 13, 28, 22
NEWUSER = 0x10000000


def calls(box, *specs, options=(), **more):
    """The answers of the kernel to calls given as NR:ARG:ARG..., made inside."""
    done = box.run(*options, *box.payload("probe", "call", *specs), **more).ok()
    return [int(line) if line.lstrip("-").isdigit() else line for line in done.out.splitlines()]


def test_a01_no_id_of_the_hosts_root_is_reachable(box):
    out = box.python("""if True:
        import ctypes, json, os
        got = []
        for call, *args in (('setuid', 0), ('setgid', 0), ('setreuid', 0, 0), ('setresuid', 0, 0, 0), ('setfsuid', 0),
                            ('setgroups', 1, 0), ('setuid', 65533), ('setresgid', 0, 0, 0), ('setregid', 5, 5)):
            ctypes.CDLL(None)[call](*args) if call != 'setgroups' else ctypes.CDLL(None).setgroups(1, (ctypes.c_uint * 1)(0))
            got.append([os.getresuid(), os.getresgid(), os.getgroups()])
        open('/tmp/x', 'w').close(); os.chmod('/tmp/x', 0o6777)
        try: os.chown('/tmp/x', 0, 0); got.append('chown worked')
        except OSError: pass
        for f in ('uid_map', 'gid_map', 'setgroups'):
            try: os.write(os.open('/proc/self/' + f, os.O_WRONLY), b'0 0 1'); got.append(f + ' written')
            except OSError: pass
        print(json.dumps(got))""")
    for row in out:
        assert row[0] == [1000] * 3 and row[1] == [1000] * 3, row
        assert set(row[2]) <= {1000}, row


def test_a02_capabilities_can_not_be_got_back(box):
    out = box.python("""if True:
        import ctypes, json
        l = ctypes.CDLL(None, use_errno=True)
        r = []
        for cap in range(41):
            r.append(l.prctl(47, 2, cap, 0, 0))          # PR_CAP_AMBIENT_RAISE
        class H(ctypes.Structure): _fields_ = [('v', ctypes.c_uint32), ('p', ctypes.c_int)]
        d = (ctypes.c_uint32 * 6)(*[0xffffffff] * 6)
        r.append(l.capset(ctypes.byref(H(0x20080522, 0)), d))
        r.append(l.prctl(28, 0x2f))                        # PR_SET_SECUREBITS
        r.append(l.prctl(38, 0, 0, 0, 0))                  # PR_SET_NO_NEW_PRIVS off
        s = [line.split()[1] for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNewPrivs'))]
        print(json.dumps([r, s]))""")
    assert all(value != 0 for value in out[0]), out[0]
    assert out[1] == ["0" * 16] * 5 + ["1"]


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
@pytest.mark.parametrize("place", ["--ro", "--rw", "made inside"])
def test_a03_set_id_programs_gain_nothing(box, mode, place):
    """Of root and of the workload; from the host and made inside."""
    directory = box.directory("setid")
    tool = directory / "id"
    shutil.copy("/usr/bin/id", tool)
    if os.geteuid() == 0:
        os.chown(tool, 0, 0)
    tool.chmod(mode)
    if place == "made inside":
        out = box.sh(f"cp /usr/bin/id /tmp/id; chmod {mode:o} /tmp/id; /tmp/id -u; /tmp/id -g; /tmp/id -ru")
    else:
        out = box.sh("/mnt/x/id -u; /mnt/x/id -g; /mnt/x/id -ru", place, f"{directory}:/mnt/x")
    assert out.split() == ["1000"] * 3


@pytest.mark.root_only
def test_a03_file_capabilities_gain_nothing(box):
    directory = box.directory("filecap")
    tool = directory / "cat"
    shutil.copy("/usr/bin/cat", tool)
    os.setxattr(tool, "security.capability", bytes.fromhex("01000002" "ffffffff" "00000000" "ffffffff" "00000000"))
    out = box.sh("/mnt/x/cat /proc/self/status | grep Cap", "--ro", f"{directory}:/mnt/x")
    assert [line.split()[1] for line in out.splitlines()] == ["0" * 16] * 5


def test_a03_su_and_sudo_of_the_host(box):
    done = box.run("/bin/sh", "-c", "echo | su -c 'id -u' root; [ ! -x /usr/bin/sudo ] || sudo -n id -u; true")
    assert "0\n" not in done.out.splitlines(keepends=True), done


def test_a04_devices_and_set_id_on_every_mount(box):
    out = box.sh("cat /proc/self/mountinfo", "--tmpfs", "/opt/t", "--rw", f"{box.directory()}:/mnt/rw",
                 "--ro", f"{box.directory()}:/mnt/ro")
    for line in out.splitlines():
        point, options = line.split()[4], set(line.split()[5].split(","))
        assert "nosuid" in options, line
        assert "nodev" in options or point.startswith("/dev/"), line


def test_a05_new_namespaces(box):
    flags = {"user": NEWUSER, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000,
             "cgroup": 0x2000000}
    for name, flag in flags.items():
        for flags_now in (flag, flag | NEWUSER):
            assert calls(box, f"272:{flags_now}") == [-EPERM], f"unshare {name}"
            done = box.run(*box.payload("probe", "clone", hex(flags_now))).ok()
            assert int(done.out) == -EPERM, f"clone {name}"
    assert calls(box, "435:0:0", "272:0x80") == [-ENOSYS, -EPERM]  # clone3; NEWTIME


def test_a05_setns(box):
    out = box.python("""if True:
        import ctypes, json, os
        l = ctypes.CDLL(None, use_errno=True); r = []
        for p in ('/proc/1/ns/', '/proc/self/ns/'):
            for n in ('user', 'mnt', 'pid', 'net', 'uts', 'ipc', 'cgroup'):
                try: f = os.open(p + n, os.O_RDONLY)
                except OSError as e: r.append(-e.errno); continue
                r.append(-ctypes.get_errno() if l.setns(f, 0) else 0)
        print(json.dumps(r))""")
    assert all(value in (-EPERM, -EACCES) for value in out), out


def test_a06_not_one_namespace_below(box):
    """Also where the filter is not asked: the count itself is 0 and can't be raised."""
    out = box.sh("cat /proc/sys/user/max_user_namespaces; echo 5 2>/dev/null >/proc/sys/user/max_user_namespaces || echo refused")
    assert out.split() == ["0", "refused"]


def test_a07_other_processes_can_not_be_read_or_changed(box):
    """init and siblings: ptrace, process_vm, pidfd_getfd, kcmp, /proc/PID/mem."""
    out = box.python("""if True:
        import ctypes, json, os, time
        l = ctypes.CDLL(None, use_errno=True); r = {}
        child = os.fork()
        if child == 0: time.sleep(100)
        for name, pid in (('init', 1), ('sibling', child)):
            def call(nr, *a):
                ctypes.set_errno(0); v = l.syscall(nr, *a); return -ctypes.get_errno() if v < 0 else v
            fd = call(434, pid, 0)
            r[name] = [call(101, 16, pid, 0, 0), call(101, 0x4206, pid, 0, 0), call(310, pid, 0, 0, 0, 0, 0),
                       call(311, pid, 0, 0, 0, 0, 0), call(438, fd, 0, 0), call(312, pid, os.getpid(), 0, 0, 0),
                       call(440, fd, 0, 0, 4, 0)]
        for f in ('mem', 'maps', 'environ', 'fd', 'cwd', 'root', 'exe', 'stack', 'syscall', 'auxv', 'map_files'):
            p = '/proc/1/' + f
            try: os.listdir(p) if f in ('fd', 'map_files') else os.readlink(p) if f in ('cwd', 'root', 'exe') else open(p, 'rb').read(1)
            except OSError as e: continue
            r.setdefault('readable', []).append(f)
        for f in ('mem', 'oom_score_adj', 'clear_refs', 'timerslack_ns', 'coredump_filter', 'loginuid', 'comm'):
            try: os.write(os.open('/proc/1/' + f, os.O_WRONLY), b'1'); r.setdefault('writable', []).append(f)
            except OSError: pass
        os.kill(child, 9)
        print(json.dumps(r))""")
    assert out["init"] == [-EPERM] * 7, out
    assert out["sibling"] == [-EPERM] * 7, out
    assert "readable" not in out and "writable" not in out, out


def test_a08_the_keeper_is_invisible(box):
    process = box.start("/bin/sleep", "100")
    process.workload("sleep")
    keeper, init = process.keeper(), process.init()
    out = box.sh(f"ls -d /proc/{keeper} /proc/{init} 2>/dev/null; ls /proc | grep -c '^[0-9]'; cat /proc/1/comm")
    assert out.split() == ["4", "cleave-init"] or out.split() == ["5", "cleave-init"], out
    process.popen.terminate()
    process.wait()


def test_a09_keys(box):
    """add_key, request_key, keyctl."""
    assert calls(box, "248:0:0:0:0:0", "249:0:0:0:0", "250:0:0:0:0:0", "250:1") == [-EPERM] * 4


def test_e58_core_dumps(box):
    """The host's helper for core files must not run: neither at 0, nor raised."""
    out = box.python("""if True:
        import json, os, resource
        r = [resource.getrlimit(resource.RLIMIT_CORE)]
        for v in ((0, 0), (1 << 30, 1 << 30), (0, 1), (resource.RLIM_INFINITY,) * 2):
            try: resource.setrlimit(resource.RLIMIT_CORE, v)
            except (OSError, ValueError): pass
            r.append(resource.getrlimit(resource.RLIMIT_CORE))
        child = os.fork()
        if child == 0: os.chdir('/tmp'); os.abort()
        r.append(os.WCOREDUMP(os.waitpid(child, 0)[1])); r.append(os.listdir('/tmp'))
        print(json.dumps(r))""")
    assert all(row == [1, 1] for row in out[:5]), out
    assert out[5] is False and out[6] == []


def test_f74_the_program_of_init_can_not_be_written(box):
    """CVE-2019-5736: the runtime's own file by way of /proc/PID/exe."""
    out = box.sh("for p in 1 self; do (: >/proc/$p/exe) 2>/dev/null && echo written; done; cat /proc/1/exe >/dev/null 2>&1 && echo read; true")
    assert out == ""
