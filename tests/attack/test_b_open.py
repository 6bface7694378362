# SPDX-License-Identifier: Apache-2.0
"""Attacks on the root directory with one wall down: each works, so the walled half proves something."""
import ctypes
import os
import subprocess

import pytest
from conftest import PYTHON, SLOW
from roots import busybox_root
from test_a_identity import EPERM, calls
from walls import RIGHTS, without


def test_b11_open_parent_of_the_root(box):
    """While the old root is there, `..` of the new one leads to it."""
    mark = box.file("the host's\n")
    script = f"cat /..{mark} 2>&1"
    opened = box.run("/bin/sh", "-c", script, **without("row:DETACH_OLD_ROOT", "row:LANDLOCK"))
    assert "the host's" in opened.out, opened
    assert "the host's" not in box.run("/bin/sh", "-c", script).out
    assert "the host's" not in box.run("/bin/sh", "-c", script, **without("row:DETACH_OLD_ROOT")).out, "Landlock holds by itself"


def test_b12_open_magic_links(box):
    mark = box.file("the host's\n")
    script = f"cat /proc/self/root/..{mark} /proc/self/cwd/../../..{mark} 2>/dev/null"
    opened = box.run("/bin/sh", "-c", script, **without("row:DETACH_OLD_ROOT", "row:LANDLOCK"))
    assert opened.out.count("the host's") == 2, opened
    assert box.run("/bin/sh", "-c", script).out == ""


def test_b16_open_mount_targets_are_links(box):
    """What the caller puts below a directory with a link in it lands where the link leads: in a file of the host."""
    victim, file = box.directory("victim", 0o777), box.file("from outside\n")
    words = ["--root-rw", "--file", f"{file}:/way/made", "/bin/sh", "-c", "true"]
    for walls in (["wall:links"], []):
        top = busybox_root(box)
        (top / "way").symlink_to(victim)
        done = box.run("--root", top, *words, **without(*walls))
        assert os.listdir(victim) == ["made"] * len(walls), done
        for name in os.listdir(victim):
            (victim / name).unlink()


def test_b18_open_dev_null_is_something_else(box):
    argv = {down: box.argv("run", "/bin/cat", "/dev/null", dev=True) for down in (True, False)}
    script = "mount -t tmpfs none /dev/shm; echo EVIL >/dev/shm/e; chmod 666 /dev/shm/e; mount --bind /dev/shm/e /dev/null; exec \"$@\""
    for down in (True, False):
        env = box.environment({"CLEAVE_TEST_WITHOUT": "wall:nodes"} if down else None)
        done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *argv[down]], capture_output=True,
                              text=True, env=env, timeout=30 * SLOW, input="", check=False)
        assert done.stdout == ("EVIL\n" if down else ""), done
        assert done.returncode == (0 if down else 125), done


def test_b24_open_way_through_a_link(box):
    """--out as it would be if links led where the host sees them lead."""
    here, secret = box.directory(), box.directory("secret", 0o755)
    (secret / "file").write_text("the caller's own\n")
    words = ["--out", f"/home/user/way/file:{here}/r", "/bin/sh", "-c", f"ln -s {secret} way"]
    assert box.run(*words).status == 125 and os.listdir(here) == []
    opened = box.run(*words, **without("wall:links"))
    assert (here / "r").read_text() == "the caller's own\n", opened


HANDLE = """if True:
    import ctypes, json, os
    l = ctypes.CDLL(None, use_errno=True)
    os.makedirs('/tmp/shut/d/SECRET')
    h = (ctypes.c_uint32 * 34)(128); mount = ctypes.c_int()
    n = l.name_to_handle_at(-100, b'/tmp/shut/d', h, ctypes.byref(mount), 0)
    f = l.open_by_handle_at(os.open('/tmp', os.O_RDONLY), h, os.O_RDONLY | os.O_DIRECTORY) if n == 0 else n
    print(json.dumps(os.listdir(f) if f >= 0 else -ctypes.get_errno()))"""


def test_b13_open_files_by_number(box):
    """shocker: needs a right over the file system, which a workload that keeps its rights has over its own."""
    opened = box.python(HANDLE, "--user", "root", **without(*RIGHTS, "deny:open_by_handle_at", "deny:name_to_handle_at", "row:LANDLOCK"))
    assert opened == ["SECRET"]
    assert box.python(HANDLE, "--user", "root") == -EPERM


def leak(number):
    def before():
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(fd, number, inheritable=True)
    return before


