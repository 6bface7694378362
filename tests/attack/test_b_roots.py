# SPDX-License-Identifier: Apache-2.0
"""Attacks by whoever filled the directory of --root, or changes it while a sandbox is made. Each test says by its
number which attack it is. The victim is a directory of the caller's, which an escape could write to."""
import ctypes
import os
import pty
import shutil
import stat
import subprocess
import threading

import pytest
from conftest import SLOW, rounds
from roots import busybox_root, listing

RENAME_EXCHANGE = 2
PLACES = ("dev", "dev/pts", "dev/shm", "dev/null", "proc", "sys", "tmp", "home", "home/user", "root", "run", "run/cleave",
          "run/cleave/written", "etc", "etc/hosts", "etc/passwd", "etc/group", "etc/hostname", "etc/machine-id", "etc/resolv.conf")
# What has to be true inside, whatever the directory holds: device and type of /dev/null, /proc is one, what is ours.
LOOK = ("stat -c '%F %t:%T' /dev/null; stat -f -c %T /proc; test -d /dev/pts && test -d /dev/shm && test -d /tmp && echo dirs;"
        "hostname; cat /etc/secret /tmp/secret /home/user/secret /root/secret /run/secret 2>/dev/null; echo end")


@pytest.fixture
def victim(box):
    """Everybody may write to it, and of the names that a sandbox makes or mounts on some are there and some are not."""
    top = box.directory("victim", 0o777)
    for name in ("pts", "shm", "dev", "proc"):
        (top / name).mkdir()
        box.own(top / name)
    for name in ("secret", "passwd", "hosts", "null"):
        (top / name).write_text("the host's secret\n")
        box.own(top / name)
    return top


def made_in_etc():
    """What a launch that was led there would have made; others may change the host's /etc meanwhile."""
    return {"pts", "shm", "user", "cleave", "written", "new", "deep", "f", "made", "null", "generation"} & set(os.listdir("/etc"))


def replace(top, place, make):
    """Puts something else at the place, its parents made if they lack."""
    path = top / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    make(path)


def kinds(top, victim):
    """What can lie at a place: the ways of a link, and things that are no directory."""
    up = "../" * 24
    (top / "chain-2").symlink_to(str(victim))
    (top / "chain-1").symlink_to("chain-2")
    return {
        "absolute": lambda p: p.symlink_to(victim),
        "relative": lambda p: p.symlink_to(up + str(victim)[1:]),
        "chain": lambda p: p.symlink_to("/chain-1"),
        "below": lambda p: p.symlink_to(victim / "secret"),
        "magic": lambda p: p.symlink_to("/proc/self/root"),
        "loop": lambda p: p.symlink_to(p.name),
        "fifo": os.mkfifo,
    }


def check_inside(done):
    """The sandbox stands as it must, or was refused with a sentence."""
    assert "secret" not in done.out, done
    if done.status == 125:
        done.refused()
        return False
    lines = done.out.splitlines()
    assert lines[:4] == ["character special file 1:3", "proc", "dirs", "sandbox"], done
    return True


@pytest.mark.parametrize("place", PLACES)
def test_b16_places_of_the_root_are_something_else(box, victim, place):
    """Links to the host at /dev, /proc, /etc, /tmp and all that is mounted on or written: absolute, relative, in a
    chain; files and pipes. Below an overlay each of them gives way; with --root-rw it does or the start is refused."""
    before, etc = listing(victim), made_in_etc()
    for name in kinds(box.directory(), victim):
        for rw in ([], ["--root-rw"]):
            top = busybox_root(box)
            replace(top, place, kinds(top, victim)[name])
            done = box.run("--root", top, *rw, "/bin/sh", "-c", LOOK)
            assert listing(victim) == before, (name, rw, done)
            assert made_in_etc() == etc
            assert check_inside(done) or rw, (name, done)
            shutil.rmtree(top)


@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "rw"])
@pytest.mark.parametrize("option", ["--ro", "--rw", "--tmpfs", "--file"])
def test_b16_mount_targets_are_links(box, victim, option, rw):
    """The destinations that the caller names lie behind links of the directory's."""
    before, etc = listing(victim), made_in_etc()
    shown, file = box.directory("shown"), box.file("x\n")
    for below in ("", "/new", "/deep/er"):
        for name in ("absolute", "relative", "chain", "magic"):
            top = busybox_root(box)
            replace(top, "mnt", kinds(top, victim)[name])
            target = f"/mnt{below}" if option != "--file" else f"/mnt{below or '/f'}"
            value = target if option == "--tmpfs" else f"{file if option == '--file' else shown}:{target}"
            done = box.run("--root", top, *(["--root-rw"] if rw else []), option, value, "/bin/sh", "-c", LOOK)
            assert listing(victim) == before, (name, below, done)
            assert made_in_etc() == etc
            check_inside(done)


