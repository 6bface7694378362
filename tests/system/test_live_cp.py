# SPDX-License-Identifier: Apache-2.0
"""cp and diff of living sandboxes: where files land, whose they are, and hostile trees inside.

Each hostile case is tried against the program here and, with every race and bound, against the engine in
tests/unit/engine_copy.c.
"""
import base64
import io
import json
import os
import resource
import stat
import tarfile
import time

import pytest

from live import PYTHON, live, poll  # noqa: F401

TERABYTE = 1 << 40


@pytest.fixture
def here(box):
    """The working directory of the copies."""
    return box.directory()


@pytest.fixture
def sandbox(live):
    return live.start()


def cp(live, here, source, target, **more):
    return live.call("cp", source, target, cwd=here, **more)


def python(live, name, code, **more):
    return live.exec(name, PYTHON, "-c", code, **more).ok().out


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_round_trip(live, sandbox, here):
    (here / "tree").mkdir()
    (here / "tree/program").write_text("#!/bin/sh\necho it runs\n")
    (here / "tree/program").chmod(0o755)
    (here / "tree/link").symlink_to("program")
    live.box.own(here / "tree", here / "tree/program", here / "tree/link")
    assert cp(live, here, "tree", f"{sandbox}:/home/user").ok().out == ""
    assert live.execsh(sandbox, "tree/link; stat -c '%u %g %a' tree tree/program") \
        == "it runs\n1000 1000 755\n1000 1000 755\n"
    live.execsh(sandbox, "echo more > tree/new; chmod 640 tree/new")
    cp(live, here, f"{sandbox}:/home/user/tree", "back").ok()
    assert (here / "back/new").read_text() == "more\n" and mode(here / "back/new") == 0o640
    assert os.readlink(here / "back/link") == "program"
    for path in [here / "back", *(here / "back").iterdir()]:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (live.box.uid, live.box.gid)


def test_where_it_lands(live, sandbox, here):
    live.execsh(sandbox, "mkdir d; echo one > d/f")
    cp(live, here, f"{sandbox}:/home/user/d/f", "new").ok()
    cp(live, here, f"{sandbox}:/home/user/d", "new-d").ok()
    cp(live, here, f"{sandbox}:/home/user/d", "new-d").ok()
    cp(live, here, f"{sandbox}:/home/user/d/.", "flat").ok()
    assert sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()) \
        == ["flat/f", "new", "new-d/d/f", "new-d/f"]
    for source, target, word in [(f"{sandbox}:/home/user/d", "new", "Not a directory"),
                                 (f"{sandbox}:/no/such", "x", "No such file"),
                                 (f"{sandbox}:/home/user/d/f", "missing/", "No such file"),
                                 ("missing", f"{sandbox}:/tmp", "No such file"),
                                 ("new", f"{sandbox}:/usr/x", "denied|Read-only"),
                                 ("new", "x", "inside a sandbox"),
                                 (f"{sandbox}:/tmp", f"{sandbox}:/x", "inside a sandbox"),
                                 (f"{sandbox}:tmp", "x", "begins with a slash"),
                                 ("-", "x", "inside a sandbox")]:
        assert any(w in cp(live, here, source, target).refused() for w in word.split("|"))
    assert "no_such" in cp(live, here, "no_such:/tmp", "x").refused()


