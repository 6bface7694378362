# SPDX-License-Identifier: Apache-2.0
"""--ro, --rw, --tmpfs, --file, --workdir, --env, --user, --hostname: each does what it says and no more."""
import os
import subprocess

import pytest
from conftest import PYTHON, SLOW


def mountinfo():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return f.read()


# ---- --ro ----

def test_ro_shows_and_can_not_be_written(box):
    place = box.directory("ro")
    (place / "file").write_text("content\n")
    out = box.sh("cat /mnt/x/file; for c in 'echo >/mnt/x/new' 'echo >>/mnt/x/file' 'rm -f /mnt/x/file' 'chmod 777 /mnt/x/file' "
                 "'mkdir /mnt/x/d' 'touch /mnt/x/file' 'mv /mnt/x/file /mnt/x/g' 'ln -s a /mnt/x/l'; do "
                 "sh -c \"$c\" 2>/dev/null && echo \"worked: $c\"; done; true", "--ro", f"{place}:/mnt/x")
    assert out == "content\n"
    assert os.listdir(place) == ["file"]


def test_ro_at_the_same_path(box):
    path = box.file("here\n")
    assert box.sh(f"cat {path}; ls {path.parent}", "--ro", path) == f"here\n{path.name}\n"


def test_ro_of_a_tree_with_mounts_in_it_stays_read_only(box):
    """Recursive: what is mounted below is read-only too. /dev has such mounts on every host."""
    done = box.run("--ro", "/dev:/mnt/dev", "sh", "-c", "touch /mnt/dev/shm/x && echo worked; touch /mnt/dev/x && echo worked; true")
    assert "worked" not in done.out


def test_relative_paths_are_the_callers(box):
    place = box.directory("here")
    (place / "a").write_text("a\n")
    assert box.run("--ro", "a:/mnt/a", "--ro", "./a:/mnt/b", "cat", "/mnt/a", "/mnt/b", cwd=place).ok().out == "a\na\n"


def test_other_places_stay_out(box):
    place = box.directory("shown")
    (place / "out").symlink_to("../")
    (place / "abs").symlink_to("/etc/shadow")
    other = box.file("hidden\n")
    done = box.run("--ro", f"{place}:/mnt/x", "sh", "-c", f"ls /mnt/x/out/; cat /mnt/x/abs {other}")
    assert "hidden" not in done.out and "root:" not in done.out
    assert done.out.split() == ["x"], "the link leads to /mnt inside"


# ---- --rw ----

def test_rw_belongs_to_the_caller(box):
    place = box.directory("rw")
    box.sh("echo new >/mnt/x/new; mkdir /mnt/x/d; chmod 6755 /mnt/x/new; ls -ln /mnt/x | grep -c ' 1000 '", "--rw", f"{place}:/mnt/x")
    st = (place / "new").stat()
    assert (st.st_uid, st.st_gid) == (box.uid, box.gid)
    assert (place / "d").stat().st_uid == box.uid
    assert (place / "new").read_text() == "new\n"


def test_rw_here_is_the_working_directory(box):
    place = box.directory("here")
    assert box.run("--rw", ".", "sh", "-c", "pwd; echo x >made", cwd=place).ok().out == f"{place}\n"
    assert (place / "made").read_text() == "x\n"
    assert box.run("--rw", ".", "--workdir", "/tmp", "pwd", cwd=place).ok().out == "/tmp\n"


def test_rw_single_file(box):
    path = box.file("old\n")
    box.sh("cat /mnt/f; echo new >/mnt/f", "--rw", f"{path}:/mnt/f")
    assert path.read_text() == "new\n"


def test_rw_without_the_right_stays_without(box, differs):
    """Root's sandbox writes what the owner of the directory may; the user's never more than the caller."""
    place = box.directory("closed", 0o755)
    if os.geteuid() == 0:
        os.chown(place, 0, 0)
    done = box.run("--rw", f"{place}:/mnt/x", "sh", "-c", "echo x >/mnt/x/made")
    if differs and os.geteuid() == 0:
        assert done.status != 0 and os.listdir(place) == []
    else:
        assert done.status == 0 and os.listdir(place) == ["made"]


@pytest.mark.root_only
def test_files_of_another_owner_are_not_the_workloads(box):
    place = box.directory("mixed")
    other = place / "other"
    other.write_text("x")
    os.chown(other, 12345, 12345)
    other.chmod(0o600)
    done = box.run("--rw", f"{place}:/mnt/x", "sh", "-c", "cat /mnt/x/other; echo y >/mnt/x/other")
    assert done.status != 0 and done.out == ""
    assert other.read_text() == "x"