@pytest.mark.parametrize("option", ["--ro", "--rw", "--tmpfs"])
@pytest.mark.parametrize("place", ["/proc", "/proc/sys", "/dev", "/dev/pts/.."])
def test_b16_mount_targets_lead_to_what_is_ours(box, place, option):
    """What the caller shows would lie where a layer is, and the result would call it on."""
    shown = box.directory("shown")
    for rw in ([], ["--root-rw"]):
        top = busybox_root(box)
        (top / "data").symlink_to(place)
        value = "/data" if option == "--tmpfs" else f"{shown}:/data"
        line = box.run("--root", top, *rw, option, value, "/bin/true").refused(125)
        assert "'/data'" in line and "belongs to the sandbox itself" in line
        shutil.rmtree(top)


class Swapper:
    """Exchanges a directory of the root with a link to the victim, as fast as it can."""

    def __init__(self, box, top, place, target):
        self.a, self.b = os.fsencode(top / place), os.fsencode(top / "other")
        os.makedirs(self.a, exist_ok=True)
        os.symlink(target, self.b)
        self.stop, self.count = threading.Event(), 0
        self.thread = threading.Thread(target=self.go)

    def go(self):
        libc = ctypes.CDLL(None)
        while not self.stop.is_set():
            self.count += libc.renameat2(-100, self.a, -100, self.b, RENAME_EXCHANGE) == 0

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.stop.set()
        self.thread.join()
        assert self.count > 100, "nothing was exchanged"


@pytest.mark.parametrize("place", ["dev", "proc", "tmp", "run", "home", "etc", "mnt"])
@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "rw"])
def test_b17_a_second_process_exchanges_directories(box, victim, place, rw):
    """While the sandbox is made: the place is a directory for one look and a link out for the next."""
    before = listing(victim)
    top = busybox_root(box)
    for name in ("dev", "proc", "tmp", "run/cleave", "home/user", "root", "mnt"):
        (top / name).mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-hR", f"{box.uid}:{box.gid}", top], check=True)
    good = 0
    with Swapper(box, top, place, victim):
        for i in range(rounds(10)):
            more = ["--tmpfs", f"/mnt/{i}", "--file", f"{box.file()}:/mnt/f"] if place == "mnt" else []
            done = box.run("--root", top, *(["--root-rw"] if rw else []), *more, "/bin/sh", "-c", LOOK)
            assert listing(victim) == before, done
            if rw and done.status == 0:  # it goes on after the start: what is seen may be either
                assert "secret" not in done.out, done
                good += 1
            else:
                good += check_inside(done)
    assert good or rw or place == "mnt", "below an overlay none of this can stop a start"


def test_b17_the_directory_itself_is_exchanged(box, victim):
    """--root place/real, which is a link to another directory for half of the looks: one of the two, never a mixture."""
    place = box.directory("race")
    first, second = busybox_root(box, "first"), busybox_root(box, "second")
    for top in (first, second):
        (top / "mark").write_text(top.name + "\n")
        (top / "bin/mark").write_text(top.name + "\n")
    first.rename(place / "real")
    with Swapper(box, place, "real", second):
        for _ in range(rounds(20)):
            done = box.run("--root", place / "real", "/bin/sh", "-c", "cat /mark /bin/mark")
            if done.status == 125:
                assert "exchanged" in done.refused() or "--root" in done.err, done
            else:
                assert len(done.out.splitlines()) == 2 and len(set(done.out.splitlines())) == 1, done


@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "rw"])
def test_b16_passwd_leads_to_what_is_closed(box, rw):
    """/etc/passwd is copied, by one who may read more than the workload: not what a link or a mode hides."""
    for link in (True, False):
        top = busybox_root(box)
        (top / "etc/shadow").write_text("root:SECRET:1::::::\n")
        box.own(top / "etc/shadow")
        (top / "etc/shadow").chmod(0o600)
        (top / "etc/passwd").unlink()
        if link:
            (top / "etc/passwd").symlink_to("shadow")
        else:
            (top / "etc/shadow").rename(top / "etc/passwd")
        done = box.run("--root", top, *(["--root-rw"] if rw else []), "/bin/cat", "/etc/passwd")
        assert "SECRET" not in done.out or box.is_user and rw, done