def test_tar_both_ways(live, sandbox, here):
    live.execsh(sandbox, "mkdir -p d/e; echo one > d/f; ln d/f d/e/same; ln -s ../f d/e/l; chmod 4755 d/f")
    done = cp(live, here, f"{sandbox}:/home/user/d", "-").ok()
    with tarfile.open(fileobj=io.BytesIO(done.out_bytes)) as tar:
        members = {m.name: m for m in tar}
        assert sorted(members) == ["d", "d/e", "d/e/l", "d/e/same", "d/f"]
        assert {(m.uid, m.gid) for m in members.values()} == {(live.box.uid, live.box.gid)}
        assert tar.extractfile("d/e/same").read() == b"one\n"
        assert members["d/f"].mode == members["d/e/same"].mode == 0o755
    name = live.start()
    cp(live, here, "-", f"{name}:/tmp", input=done.out_bytes).ok()
    assert live.execsh(name, "cat /tmp/d/e/same; readlink /tmp/d/e/l; stat -c '%h %U' /tmp/d/f") \
        == "one\n../f\n2 user\n"
    assert "compressed" in cp(live, here, "-", f"{name}:/tmp", input=b"\x1f\x8b\x08" + bytes(600)).refused()
    cp(live, here, "-", f"{name}:/tmp", input=done.out_bytes[:700]).refused()
    cp(live, here, "-", f"{name}:/no/such", input=done.out_bytes).refused()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_of_others(live, sandbox, here, form):
    long_name = "d/" + "n" * 98 + "/" + ("m" * 120 if form != tarfile.USTAR_FORMAT else "m")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        info = tarfile.TarInfo(long_name)
        info.size, info.mode, info.uid, info.mtime = 5, 0o4711, 0, 1_000_000_000
        tar.addfile(info, io.BytesIO(b"hello"))
        device = tarfile.TarInfo("d/null")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(device)
    done = cp(live, here, "-", f"{sandbox}:/tmp", input=stream.getvalue()).ok()
    assert "d/null" in done.err
    assert live.execsh(sandbox, f"cat /tmp/{long_name}; stat -c ' %a %U %Y' /tmp/{long_name}; ls /tmp/d") \
        == f"hello 711 user 1000000000\n{'n' * 98}\n"


@pytest.mark.parametrize("evil", ["../out", "/../out", "d/../../out", "link/out"])
def test_tar_that_leads_out(live, sandbox, here, evil):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/home/user"
        tar.addfile(link)
        info = tarfile.TarInfo(evil)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    assert "out" in cp(live, here, "-", f"{sandbox}:/tmp", input=stream.getvalue()).refused()
    assert live.execsh(sandbox, "find / -name out 2>/dev/null || true") == ""


# ---- hostile trees ----

def test_symlink(live, sandbox, here):
    """A link inside leads to places inside; none on the host is followed."""
    secret = live.box.file("of the host", name="secret")
    live.execsh(sandbox, f"ln -s {secret} l; ln -s {secret.parent} d; ln -s / root; mkdir e; "
                         "ln -s ../../../../../../etc/passwd e/l")
    cp(live, here, f"{sandbox}:/home/user/d/secret", "x").refused()
    cp(live, here, f"{sandbox}:/home/user/root/../../../etc/hostname", "name").ok()
    assert (here / "name").read_text() == f"{sandbox}\n"
    cp(live, here, f"{sandbox}:/home/user", "home").ok()
    assert os.readlink(here / "home/l") == str(secret) and (here / "home/e/l").is_symlink()
    cp(live, here, f"{sandbox}:/home/user/e/l", "home/l").refused()
    assert secret.read_text() == "of the host"
    (here / "planted").symlink_to(secret.parent)
    assert "symbolic link" in cp(live, here, f"{sandbox}:/etc/passwd", "planted/secret").refused()
    assert "symbolic link" in cp(live, here, f"{sandbox}:/etc/passwd", "planted").refused()
    assert "symbolic link" in cp(live, here, "planted/secret", f"{sandbox}:/tmp").refused()
    assert secret.read_text() == "of the host" and len(list(secret.parent.iterdir())) == 1


def test_links_that_a_sandbox_plants_on_the_host(live, here):
    """With --rw it writes where we copy to."""
    target, outside = live.box.directory("rw"), live.box.directory("outside")
    name = live.start("--rw", f"{target}:/out")
    live.execsh(name, f"ln -s {outside} /out/d; ln -s {outside}/f /out/f; echo x > f; mkdir d; echo y > d/g")
    assert cp(live, here, f"{name}:/home/user/f", target / "f").refused()
    cp(live, here, f"{name}:/home/user/d", target).refused()
    cp(live, target, f"{name}:/home/user/.", ".").refused()
    assert list(outside.iterdir()) == []
    live.execsh(name, "rm /out/d")
    cp(live, target, f"{name}:/home/user/.", ".").ok()
    assert not (target / "f").is_symlink() and (target / "d/g").read_text() == "y\n"
    assert list(outside.iterdir()) == []