# ---- --tmpfs, --file ----

def test_tmpfs(box):
    out = box.sh("echo x >/opt/t/x; stat -f -c %T /opt/t; df -k --output=size /opt/t | tail -n 1; "
                 "dd if=/dev/zero of=/opt/t/big bs=64k 2>/dev/null || echo full; stat -c %u /opt/t", "--tmpfs", "/opt/t:2m")
    assert out.split() == ["tmpfs", "2048", "full", "1000"]


def test_tmpfs_on_top_of_usr_is_empty(box):
    assert box.sh("ls /usr/games | wc -l", "--tmpfs", "/usr/games") == "0\n"


def test_file(box):
    path = box.file("content\n", mode=0o600)
    out = box.sh("cat /mnt/a; stat -c '%a %u' /mnt/a /mnt/b; cat /opt/deep/er/c", "--file", f"{path}:/mnt/a",
                 "--file", f"{path}:/mnt/b:755", "--file", f"{path}:/opt/deep/er/c")
    assert out.split() == ["content", "644", "1000", "755", "1000", "content"]


def test_file_is_a_copy(box):
    path = box.file("before\n")
    box.sh("echo after >/home/user/f", "--file", f"{path}:/home/user/f")
    assert path.read_text() == "before\n"


def test_file_of_some_size(box):
    path = box.file(os.urandom(20 << 20))
    import hashlib
    out = box.sh("sha256sum </opt/f", "--file", f"{path}:/opt/f")
    assert out.split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_bin_of_the_caller(box):
    path = box.file("#!/bin/sh\necho ran $1\n", "tool", 0o755)
    assert box.run("--ro", f"{path}:/opt/tool", "/opt/tool", "x").ok().out == "ran x\n"


# ---- order, nesting ----

def test_mounts_on_top_of_each_other(box):
    a, b = box.directory("a"), box.directory("b")
    (a / "in").mkdir()
    box.own(a / "in")
    (a / "f").write_text("a\n"), (b / "f").write_text("b\n")
    out = box.sh("cat /mnt/a/f /mnt/a/in/f; touch /mnt/a/in/x 2>/dev/null && echo worked; touch /mnt/a/y && echo y",
                 "--rw", f"{a}:/mnt/a", "--ro", f"{b}:/mnt/a/in")
    assert out == "a\nb\ny\n"


def test_habits_of_other_tools(box):
    path = box.file("x\n")
    out = box.sh("cat /mnt/a /mnt/b /mnt/c; echo $A $B; pwd; id -u", "-v", f"{path}:/mnt/a:ro", "--ro-bind", path, "/mnt/b",
                 "--bind", path, "/mnt/c", "-e", "A=1", "-eB=2", "-w", "/tmp", "-u", "user", "--rm", "-i", "--network", "none")
    assert out == "x\nx\nx\n1 2\n/tmp\n1000\n"


# ---- the rest ----

def test_workdir(box):
    assert box.run("--workdir", "/tmp", "pwd").ok().out == "/tmp\n"
    assert box.run("--workdir", "/usr//lib/./", "pwd").ok().out == "/usr/lib\n"
    assert box.run("pwd").ok().out == "/home/user\n"


def test_env(box):
    env = {"FROM_CALLER": "yes", "SECRET": "no"}
    out = box.sh("echo $A-$B-$FROM_CALLER-$SECRET-$UNSET-$HOME", "--env", "A=1", "-e", "A=2", "-e", "B=x y", "-e", "FROM_CALLER",
                 "-e", "UNSET", "-e", "HOME=/tmp", env=env)
    assert out == "2-x y-yes---/tmp\n"


def test_env_file(box):
    path = box.file("# comment\n\nA=1\nFROM_CALLER\nB=with space\n")
    assert box.sh("echo $A $FROM_CALLER $B", "--env-file", path, env={"FROM_CALLER": "c"}) == "1 c with space\n"


def test_hostname(box):
    assert box.sh("hostname; cat /etc/hostname; getent hosts other.example >/dev/null && echo resolves", "--hostname",
                  "other.example") == "other.example\nother.example\nresolves\n"
    assert box.sh("hostname", "--name", f"named-{box.who}") == f"named-{box.who}\n"
    assert os.uname().nodename not in ("other.example", f"named-{box.who}")


# ---- the host afterwards ----

def busy(box):
    source = box.directory("src")
    (source / "in").mkdir()
    return ["--ro", f"{source}:/mnt/ro", "--rw", f"{source}:/mnt/rw", "--ro", f"{box.directory()}:/mnt/rw/in",
            "--tmpfs", "/opt/t"]


