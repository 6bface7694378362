# SPDX-License-Identifier: Apache-2.0
"""--root DIR: real systems in a directory, below a private overlay or written to themselves; what is the sandbox's
own there, whose the files are, and directories that can't be a root. Hostile ones: tests/attack/test_b_roots.py."""
import json
import os
import subprocess

import pytest
from conftest import SLOW
from live import live  # noqa: F401 (a fixture)
from roots import busybox_root, debian_root, listing, own_tree


@pytest.fixture
def small(box):
    return busybox_root(box)


def inside(box, top, script, *options, **more):
    return box.run("--root", top, *options, "sh", "-c", script, **more).ok().out


# ---- systems ----

def test_busybox(box, small):
    """Alpine-like: a static busybox is all there is."""
    before = listing(small)
    out = inside(box, small, "id -un; id -gn; pwd; echo $HOME $SHELL; readlink /proc/self/exe; ls /; hostname; cat /etc/hostname;"
                 "cat /etc/passwd; touch /home/user/a /tmp/b /dev/shm/c && echo written; echo x >/dev/null && echo null").splitlines()
    assert out[:4] == ["user", "user", "/home/user", "/home/user /bin/sh"]
    assert out[4] == "/bin/busybox"
    assert out[5:out.index("sandbox")] == sorted(["bin", "dev", "etc", "home", "lib", "proc", "root", "run", "tmp", "usr"])
    assert out[-5:] == ["sandbox", "root:x:0:0:root:/root:/bin/sh", "user:x:1000:1000:user:/home/user:/bin/sh", "written", "null"]
    assert listing(small) == before


@pytest.mark.parametrize("own", [True, False], ids=["own", "of-root"])
def test_debian(box, own):
    """Its own shell, loader, libraries, perl and package tools, at the owner's and at a stranger's."""
    top = debian_root(box, own)
    out = inside(box, top, ". /etc/os-release; echo $ID $VERSION_ID; whoami; bash -c 'echo $BASH_VERSION';"
                 "perl -e 'print 6*7, \"\\n\"'; dpkg-query -W -f '${Package}\\n' | grep -x -e apt -e dpkg; apt-cache --version | cut -c1-3;"
                 "ldd /bin/bash | grep -c '=> /lib'; sort -u /etc/passwd | wc -l; getent passwd www-data 1000 | cut -d: -f1,3;"
                 "getent hosts localhost >/dev/null && echo hosts; tar c -C / etc/os-release | tar t;"
                 "touch /home/user/x && mktemp >/dev/null && echo ok").splitlines()
    assert out[:2] == ["debian 12", "user"]
    assert out[2].startswith("5.2") and out[3:6] == ["42", "apt", "dpkg"], out
    assert out[-5:] == ["www-data:33", "user:1000", "hosts", "etc/os-release", "ok"], out
    assert not (top / "home/user").exists()


def test_debian_lives(live):  # noqa: F811
    """start, exec, cp and diff in it."""
    top = debian_root(live.box, True)
    name = live.start("--root", top)
    live.execsh(name, "echo a >/home/user/a; mkdir /tmp/d; echo b >/tmp/d/b")
    live.call("cp", live.box.file("from outside\n", "c"), f"{name}:/home/user/c").ok()
    assert live.execsh(name, "cat /home/user/c; stat -c %U /home/user/c") == "from outside\nuser\n"
    back = live.box.directory() / "back"
    live.call("cp", f"{name}:/usr/lib/os-release", back).ok()
    assert back.read_bytes() == (top / "usr/lib/os-release").read_bytes()
    rows = {row["path"]: row["type"] for row in json.loads(live.call("diff", "--json", name).ok().out)}
    assert rows == {"/home": "directory", "/home/user": "directory", "/home/user/a": "file", "/home/user/c": "file",
                    "/tmp/d": "directory", "/tmp/d/b": "file"}


# ---- the overlay ----

def test_a_directory_is_removed_and_made_again(box, small):
    """What tells a whole overlay from one without marks: `rm -r lower && mkdir lower`, and it is empty then."""
    before = listing(small)
    out = inside(box, small, "rm -r /usr/share/doc && mkdir /usr/share/doc && ls -A /usr/share/doc | wc -l; rm /bin/ls; /bin/ls / || echo gone;"
                 "mv /etc/hostname /etc/moved && cat /etc/moved; echo more >>/etc/passwd; grep -c . /etc/passwd", "--user", "root")
    assert out.split() == ["0", "gone", "sandbox", "2"]
    assert listing(small) == before, "the directory is as it was"