SWAP = """
import ctypes, os
os.makedirs("/tmp/d/x"); os.symlink("%s", "/tmp/evil"); open("/tmp/d/x/f", "w").write("inside")
swap = ctypes.CDLL(None).renameat2
while True:
    swap(-100, b"/tmp/d/x", -100, b"/tmp/evil", 2)
"""


def test_racing_rename(live, here):
    outside = live.box.file("of the host", name="f").parent
    name = live.start(command=[PYTHON, "-c", SWAP % outside])
    poll(lambda: live.exec(name, "test", "-L", "/tmp/evil").status == 0, what="the race")
    (here / "f").write_text("new")
    seen = set()

    def both():
        target = f"o{len(list(here.iterdir()))}"
        cp(live, here, f"{name}:/tmp/d", target)
        copied = here / target / "x"
        seen.add("link" if copied.is_symlink() else "directory" if copied.is_dir() else "gone")
        assert copied.is_symlink() or not (copied / "f").exists() or (copied / "f").read_text() != "of the host"
        cp(live, here, f"{name}:/tmp/d/x/f", f"{target}-f")
        assert not (here / f"{target}-f").exists() or (here / f"{target}-f").read_text() != "of the host"
        cp(live, here, "f", f"{name}:/tmp/d/x/f")
        assert (outside / "f").read_text() == "of the host"
        return {"link", "directory"} <= seen
    poll(both, seconds=30, what="a copy of either")


def test_devices_fifos_sockets(live, sandbox, here):
    python(live, sandbox, "import os, socket\nos.makedirs('d'); os.mkfifo('d/p')\n"
           "socket.socket(socket.AF_UNIX).bind('d/s'); open('d/f', 'w').write('x')")
    begin = time.monotonic()
    done = cp(live, here, f"{sandbox}:/home/user/d", ".").ok()
    assert done.err.count("\n") == 1 and "skipped" in done.err and ("fifo" in done.err or "socket" in done.err)
    assert [p.name for p in (here / "d").iterdir()] == ["f"]
    assert "fifo" in cp(live, here, f"{sandbox}:/home/user/d/p", "p").refused()
    assert "device" in cp(live, here, f"{sandbox}:/dev/zero", "z").refused()
    assert "device" in cp(live, here, f"{sandbox}:/dev/zero", "-").refused()
    assert "kernel" in cp(live, here, f"{sandbox}:/proc/version", "v").refused()
    assert "kernel" in cp(live, here, f"{sandbox}:/proc", "v").refused()
    cp(live, here, "d/f", f"{sandbox}:/dev/null").refused()
    cp(live, here, "d/f", f"{sandbox}:/proc/1/oom_score_adj").refused()
    assert time.monotonic() - begin < 30
    os.mkfifo(here / "fifo")
    cp(live, here, f"{sandbox}:/home/user/d/f", "fifo").refused()
    assert stat.S_ISFIFO(os.lstat(here / "fifo").st_mode)


def test_sparse_terabyte(live, sandbox, here):
    python(live, sandbox, f"f = open('big', 'wb'); f.truncate({TERABYTE}); f.seek(1 << 39); f.write(b'mid')")
    begin = time.monotonic()
    cp(live, here, f"{sandbox}:/home/user/big", "big").ok()
    done = cp(live, here, f"{sandbox}:/home/user/big", "-").ok()
    cp(live, here, "big", f"{sandbox}:/tmp/in").ok()
    cp(live, here, "-", f"{sandbox}:/var/tmp", input=done.out_bytes).ok()
    assert time.monotonic() - begin < 20
    assert len(done.out_bytes) < 1 << 20
    with tarfile.open(fileobj=io.BytesIO(done.out_bytes)) as tar:
        assert tar.next().size == TERABYTE
    found = os.stat(here / "big")
    assert found.st_size == TERABYTE and found.st_blocks < 1024
    with open(here / "big", "rb") as f:
        f.seek(1 << 39)
        assert f.read(3) == b"mid"
    assert python(live, sandbox, "import os\nfor p in '/tmp/in', '/var/tmp/big':\n s = os.stat(p); f = open(p, 'rb')\n"
                  " f.seek(1 << 39); print(s.st_size, s.st_blocks < 1024, f.read(3))") \
        == f"{TERABYTE} True b'mid'\n" * 2