def test_b14_open_leaked_descriptors(box):
    mark = box.file("the host's\n")
    words = ["/bin/sh", "-c", f"cat /proc/self/fd/9{mark} 2>/dev/null; true"]
    more = {"close_fds": False, "preexec_fn": leak(9)}
    assert box.run(*words, **without("wall:fds", "row:CLOSE_FDS", "row:LANDLOCK"), **more).out == "the host's\n"
    assert box.run(*words, **without("wall:fds", "row:CLOSE_FDS"), **more).out == "", "Landlock holds by itself"
    assert box.run(*words, **without("wall:fds", "row:LANDLOCK"), **more).ok().out == "", "the command closes them by itself"
    assert box.run(*words, **more).ok().out == ""


def test_b15_open_working_directory_by_a_descriptor(box):
    """CVE-2024-21626."""
    mark = box.file("the host's\n")
    words = ["--workdir", "/proc/self/fd/9", "/bin/cat", str(mark).lstrip("/")]
    more = {"close_fds": False, "preexec_fn": leak(9)}
    assert box.run(*words, **without("wall:fds", "wall:cwd", "row:LANDLOCK"), **more).out == "the host's\n"
    assert "working directory" in box.run(*words, **without("wall:fds"), **more).refused(), "looked at where it leads"
    assert box.run(*words, **more).status == 125


@pytest.mark.parametrize("name", ["kallsyms", "timer_list", "interrupts", "modules", "slabinfo", "schedstat", "keys", "key-users"])
def test_b20_open_masked_part(box, name):
    """Each part of /proc that tells something without further rights, unhidden; read only."""
    path = f"/proc/{name}"
    if not os.path.exists(path) or os.stat(path).st_mode & 0o004 == 0:
        assert box.run("/bin/cat", path, **without(f"mask:{path}")).out == ""
        return
    words = ["/bin/sh", "-c", f"grep -c '^{path.rsplit('/', 1)[-1]}$' /dev/null; grep -o ' {path} ' /proc/self/mountinfo; head -c 64 {path}"]
    opened, walled = box.run(*words, **without(f"mask:{path}")).out, box.run(*words).out
    assert walled.split() == ["0", path]
    assert path not in opened
    if name not in ("keys", "key-users"):  # which hold only what belongs to the sandbox's own ids
        assert len(opened) > len("0\n"), opened


@pytest.mark.root_only
def test_b20_open_trigger(box):
    """Opened, never written: with the host's root inside, what reboots a host is a matter of one byte."""
    words = ["--user", "root", "/bin/sh", "-c", ": >>/proc/sysrq-trigger && echo opened"]
    if not os.path.exists("/proc/sysrq-trigger"):  # a kernel without it
        assert box.run(*words).out == ""
        return
    assert box.run(*words, **without("row:ID_SLOT", "mask:/proc/sysrq-trigger", "row:LANDLOCK")).out == "opened\n"
    assert box.run(*words, **without("row:ID_SLOT", "row:LANDLOCK")).out == "", "the mask holds by itself"
    assert box.run(*words).out == ""


def test_b21_open_mounts_are_changed(box):
    script = "umount /proc/kallsyms && echo unmasked; mount -o remount,bind,rw / && mkdir /new && echo writable; true"
    words = ["--user", "root", "/bin/sh", "-c", script]
    opened = box.run(*words, **without(*RIGHTS, "row:SECCOMP", "row:LANDLOCK")).ok()
    assert opened.out == "unmasked\nwritable\n", opened
    assert box.run(*words).ok().out == ""
    assert box.run(*words, **without(*RIGHTS, "row:LANDLOCK")).ok().out == "", "the filter holds by itself"
    assert box.run(*words, **without(*RIGHTS, "row:SECCOMP")).ok().out == "", "Landlock holds by itself"


def test_b22_open_device_nodes(box):
    """A node of a directory that is shown, by its number; that one can't be made is the kernel's own doing in a user namespace."""
    words = ["--ro", "/dev:/mnt/dev", PYTHON, "-c", """if True:
        import os
        for n in ('zero', 'full'):
            try: print(len(os.read(os.open('/mnt/dev/' + n, os.O_RDONLY), 1)))
            except OSError as e: print(-e.errno)"""]
    assert box.run(*words, **without("flag:bind.nodev")).ok().out.split() == ["1", "1"]
    assert box.run(*words).ok().out.split() == ["-13", "-13"]


