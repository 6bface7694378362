# SPDX-License-Identifier: Apache-2.0
"""Attacks on the root directory. Each test says by its number which attack it is."""
import os
import re
import subprocess
import threading
import time

import pytest
from conftest import PYTHON, SLOW
from test_a_identity import EPERM, calls


def test_b11_parent_directories_and_chroot(box):
    """`..` from the root, from a directory that was opened earlier; chroot to climb."""
    out = box.python("""if True:
        import json, os
        r = []
        d = os.open('/', os.O_RDONLY); os.mkdir('/tmp/a')
        try: os.chroot('/tmp/a'); r.append('chroot worked')
        except OSError as e: r.append(e.errno)
        os.fchdir(d)
        for _ in range(40): os.chdir('..')
        r.append(os.stat('.').st_ino == os.stat('/').st_ino)
        r.append(os.path.exists('../' * 40 + 'etc/shadow'))
        f = os.open('/usr', os.O_RDONLY | os.O_DIRECTORY)
        r.append(os.path.exists(f'/proc/self/fd/{f}/../etc/shadow'))
        print(json.dumps(r))""")
    assert out == [EPERM, True, False, False]


def test_b12_magic_links(box):
    out = box.python("""if True:
        import json, os
        root = os.stat('/')
        r = []
        for p in os.listdir('/proc'):
            if not p.isdigit() and p not in ('self', 'thread-self'): continue
            for n in ('root', 'cwd', 'exe', *[f'fd/{i}' for i in range(64)], *[f'task/{p}/root']):
                q = f'/proc/{p}/{n}'
                try: st = os.stat(q)
                except OSError: continue
                if os.path.isdir(q) and os.path.exists(q + '/etc/shadow'): r.append(q)
                if os.path.isdir(q) and n.endswith('root') and (st.st_dev, st.st_ino) != (root.st_dev, root.st_ino): r.append(q)
        print(json.dumps(r))""")
    assert out == []


def test_b13_files_by_handle(box):
    assert calls(box, "303:0:0:0:0:0", "304:0:0:0") == [-EPERM] * 2


def test_b14_leaked_descriptors(box):
    """A caller with / open as 9: nothing of it inside, nor in any process that can be seen."""
    def leak():
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(fd, 9, inheritable=True)
    done = box.run(PYTHON, "-c", "import os\nfor p in os.listdir('/proc'):\n  if p.isdigit():\n    try: print(p, [os.readlink(f'/proc/{p}/fd/{n}')"
                   " for n in os.listdir(f'/proc/{p}/fd')])\n    except OSError: pass", close_fds=False, preexec_fn=leak).ok()
    for line in done.out.splitlines():
        links = re.findall(r"'([^']+)'", line)
        assert all(re.match(r"pipe:|/dev/null|/proc/\d+/fd$", link) for link in links), line


@pytest.mark.parametrize("where", ["/proc/self/fd/7", "/proc/self/fd/9", "/proc/1/cwd", "/proc/self/cwd", "/dev/fd/9"])
def test_b15_working_directory_by_a_descriptor(box, where):
    """CVE-2024-21626."""
    def leak():
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        for n in (7, 9):
            os.dup2(fd, n, inheritable=True)
    done = box.run("--workdir", where, "/bin/sh", "-c", "pwd; ls ../../../../etc/shadow", close_fds=False, preexec_fn=leak)
    assert "shadow" not in done.out, done
    if done.status == 125:
        assert "working directory" in done.err


@pytest.mark.parametrize("link", ["/etc", "../../../../../../../etc", "chain"])
@pytest.mark.parametrize("below", ["", "/new", "/deep/er"])
def test_b16_targets_through_symlinks(box, link, below):
    """The caller's directory holds a link where the next mount or file goes."""
    shown, other = box.directory("shown"), box.directory("other")
    (other / "mark").write_text("m")
    if link == "chain":
        (shown / "b").symlink_to("/etc")
        link = "b"
    (shown / "a").symlink_to(link)
    before = os.stat("/etc").st_mtime_ns, sorted(os.listdir("/etc"))
    payload = box.file("file\n")
    for words in (["--ro", f"{other}:/mnt/s/a{below}"], ["--tmpfs", f"/mnt/s/a{below}"], ["--file", f"{payload}:/mnt/s/a{below or '/made'}"]):
        done = box.run("--rw", f"{shown}:/mnt/s", *words, "/bin/true")
        assert done.status in (0, 125), done
        assert (os.stat("/etc").st_mtime_ns, sorted(os.listdir("/etc"))) == before
    assert sorted(os.listdir(shown)) in (["a"], ["a", "b"])