def test_b18_dev_null_of_the_directory(box):
    """It is no device, or another one: /dev is the sandbox's own in any case, and nodes elsewhere stay shut."""
    for make in (lambda p: p.write_text("EVIL\n"), lambda p: p.symlink_to("/etc/passwd"), os.mkfifo,
                 lambda p: os.mknod(p, 0o20666, os.makedev(1, 1))):
        for rw in ([], ["--root-rw"]):
            top = busybox_root(box)
            (top / "dev").mkdir()
            try:
                make(top / "dev/null")
                if not box.is_user:
                    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
                    os.mknod(top / "mem", 0o20666, os.makedev(1, 1))
            except PermissionError:
                continue
            for path in (top / "dev", top / "dev/null"):
                box.own(path)
            done = box.run("--root", top, *rw, "/bin/sh", "-c",
                           "stat -c '%F %t:%T' /dev/null; echo lost >/dev/null; cat /dev/null; for n in /null /mem; do head -c 1 $n >/dev/shm/x && echo opened $n; done;"
                           "cat /proc/keys /proc/kallsyms; mount | grep -c EVIL").out.splitlines()
            assert done == ["character special file 1:3", "0"], done


@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "rw"])
def test_b19_terminals_of_the_directory(box, victim, rw):
    """/dev/console, /dev/ptmx, /dev/tty and /dev/pts/0 as links to the caller's own terminal: -t opens the private one."""
    ours = pty.openpty()
    terminal = os.ttyname(ours[1])
    try:
        for name in ("console", "ptmx", "tty", "pts/ptmx", "pts/0", "pts"):
            top = busybox_root(box)
            (top / "dev/pts").mkdir(parents=True)
            replace(top, f"dev/{name}", lambda p: p.symlink_to(terminal if p.name != "pts" else os.path.dirname(terminal)))
            argv = box.argv("run", "-t", "--root", top, *(["--root-rw"] if rw else []), "/bin/sh", "-c",
                            "stat -f -c %T /dev/pts; readlink /proc/self/fd/0; ls /dev/pts; ls /dev; echo evil >/dev/pts/0")
            outer, inner = pty.openpty()
            process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=box.environment(), start_new_session=True)
            os.close(inner)
            text = b""
            while True:
                try:
                    piece = os.read(outer, 4096)
                except OSError:
                    break
                text += piece
                if not piece:
                    break
            os.close(outer)
            assert process.wait(timeout=30 * SLOW) == 0, text
            words = text.decode().split()
            assert "devpts" in words and "/dev/pts/0" in words and "console" not in words, text
        os.set_blocking(ours[0], False)
        with pytest.raises(BlockingIOError):  # nothing ever came to our own
            os.read(ours[0], 100)
    finally:
        for fd in ours:
            os.close(fd)


def test_b27_copying_up_of_set_id_files(box):
    """A set-user-id program of root's in the directory: copied up or not it gives nothing, and DIR's stays as it is."""
    top = busybox_root(box)
    program = top / "opt/busybox"
    program.parent.mkdir()
    program.write_bytes((top / "bin/busybox").read_bytes())
    box.own(program)
    program.chmod(0o6755)
    before = listing(top)
    out = box.run("--root", top, "/bin/sh", "-c", "id -u; /opt/busybox id -u; grep -E 'CapEff|CapPrm' /proc/self/status; touch /opt/busybox; /opt/busybox id -u").ok().out.split()
    assert out == ["1000", "1000", "CapPrm:", "0" * 16, "CapEff:", "0" * 16, "1000"]
    assert listing(top) == before
    assert stat.S_IMODE(program.stat().st_mode) == 0o6755


def test_b27_overlay_attributes_of_the_directory(box, victim):
    """Attributes by which an overlay would look elsewhere or open another file: the directory can't lead out by them."""
    top = busybox_root(box)
    (top / "redirected").mkdir()
    (top / "meta").write_text("own\n")
    for path, name, value in ((top / "redirected", "redirect", os.fsencode(victim)), (top / "meta", "redirect", b"/../../secret"),
                              (top / "meta", "metacopy", b""), (top, "opaque", b"y")):
        os.setxattr(path, f"user.overlay.{name}", value)
    before = listing(victim)
    done = box.run("--root", top, "/bin/sh", "-c", "ls -A /redirected; cat /meta; echo end")
    assert "secret" not in done.out and done.out.endswith("end\n"), done
    assert listing(victim) == before