def test_no_mount_reaches_the_host(box):
    before = mountinfo()
    process = box.start(*busy(box), "sleep", "100")
    process.workload("sleep")
    assert mountinfo() == before, "while it runs"
    process.popen.terminate()
    process.wait()
    assert mountinfo() == before, "afterwards"


@pytest.mark.root_only
def test_no_mount_reaches_a_shared_tree(box):
    """Where / is shared, as systemd makes it: neither while it runs nor afterwards, nor in a peer."""
    argv = box.argv("run", *busy(box), "sh", "-c", "cat /proc/self/mountinfo | grep -c shared: >&2; echo up; read x")
    script = """
        before=$(cat /proc/self/mountinfo)
        mkfifo "$1/fifo"; dir=$1; shift
        exec 3<>"$dir/fifo"
        "$@" <&3 >"$dir/out" &
        while ! grep -q up "$dir/out" 2>/dev/null; do kill -0 $! || exit 9; sleep 0.05; done
        [ "$before" = "$(cat /proc/self/mountinfo)" ] || { echo changed while it ran; kill $!; exit 1; }
        echo >&3
        wait $! || { echo failed; exit 1; }
        [ "$before" = "$(cat /proc/self/mountinfo)" ] || { echo changed afterwards; exit 1; }
        echo unchanged"""
    host = mountinfo()
    done = subprocess.run(["unshare", "-m", "--propagation", "shared", "bash", "-c", script, "bash", str(box.directory()), *argv],
                          capture_output=True, text=True, env=box.environment(), timeout=60 * SLOW, check=False)
    assert done.stdout == "unchanged\n", done
    assert done.stderr == "0\n", done
    assert mountinfo() == host


def test_mounts_of_the_host_do_not_arrive_inside(box):
    """A later mount in what was bound stays with the host."""
    if box.uid != 0 or os.geteuid() != 0:
        return
    place = box.directory("late")
    (place / "at").mkdir()
    argv = box.argv("run", "--ro", f"{place}:/mnt/late", "sh", "-c", "echo up; read x; ls /mnt/late/at")
    script = """
        exec 3<>"$2"; place=$1; out=$3; shift 3
        "$@" <&3 >"$out" &
        while ! grep -q up "$out" 2>/dev/null; do kill -0 $! || exit 9; sleep 0.05; done
        mount -t tmpfs none "$place/at"; touch "$place/at/late"; echo >&3; wait $!; umount "$place/at" """
    fifo = box.directory() / "fifo"
    os.mkfifo(fifo)
    out = box.directory() / "out"
    done = subprocess.run(["unshare", "-m", "--propagation", "shared", "bash", "-c", script, "bash", str(place), str(fifo), str(out), *argv],
                          capture_output=True, text=True, env=box.environment(), timeout=60 * SLOW, check=False)
    assert done.returncode == 0, done
    assert out.read_text() == "up\n"


def test_two_at_once_from_one_directory(box):
    place = box.directory("both")
    processes = [box.start("--rw", f"{place}:/mnt/x", "sh", "-c", f"for i in $(seq 50); do echo {n} >>/mnt/x/log; done") for n in (1, 2)]
    assert [p.wait().status for p in processes] == [0, 0]
    assert sorted((place / "log").read_text().split()) == ["1"] * 50 + ["2"] * 50


def test_cleanup_of_many_files(box):
    """Deep directories, long names, many files: gone with the sandbox, in no time."""
    box.run("--disk", "512m,inodes=60000", PYTHON, "-c", """if True:
        import os
        os.chdir('/tmp')
        for i in range(300): os.mkdir('d' * 200); os.chdir('d' * 200)
        os.chdir('/tmp')
        for i in range(20000): open(f'f{i}', 'w').close()""").ok()


def test_file_below_a_directory_of_the_caller(box):
    """Its mount knows one id inside, the workload's; what is made on the way is the caller's outside."""
    place, given = box.directory(), box.file("given\n")
    out = box.sh("cat /mnt/sub/f /mnt/g; stat -c %u /mnt/sub/f /mnt/sub; echo more >>/mnt/sub/f", "--rw", f"{place}:/mnt",
                 "--file", f"{given}:/mnt/sub/f", "--file", f"{given}:/mnt/g")
    assert out == "given\ngiven\n1000\n1000\n"
    assert (place / "sub/f").read_text() == "given\nmore\n"
    assert {p.stat().st_uid for p in (place / "sub", place / "sub/f", place / "g")} == {box.uid}