def test_b17_source_and_target_exchanged_meanwhile(box):
    """Another process exchanges a directory and a link to /etc as fast as it can."""
    place = box.directory("race")
    (place / "real").mkdir()
    (place / "real" / "mark").write_text("m")
    (place / "link").symlink_to("/etc")
    box.own(place / "real")
    import ctypes
    libc = ctypes.CDLL(None)
    stop = threading.Event()

    def swap():
        a, b = str(place / "real").encode(), str(place / "link").encode()
        while not stop.is_set():
            libc.renameat2(-100, a, -100, b, 2)
    thread = threading.Thread(target=swap)
    before = sorted(os.listdir("/etc"))
    thread.start()
    try:
        for _ in range(12):
            done = box.run("--rw", f"{place}:/mnt/p", "--ro", f"{box.dir}:/mnt/p/real/in", "--tmpfs", "/mnt/p/link/in", "/bin/sh", "-c",
                           "ls /etc/in /etc/shadow 2>/dev/null; cat /etc/shadow 2>/dev/null; true")
            assert done.status in (0, 125), done
            assert "root:" not in done.out and "/etc/shadow" not in done.out, done
    finally:
        stop.set()
        thread.join()
    assert sorted(os.listdir("/etc")) == before


@pytest.mark.root_only
def test_b18_dev_null_of_the_host_is_something_else(box):
    """Nodes are taken by what they are, not by their name; masks come from no file of the host."""
    argv = box.argv("run", "/bin/sh", "-c", "cat /proc/keys /proc/kallsyms; stat -c %t:%T /dev/null")
    script = 'echo EVIL >/tmp/evil-$$; mount -t tmpfs none /dev/shm; echo EVIL >/dev/shm/e; mount --bind /dev/shm/e /dev/null; rm /tmp/evil-$$; exec "$@"'
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *argv], capture_output=True, text=True,
                          env=box.environment(), timeout=30 * SLOW, input="", check=False)
    assert done.returncode == 125, done
    assert "/dev/null" in done.stderr and "EVIL" not in done.stdout


def test_b20_masked_parts_of_proc(box):
    out = box.python("""if True:
        import json, os
        r = []
        for n in ('kcore', 'keys', 'key-users', 'kmsg', 'kallsyms', 'timer_list', 'timer_stats', 'sched_debug', 'scsi', 'acpi', 'slabinfo',
                  'sysrq-trigger', 'vmallocinfo', 'latency_stats', 'interrupts', 'modules'):
            for way in (f'/proc/{n}', f'/proc/self/../{n}', f'/proc/self/root/proc/{n}', f'/proc/1/../{n}', f'/proc/thread-self/../../../{n}'):
                try:
                    data = os.listdir(way) if os.path.isdir(way) else open(way, 'rb').read(64)
                    if data: r.append(way)
                except OSError: pass
        print(json.dumps(r))""")
    assert out == []
    assert calls(box, "430:0:0", "431:0:0:0:0:0", "432:0:0:0", "165:0:0:0:0:0", "166:0:0") == [-EPERM] * 5, "no second procfs, no unmasking"


def test_b21_mounts_can_not_be_changed(box):
    """remount, umount, move_mount, pivot_root, open_tree, mount_setattr, fspick, open_tree_attr."""
    numbers = (165, 166, 429, 155, 428, 442, 433, 467)
    assert calls(box, *(str(n) for n in numbers)) == [-EPERM] * len(numbers)
    done = box.run("--ro", f"{box.directory()}:/mnt/x", "/bin/sh", "-c", "mount -o remount,rw /mnt/x; umount /mnt/x; umount -l /proc/keys; mount --bind /tmp /mnt/x")
    assert done.status != 0


def test_b22_device_nodes(box):
    out = box.python("""if True:
        import json, os, stat
        r = []
        for kind, major, minor in ((stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 8, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFCHR, 1, 3), (stat.S_IFCHR, 10, 229), (stat.S_IFCHR, 5, 1)):
            for d in ('/tmp', '/dev', '/dev/shm', '/home/user', '/opt/t'):
                try: os.mknod(f'{d}/n', kind | 0o666, os.makedev(major, minor)); r.append([d, major, minor])
                except OSError: pass
        for p in ('mem', 'kmem', 'kmsg', 'kvm', 'fuse', 'net/tun', 'port', 'console', 'vda', 'sda', 'loop-control', 'vhost-net', 'userfaultfd'):
            if os.path.exists('/dev/' + p): r.append(p)
        print(json.dumps(r))""", "--tmpfs", "/opt/t")
    assert out == []


def test_b22_nodes_of_a_directory_that_was_shown(box):
    """--ro /dev shows names; nodev keeps them shut."""
    done = box.run("--ro", "/dev:/mnt/dev", "/bin/sh", "-c", "for f in zero null mem kmsg vda console; do head -c 1 /mnt/dev/$f >/dev/null 2>&1 && echo $f; done; true")
    assert done.status == 0 and done.out == "", done