@pytest.mark.slow
def test_100000_files(live, sandbox, here):
    python(live, sandbox, "import os\nos.mkdir('d')\nfor i in range(100000): os.close(os.open(f'd/{i}', 64))",
           timeout=120)
    cp(live, here, f"{sandbox}:/home/user/d", ".", timeout=120).ok()
    assert len(os.listdir(here / "d")) == 100000
    live.execsh(sandbox, "rm -r d")
    cp(live, here, "d", f"{sandbox}:/home/user", timeout=120).ok()
    assert python(live, sandbox, "import os; print(len(os.listdir('d')))") == "100000\n"


@pytest.mark.slow
def test_100000_files_as_tar(live, sandbox, here):
    python(live, sandbox, "import os\nos.mkdir('d')\nfor i in range(100000): os.close(os.open(f'd/{i}', 64))",
           timeout=120)
    stream = here / "stream"
    with open(stream, "wb") as out:
        cp(live, here, f"{sandbox}:/home/user/d", "-", stdout=out, timeout=120).ok()
    live.execsh(sandbox, "rm -r d")
    with open(stream, "rb") as back:
        cp(live, here, "-", f"{sandbox}:/home/user", stdin=back, timeout=120).ok()
    assert python(live, sandbox, "import os; print(len(os.listdir('d')))") == "100000\n"


def test_set_id_bits(live, sandbox, here):
    live.execsh(sandbox, "cp /usr/bin/env e; chmod 6755 e; mkdir d; chmod 7777 d; "
                         "setfattr -n user.a -v b e 2>/dev/null || true")
    cp(live, here, f"{sandbox}:/home/user", "home").ok()
    assert mode(here / "home/e") == 0o755 and mode(here / "home/d") & 0o7000 == 0
    assert os.listxattr(here / "home/e") == []
    (here / "home/e").chmod(0o6755)
    cp(live, here, "home/e", f"{sandbox}:/tmp").ok()
    assert live.execsh(sandbox, "stat -c %a /tmp/e") == "755\n"


def test_odd_names(live, sandbox, here):
    names = [b"line\nbreak", b"\xff\xfe not utf-8", b"-rf", b" ", b"quote'\"\\", b"\x1b[31m", b"\xfe" * 255]
    python(live, sandbox, f"import os\nos.mkdir('d')\nfor n in {names!r}: open(b'd/' + n, 'wb').write(n)")
    cp(live, here, f"{sandbox}:/home/user/d", ".").ok()
    stream = cp(live, here, f"{sandbox}:/home/user/d", "-").ok().out_bytes
    cp(live, here, "-", f"{sandbox}:/tmp", input=stream).ok()
    cp(live, here, "d", f"{sandbox}:/var/tmp").ok()
    for n in names:
        with open(os.path.join(os.fsencode(here), b"d", n), "rb") as f:
            assert f.read() == n
    assert python(live, sandbox, f"for n in {names!r}:\n for d in b'/tmp/d/', b'/var/tmp/d/':\n"
                  "  assert open(d + n, 'rb').read() == n\nprint('same')") == "same\n"
    live.execsh(sandbox, "mkfifo 'a\nb\x1b[31m'")
    err = cp(live, here, f"{sandbox}:/home/user", "home").ok().err
    assert err.count("\n") == 1 and "\x1b" not in err


def test_many_names_of_one_file(live, sandbox, here):
    python(live, sandbox, "import os\nos.mkdir('d'); f = open('d/0', 'wb'); f.write(bytes(range(256)) * 4096)\n"
           "for i in range(1, 300): os.link('d/0', f'd/{i}')")
    cp(live, here, f"{sandbox}:/home/user/d", ".").ok()
    assert os.stat(here / "d/7").st_nlink == 300
    assert len(cp(live, here, f"{sandbox}:/home/user/d", "-").ok().out_bytes) < 2 << 20