@pytest.mark.root_only
def test_b23_open_files_that_make_the_kernel_run_a_program(box):
    """Only opened for writing: were one written, this host would be changed."""
    paths = [p for p in ("kernel/core_pattern", "kernel/modprobe", "kernel/poweroff_cmd", "kernel/panic", "vm/drop_caches")
             if os.path.exists(f"/proc/sys/{p}")]
    assert "kernel/core_pattern" in paths
    words = ["--user", "root", "/bin/sh", "-c", "for p in " + " ".join(paths) + "; do (: >>/proc/sys/$p) 2>/dev/null && echo $p; done; true"]
    assert box.run(*words, **without("row:ID_SLOT", "mask:/proc/sys", "row:LANDLOCK")).ok().out.split() == paths
    assert box.run(*words, **without("row:ID_SLOT", "row:LANDLOCK")).ok().out == "", "read-only holds by itself"
    assert box.run(*words, **without("mask:/proc/sys", "row:LANDLOCK")).ok().out == "", "ids of its own hold by themselves"
    assert box.run(*words).ok().out == ""


CHANNEL = """if True:
    import ctypes, sys
    l = ctypes.CDLL(None); l.shmat.restype = ctypes.c_void_p
    n = l.shmget(0x636c7661, 4096, 0o1666 if sys.argv[1] == 'write' else 0)
    if n < 0: print('nothing'); sys.exit()
    p = l.shmat(n, None, 0)
    if sys.argv[1] == 'write': ctypes.memmove(p, b'MARK', 4); print('written'); l.shmdt(ctypes.c_void_p(p)); sys.exit()
    print(ctypes.string_at(p, 4).decode())"""


def test_b28_open_system_v_between_two_sandboxes(box):
    opened = without("ns:ipc")
    libc = ctypes.CDLL(None)
    try:
        assert box.run(PYTHON, "-c", CHANNEL, "write", **opened).ok().out == "written\n"
        assert box.run(PYTHON, "-c", CHANNEL, "read", **opened).ok().out == "MARK\n"
        assert box.run(PYTHON, "-c", CHANNEL, "read").ok().out == "nothing\n"
    finally:
        number = libc.shmget(0x636C7661, 0, 0)
        assert number < 0 or libc.shmctl(number, 0, None) == 0


def test_b28_open_abstract_sockets(box):
    """Without a network of its own a sandbox meets the host's abstract names."""
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0cleave-attack-b28")
        s.listen()
        code = "import socket; print(socket.socket(socket.AF_UNIX).connect_ex('\\0cleave-attack-b28'))"
        opened = box.run(PYTHON, "-c", code, **without("row:NET_BEGIN", "row:NET_NS", "row:LOOPBACK", "row:LANDLOCK"))
        assert opened.out == "0\n", opened
        assert box.run(PYTHON, "-c", code).out == "111\n"


WATCH = """if True:
    import ctypes, json, os
    l = ctypes.CDLL(None, use_errno=True)
    f = l.fanotify_init(0x200, 0)
    if f < 0: print(json.dumps(-ctypes.get_errno())); raise SystemExit
    n = l.fanotify_mark(f, 1, ctypes.c_uint64(0x20), -100, b'/mnt/shown/f')
    print(json.dumps(n), flush=True)
    input(); os.set_blocking(f, False)
    try: print(json.dumps(len(os.read(f, 4096))))
    except OSError as e: print(json.dumps(-e.errno))"""


def test_b29_open_watching_what_others_read(box):
    """fanotify tells a sandbox when somebody else opens a file that it was shown."""
    shown = box.directory("shown")
    path = box.file("x\n", directory=shown)
    process = box.start("--ro", f"{shown}:/mnt/shown", PYTHON, "-c", WATCH, **without("deny:fanotify_init", "deny:fanotify_mark"))
    assert process.popen.stdout.readline() == b"0\n", process.picture()
    path.read_text()
    process.popen.stdin.write(b"\n")
    process.popen.stdin.flush()
    assert int(process.wait().out) > 0
    assert box.run("--ro", f"{shown}:/mnt/shown", PYTHON, "-c", WATCH).out == f"{-EPERM}\n"


def test_b30_open_log_of_the_kernel(box):
    """The size of the log's buffer is told to whom may ask (kernel.dmesg_restrict as the host has it)."""
    size = "103:10:0:0"
    with open("/proc/sys/kernel/dmesg_restrict") as f:
        restricted = f.read() != "0\n"
    opened = calls(box, size, **without("deny:syslog"))[0]
    assert opened == -EPERM if restricted else opened > 0
    assert calls(box, size) == [-EPERM]