def test_b23_files_that_make_the_kernel_run_a_program(box):
    """Only opened for writing, never written: were it to work, this host would be changed."""
    paths = ["sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/kernel/hotplug", "sys/fs/binfmt_misc/register", "sys/kernel/poweroff_cmd",
             "sys/kernel/sysrq", "sysrq-trigger", "sys/vm/panic_on_oom", "sys/kernel/panic", "sys/kernel/ns_last_pid", "sys/kernel/yama/ptrace_scope",
             "sys/net/ipv4/ip_forward", "sys/kernel/hostname", "sys/kernel/usermodehelper/bset", "sys/kernel/cad_pid", "self/attr/current",
             "self/uid_map", "1/oom_score_adj", "irq/default_smp_affinity"]
    out = box.python(f"""if True:
        import json, os
        r = []
        for p in {paths!r}:
            try: os.close(os.open('/proc/' + p, os.O_WRONLY)); r.append(p)
            except OSError: pass
        for p in ('/sys/kernel/uevent_helper', '/sys/fs/cgroup', '/sys/fs/cgroup/release_agent', '/sys/kernel/debug'):
            if os.path.exists(p): r.append(p)
        print(json.dumps(r))""")
    assert set(out) <= {"self/attr/current", "self/uid_map"}, out
    done = box.run("/bin/sh", "-c", "echo 0 0 1 >/proc/self/uid_map")
    assert done.status != 0


def test_b24_links_and_nodes_left_in_an_output_directory(box):
    """What lies there afterwards is the caller's, without set-id bits, and its links are only links."""
    place = box.directory("out")
    box.sh("cd /mnt/o; ln -s /etc/shadow shadow; ln -s ../../../.. up; mkfifo fifo; cp /bin/true suid; chmod 6755 suid; "
           f"{PYTHON} -c \"import socket; socket.socket(socket.AF_UNIX).bind('/mnt/o/sock')\"; ln /usr/bin/true hard 2>/dev/null || echo no hard link",
           "--rw", f"{place}:/mnt/o")
    assert {e.name for e in os.scandir(place)} == {"shadow", "up", "fifo", "suid", "sock"}
    for entry in os.scandir(place):
        st = entry.stat(follow_symlinks=False)
        assert st.st_uid == box.uid, entry.name


def test_b26_a_million_ways_to_leave_rubbish(box):
    """Deep, long, many: it ends in reasonable time and nothing is left."""
    began = time.monotonic()
    done = box.run("--disk", "64m,inodes=20000", "--timeout", "30", PYTHON, "-c", """if True:
        import os
        os.chdir('/tmp')
        try:
            for i in range(5000): os.mkdir('x' * 255); os.chdir('x' * 255)
        except OSError: pass
        os.chdir('/home/user')
        try:
            for i in range(10**6): os.close(os.open(f'f{i}', os.O_CREAT))
        except OSError: pass""")
    assert done.status == 0, done
    assert time.monotonic() - began < 30 * SLOW


def test_b28_channels_between_two_sandboxes(box):
    """Files in /tmp and /dev/shm, abstract sockets, System V, POSIX queues, file locks on shared lower files."""
    writer = box.start(PYTHON, "-c", """if True:
        import ctypes, fcntl, os, socket, sys
        open('/tmp/mark', 'w').close(); open('/dev/shm/mark', 'w').close(); open('/var/tmp/mark', 'w').close()
        s = socket.socket(socket.AF_UNIX); s.bind('\\0between'); s.listen()
        u = socket.create_server(('127.0.0.1', 7777))
        l = ctypes.CDLL(None); l.shmget(4242, 4096, 0o1666); l.msgget(4242, 0o1666); l.semget(4242, 1, 0o1666)
        l.mq_open(b'/between', os.O_CREAT | os.O_RDWR, 0o666, 0)
        print('ready', flush=True); sys.stdin.read()""")
    assert writer.popen.stdout.readline() == b"ready\n"
    out = box.python("""if True:
        import ctypes, json, os, socket
        r = [p for p in ('/tmp/mark', '/dev/shm/mark', '/var/tmp/mark') if os.path.exists(p)]
        l = ctypes.CDLL(None)
        if socket.socket(socket.AF_UNIX).connect_ex('\\0between') == 0: r.append('abstract')
        if socket.socket().connect_ex(('127.0.0.1', 7777)) == 0: r.append('tcp')
        if l.shmget(4242, 4096, 0) >= 0: r.append('shm')
        if l.msgget(4242, 0) >= 0: r.append('msg')
        if l.semget(4242, 1, 0) >= 0: r.append('sem')
        if l.mq_open(b'/between', 0) >= 0: r.append('mqueue')
        print(json.dumps(r))""")
    writer.popen.stdin.close()
    writer.popen.stdin = None
    assert writer.wait().status == 0
    assert out == []


def test_b29_watching_shared_files(box):
    """fanotify is refused; inotify is bounded."""
    assert calls(box, "300:0:0", "301:0:0:0:0:0") == [-EPERM] * 2
    out = box.python("""if True:
        import ctypes, json
        l = ctypes.CDLL(None); n = 0
        while l.inotify_init() >= 0 and n < 2000: n += 1
        print(json.dumps(n))""", "--nofile", "4000")
    assert out <= 1024


def test_b30_what_the_kernel_tells_about_others(box):
    done = box.run("/bin/sh", "-c", "cat /proc/keys /proc/sys/kernel/ns_last_pid 2>/dev/null; dmesg 2>/dev/null | head -n 1; true").ok()
    assert len(done.out.split()) <= 1, done
    assert calls(box, "103:3:0:0") == [-EPERM]