def test_diff_tells_what_was_removed(live):  # noqa: F811
    top = busybox_root(live.box)
    name = live.start("--root", top, "--user", "root")
    live.execsh(name, "rm -r /usr/share/doc; rm /bin/mv; echo x >/bin/new; echo t >/tmp/t", "--user", "root")
    rows = {row["path"]: row["type"] for row in json.loads(live.call("diff", "--json", name).ok().out)}
    assert rows == {"/tmp/t": "file", "/bin": "directory", "/bin/mv": "removed", "/bin/new": "file", "/usr": "directory",
                    "/usr/share": "directory", "/usr/share/doc": "removed"}


def test_two_sandboxes_of_one_directory(box, small):
    first = box.start("--root", small, "sh", "-c", "echo first >/home/user/f; echo ready; cat >/dev/null; cat /home/user/f")
    assert first.popen.stdout.readline() == b"ready\n"
    assert inside(box, small, "ls /home/user; echo second >/home/user/f; cat /home/user/f") == "second\n"
    done = first.wait()
    assert done.out == "first\n", done


@pytest.mark.parametrize("place", ["/home/user", "/tmp", "/dev/shm"])
def test_what_is_written_is_bounded_by_disk(box, small, place):
    """The upper directory is a part of the one disk."""
    done = box.result("--disk", "4m", "--root", small, "sh", "-c",
                      f"dd if=/dev/zero of={place}/f bs=1k count=3000 2>/dev/null && dd if=/dev/zero of=/home/user/g bs=1k count=3000")
    assert done.status != 0 and done.result["status"] == "disk_limit", done
    assert "No space" in done.err


def test_copying_up_counts(box, small):
    (small / "big").write_bytes(b"x" * (3 << 20))
    box.own(small / "big")
    (small / "big").chmod(0o666)
    assert inside(box, small, "echo y >>/big && wc -c </big", "--disk", "4m").strip() == str((3 << 20) + 2)
    done = box.run("--disk", "2m", "--root", small, "sh", "-c", "echo y >>/big")
    assert done.status != 0 and "No space" in done.err, done


# ---- whose files ----

@pytest.mark.root_only
def test_ids_of_files_as_root(box, small):
    """Owners keep their numbers inside; those beyond the slot are nobody's."""
    for name, uid in (("zero", 0), ("user", 1000), ("service", 33), ("far", 100000)):
        (small / name).write_text(name)
        os.chown(small / name, uid, uid)
    out = inside(box, small, "stat -c '%n %u %g' /zero /user /service /far; echo x >>/user && cat /user; echo x >>/zero || echo refused")
    assert out.splitlines() == ["/zero 0 0", "/user 1000 1000", "/service 33 33", "/far 65534 65534", "userx", "refused"]
    assert (small / "user").read_text() == "user"


def test_ids_of_files_as_user(box, small):
    """The caller's are the workload's."""
    if not box.is_user:
        pytest.skip("root's are told above")
    out = inside(box, small, "stat -c '%u %g' /bin/busybox; echo x >/etc/new && cat /etc/new")
    assert out.splitlines() == ["1000 1000", "x"]


def test_accounts(box):
    """A line for the workload where DIR's files know no such id; else they stay as they are."""
    for text, want in (("www:x:33:33::/:/bin/sh", "www user"), ("node:x:1000:1000::/home/node:/bin/sh\n", "node"),
                       ("odd:x:1000\n", "odd"), ("", "user"), ("a:b:c:1000:1000\n", "a user"), ("x" * 300000, "x" * 300000)):
        top = busybox_root(box)
        (top / "etc/passwd").write_text(text)
        out = inside(box, top, "cat /etc/passwd")
        assert [line.split(":")[0] for line in out.splitlines()] == want.split(), text[:20]
    for make in (lambda p: os.mkfifo(p), lambda p: p.symlink_to("/nowhere"), lambda p: p.mkdir(), lambda p: p.symlink_to("passwd")):
        top = busybox_root(box)
        (top / "etc/passwd").unlink()
        make(top / "etc/passwd")
        assert [line.split(":")[0] for line in inside(box, top, "cat /etc/passwd").splitlines()] == ["root", "user"]
    top = busybox_root(box)
    (top / "etc/passwd").rename(top / "etc/elsewhere")
    (top / "etc/passwd").symlink_to("/etc/elsewhere")
    assert inside(box, top, "cat /etc/passwd").splitlines() == ["root:x:0:0:root:/root:/bin/sh", "user:x:1000:1000:user:/home/user:/bin/sh"]


# ---- --root-rw ----