def test_full_disks(live, here):
    """A target without room: a sentence, no half of a file, and what is there stays."""
    name = live.start("--disk", "4M")
    (here / "big").write_bytes(b"x" * (8 << 20))
    live.box.own(here / "big")
    assert "No space left" in cp(live, here, "big", f"{name}:/tmp/big").refused()
    assert live.execsh(name, "ls -A /tmp") == ""
    live.execsh(name, "head -c 2m /dev/zero > f 2>/dev/null || true; head -c 2000000 /dev/urandom > f")
    done = cp(live, here, f"{name}:/home/user/f", "f",
              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert done.status != 0


def test_paused_and_ended(live, sandbox, here):
    live.execsh(sandbox, "echo kept > f")
    live.call("pause", sandbox).ok()
    cp(live, here, f"{sandbox}:/home/user/f", "f").ok()
    assert (here / "f").read_text() == "kept\n"
    live.call("resume", sandbox).ok()
    live.call("stop", sandbox).ok()
    cp(live, here, f"{sandbox}:/home/user/f", "g").refused()
    live.call("diff", sandbox).refused()


@pytest.mark.root_only
def test_root_borrows_no_rights(live, here):
    """Root's copy has the workload's rights: what it may not read or write inside, the copy may not."""
    shared = live.box.directory("ro")
    (shared / "private").write_text("of another user")
    os.chown(shared / "private", 12345, 12345)
    (shared / "private").chmod(0o600)
    name = live.start("--ro", f"{shared}:/data")
    assert live.exec(name, "cat", "/data/private").status == 1
    live.execsh(name, "ln -s /data/private l; ln -s /data d")
    for path in "/data/private", "/home/user/l/", "/home/user/d/private":
        cp(live, here, f"{name}:{path}", "x").refused()
        assert not (here / "x").exists()


# ---- diff ----

def lines(live, name):
    return {row["path"]: row for row in json.loads(live.call("diff", "--json", name).ok().out)}


def test_diff(live):
    name = live.start("--tmpfs", "/scratch")
    assert lines(live, name) == {}
    live.execsh(name, "mkdir -m 700 d; echo abc > d/f; chmod 4640 d/f; ln -s x /tmp/l; mkfifo /dev/shm/p; "
                      "echo 12 > /scratch/s; echo > /var/tmp/v")
    found = lines(live, name)
    assert sorted(found) == ["/dev/shm/p", "/home/user/d", "/home/user/d/f", "/scratch/s", "/tmp/l", "/var/tmp/v"]
    assert found["/home/user/d/f"] == {"path": "/home/user/d/f", "type": "file", "size": 4, "mode": 0o4640}
    assert [found[p]["type"] for p in ("/home/user/d", "/tmp/l", "/dev/shm/p")] == ["directory", "symlink", "fifo"]
    table = live.call("diff", name).ok().out.splitlines()
    assert len(table) == 1 + len(found) and table[0].split() == ["TYPE", "MODE", "SIZE", "PATH"]
    live.execsh(name, "rm -r d /tmp/l /dev/shm/p /scratch/s /var/tmp/v")
    assert lines(live, name) == {}


def test_diff_of_odd_names(live, sandbox):
    python(live, sandbox, "import os\nos.mkdir(b'\\xff'); open(b'\\xff/\\n', 'w'); open('a\\nb', 'w')")
    found = lines(live, sandbox)
    raw = {base64.b64decode(p) if r.get("path_encoding") == "base64" else p.encode() for p, r in found.items()}
    assert raw == {b"/home/user/\xff", b"/home/user/\xff/\n", b"/home/user/a\nb"}
    assert len(live.call("diff", sandbox).ok().out.splitlines()) == 4


def test_diff_leaves_the_host_out(live):
    shared = live.box.directory("rw")
    (shared / "theirs").write_text("x")
    name = live.start("--rw", f"{shared}:/home/user/shared")
    live.execsh(name, "echo x > shared/new; echo y > own; mkdir sealed; echo z > sealed/f; chmod 0 sealed")
    done = live.call("diff", name)
    assert "/home/user/own" in done.out and "/home/user/sealed" in done.out and "shared/" not in done.out
    assert done.status == 125 and "sealed" in done.err  # what can't be looked into is named