def test_root_rw(box, small):
    out = inside(box, small, "touch /home/user/kept /tmp/not-kept; hostname; cat /etc/hostname; tail -n 1 /etc/passwd; ls /run/cleave", "--root-rw")
    assert out.splitlines() == ["sandbox", "sandbox", "user:x:1000:1000:user:/home/user:/bin/sh", "generation"]
    kept = (small / "home/user/kept").stat()
    assert (kept.st_uid, kept.st_gid) == ((box.uid, box.gid) if box.is_user else (1000, 1000))
    assert list((small / "tmp").iterdir()) == [] and (small / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (small / "etc/hostname").read_text() == "of-the-directory\n"
    assert (small / "etc/passwd").read_text().count("\n") == 1
    assert inside(box, small, "ls /home/user", "--root-rw") == "kept\n"


def test_root_rw_as_root_inside(box, small):
    """uid 0 inside may change what is its own there."""
    inside(box, small, "echo changed >/etc/motd", "--root-rw", "--user", "root")
    st = (small / "etc/motd").stat()
    assert (st.st_uid, (small / "etc/motd").read_text()) == (box.uid, "changed\n")


# ---- options of mounts go on ----

@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "rw"])
def test_other_mounts(box, small, rw):
    shown, written, file = box.directory("shown"), box.directory("written"), box.file("copied\n", "c")
    box.own((shown / "s").parent)
    (shown / "s").write_text("shown\n")
    more = ["--root-rw"] if rw else []
    out = inside(box, small, "cat /mnt/s/s /opt/new/deep/c; touch /mnt/w/w /mnt/t/t && ls /mnt/w /mnt/t; touch /mnt/s/no || echo ro", *more,
                 "--ro", f"{shown}:/mnt/s", "--rw", f"{written}:/mnt/w", "--tmpfs", "/mnt/t", "--file", f"{file}:/opt/new/deep/c")
    assert out.split() == ["shown", "copied", "/mnt/t:", "t", "/mnt/w:", "w", "ro"]
    assert (written / "w").stat().st_uid == box.uid
    assert (small / "mnt").exists() == rw


@pytest.mark.root_only
def test_what_is_mounted_below_is_not_shown(box, small):
    """Somebody's chroot with the host's /proc and a secret still mounted in it."""
    place = small / "usr/share/doc"
    for as_user in (False, True):
        own_tree(box, small)
        argv = box.argv("run", "--root", small, "sh", "-c", "ls -A /usr/share/doc")
        if as_user:
            argv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *argv]
        done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c",
                               'mount -t tmpfs none "$0" && echo s >"$0/secret" && exec "$@"', place, *argv], capture_output=True, text=True,
                              env=box.environment({"CLEAVE_STATE": None}), timeout=60 * SLOW, check=False)
        assert "secret" not in done.stdout, done
        if as_user:
            assert done.returncode == 125 and "mounted below" in done.stderr, done
        else:
            assert done.stdout == "file\n", done


# ---- what can't be a root ----

@pytest.mark.parametrize("words,said", [
    (["--root", "/nonexistent/dir", "true"], "--root: open '/nonexistent/dir': No such file"),
    (["--root", "/etc/passwd", "true"], "Not a directory"),
    (["--root", "", "true"], "a directory"),
    (["--root-rw", "true"], "--root-rw needs"),
    (["--root", "host", "--root-rw", "true"], "--root-rw needs"),
    (["--root", "/usr", "--bin", "true", "true"], "--bin"),
])
def test_bad_roots(box, words, said):
    assert said in box.run(*words).refused()


def test_a_program_that_the_root_lacks(box, small):
    line = box.run("--root", small, "python3").refused(127)
    assert "python3" in line


def test_a_root_that_may_not_be_entered(box, small):
    """A private directory of somebody else's: nothing of it comes in."""
    if not box.is_user or os.geteuid() != 0:
        pytest.skip("root may enter every directory")
    os.chown(small, 0, 0)
    small.chmod(0o700)
    done = box.run("--root", small, "/bin/cat", "/etc/passwd")
    assert done.status in (125, 126, 127) and "root:x" not in done.out, done


@pytest.mark.host_only  # the VM lane has no development build
def test_a_kernel_without_marks_says_so(box, small):
    """tmpfs before Linux 6.6: the row that tries it fails as it would there."""
    done = box.run("--root", small, "true", dev=True, env={"CLEAVE_TEST_FAIL": "UPPER:95"})
    line = done.refused()
    assert "Linux 6.6" in line and "--root-rw" in line


def test_relative_directory(box, small):
    assert box.run("--root", f"./{small.name}", "id", "-u", cwd=small.parent).ok().out == "1000\n"
    assert box.run("--root", small.name, "id", "-u", cwd=small.parent).ok().out == "1000\n"
