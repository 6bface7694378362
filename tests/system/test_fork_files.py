# SPDX-License-Identifier: Apache-2.0
"""The files of a clone: those that stood in the sandbox at the very moment, and nobody else's afterwards."""
import json
import struct

import pytest

from conftest import rounds
from forks import WRITER, forks, poll  # noqa: F401
from roots import listing, make_system, need, own_tree, root_options


@pytest.fixture(params=["host", "dir"])
def root_kind(request, box):
    """The places of the disk, or an overlay over a directory and its places."""
    box.extra = root_options(box, request.param)
    yield request.param
    box.extra = ()


# What is below the writable places: everything that a program could see of it.
MANIFEST = r"""
def manifest(*tops):
    out, inodes = {}, {}
    def look(path):
        st = os.lstat(path)
        key = path.decode('utf-8', 'surrogateescape').encode('unicode_escape', 'surrogatepass').decode()
        row = [stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_size if not stat.S_ISDIR(st.st_mode) else 0]
        if not stat.S_ISFIFO(st.st_mode):
            row.append(st.st_mtime_ns)
        if stat.S_ISREG(st.st_mode):
            row += [st.st_nlink, st.st_blocks, sorted(inodes.setdefault(st.st_ino, [key]))[0]]
            try:
                row.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
            except PermissionError:
                row.append('closed')
        if stat.S_ISLNK(st.st_mode):
            row.append(repr(os.readlink(path)))
        out[key] = row
        if stat.S_ISDIR(st.st_mode):
            try:
                for name in sorted(os.listdir(path)):
                    look(path + b'/' + name)
            except PermissionError:
                row.append('closed')
    for top in tops or (b'/home/user', b'/tmp', b'/var/tmp', b'/dev/shm'):
        look(top)
    return out
"""

MAKE = r"""
def put(path, data, mode=0o644):
    with open(path, 'wb') as f:
        f.write(data)
    os.chmod(path, mode)

def make():
    os.umask(0)
    os.chdir('/home/user')
    put('plain', b'text\n'); put('empty', b''); put('big', os.urandom(3 << 20)); put('closed', b'secret', 0)
    put('run-me', b'#!/bin/sh\n', 0o755); put('set-id', b'x', 0o6755)
    for name in (b'new\nline', b'back\\slash', b'not utf-8 \xff\xfe', b'-rf', b' ', b'*', b'...', b'n' * 255, 'ümläut'.encode()):
        put(name, name)
    for i in range(3):
        os.link('plain', '/home/user/link%d' % i)
    os.mkdir('/tmp/deep'); os.mkdir('sub'); os.link('/home/user/big', '/home/user/sub/big2')
    os.symlink('plain', 'soft'); os.symlink('/nowhere/at/all', 'dangling'); os.symlink('t' * 4000, 'long')
    os.symlink('..', '/tmp/deep/up'); os.link('soft', 'soft2', follow_symlinks=False)
    os.mkfifo('fifo', 0o640)
    with open('sparse', 'wb') as f:
        f.seek(10 << 20); f.write(b'end'); f.truncate(30 << 20)
        f.seek(5 << 20); f.write(b'middle')
    with open('hole', 'wb') as f:
        f.truncate(10 << 20)
    os.mkdir('sticky', 0o1777); os.mkdir('shut', 0o700); put('shut/in', b'in'); os.mkdir('none'); put('none/in', b'x'); os.mkdir('no-search'); put('no-search/in', b'x'); os.mkdir('no-list'); put('no-list/in', b'x')
    d = '/tmp/deep'
    for i in range(60):
        d += '/d'
        os.mkdir(d)
    put(d + '/bottom', b'bottom')
    for where in ('/dev/shm', '/var/tmp', '/tmp'):
        put(where + '/here', where.encode())
    os.utime('plain', ns=(1, 10**18 + 123456789)); os.utime('empty', ns=(5, -10**9))
    os.utime('soft', ns=(7, 77 * 10**9 + 7), follow_symlinks=False); os.utime('sticky', ns=(3, 3333333333))
    os.utime('/home/user', ns=(9, 9 * 10**9)); os.chmod('none', 0); os.chmod('no-search', 0o600); os.chmod('no-list', 0o300)
"""


def test_everything(root_kind, forks):
    a = forks.program(MANIFEST + MAKE + "make()")
    before = forks.ask(a, "manifest()")
    assert len(before) > 100
    clones = forks.fork(a, "-n", "2")
    for name in clones:
        after = forks.ask(name, "manifest()")
        assert {k: (after.get(k), v) for k, v in before.items() if after.get(k) != v} == {}
        assert set(after) == set(before)
    assert forks.ask(a, "manifest()") == before
    grand, = forks.fork(clones[0])
    assert forks.ask(grand, "manifest()") == before
    assert forks.ask(grand, "[os.rename('/home/user/plain', '/home/user/p2'), os.unlink('/home/user/link0'), "
                            "os.chmod('/home/user/none', 0o700), os.unlink('/home/user/none/in')]") == [None] * 4
    assert forks.ask(clones[0], "manifest()") == before


def test_snapshot_keeps_them(root_kind, forks):
    a = forks.program(MANIFEST + MAKE + "make()")
    before = forks.ask(a, "manifest()")
    forks.call("snapshot", "--stop", a, "s").ok()
    for name in forks.fork("s", "-n", "2"):
        assert forks.ask(name, "manifest()") == before


def test_written_apart(root_kind, forks):
    a = forks.program("open('/tmp/f', 'w').write('one')\nf = open('/tmp/f', 'r+')")
    b, c = forks.fork(a, "-n", "2")
    for name, text in ((a, "AA"), (b, "BBB"), (c, "CCCC")):
        assert forks.ask(name, f"[f.seek(0), f.write({text!r}), f.flush(), os.mkdir('/tmp/{name}')][1]") == len(text)
    assert forks.ask_all([a, b, c], "open('/tmp/f').read()") == ["AAe", "BBB", "CCCC"]
    for name in (a, b, c):
        assert forks.ask(name, "[d for d in os.listdir('/tmp') if os.path.isdir('/tmp/' + d)]") == [name]
        assert forks.execsh(name, "ls -d /tmp/*/") == f"/tmp/{name}/\n"


def test_files_that_could_not_be_opened_again(root_kind, forks):
    """Opened first, closed by their modes then: what git and tar do with what they write."""
    a = forks.program("""
f, g = open('/tmp/f', 'w+'), open('/tmp/g', 'w+')
for x, mode in ((f, 0o444), (g, 0)):
    x.write('one')
    x.flush()
    os.chmod(x.name, mode)
    os.utime(x.name, ns=(1, 2))
def look():
    return [[oct(os.stat(x.name).st_mode), os.stat(x.name).st_mtime_ns, x.seek(0), x.read()] for x in (f, g)]
""")
    b, c = forks.fork(a, "-n", "2")
    want = [["0o100444", 2, 0, "one"], ["0o100000", 2, 0, "one"]]
    assert forks.ask_all([a, b, c], "look()") == [want] * 3
    for name in (a, b, c):
        assert forks.ask(name, f"[f.write('+{name}'), g.write('-{name}'), f.flush(), g.flush()][0]") == len(name) + 1
    for name in (a, b, c):
        assert [row[3] for row in forks.ask(name, "look()")] == [f"one+{name}", f"one-{name}"]


def test_a_file_of_the_host_that_could_not_be_opened_again(forks):
    """Its mode is the host's, which no clone changes; and the clone opens it with the workload's rights alone."""
    shown = forks.box.directory("shown", 0o777)
    a = forks.program("f = open('/h/f', 'w+')\nos.chmod('/h/f', 0)", "--rw", f"{shown}:/h")
    line = forks.call("fork", a, "b").refused()
    assert "Permission denied" in line, line
    assert forks.ask(a, "[f.write('goes on'), f.flush()][0]") == 7
    assert (shown / "f").stat().st_mode == 0o100000


def test_a_directory_that_could_not_be_opened_again(forks):
    """Refused, and its mode is what it was: nothing of a failed clone is seen."""
    shown = forks.box.directory("shown", 0o777)
    setup = "os.mkdir('/h/d')\nd = os.open('/h/d', os.O_RDONLY)\nos.chmod('/h/d', 0o300)"
    a = forks.program(setup, "--rw", f"{shown}:/h")
    line = forks.call("fork", a, "b").refused()
    assert "Permission denied" in line, line
    assert (shown / "d").stat().st_mode == 0o40300


def test_a_thousand_files(forks):
    a = forks.program("""
for i in range(40):
    os.mkdir('/tmp/%d' % i)
    for j in range(25):
        open('/tmp/%d/%d' % (i, j), 'w').write('%d %d' % (i, j))
def check():
    return sum(open('/tmp/%d/%d' % (i, j)).read() == '%d %d' % (i, j) for i in range(40) for j in range(25))
""")
    answer = forks.fork_json(a, "b")
    assert answer["files"]["files"] == 1041
    assert forks.ask("b", "check()") == 1000
    assert forks.ask("b", "__import__('shutil').rmtree('/tmp/7')") is None
    assert forks.ask(a, "check()") == 1000


def test_files_and_memory_are_of_one_moment(root_kind, forks):
    """A thread checks in each round that the files are what memory says, and it goes on in each clone."""
    a = forks.program(r"""
wrong, n, run = [], 0, True
names = ['/tmp/a', '/dev/shm/b', '/home/user/c']
for path in names: open(path, 'w').write('0')
def work():
    global n
    while run:
        seen = [open(path).read() for path in names]
        if seen != [str(n)] * 3 or os.path.exists('/tmp/gone%d' % (n - 1)): wrong.append([n, seen])
        open('/tmp/gone%d' % n, 'w').close()
        for path in names:
            with open(path + '.new', 'w') as f: f.write(str(n + 1))
        for path in names: os.rename(path + '.new', path)
        os.unlink('/tmp/gone%d' % n)
        n += 1
thread = threading.Thread(target=work, daemon=True); thread.start()
def rounds():
    before, end = n, time.monotonic() + 20
    while n < before + 3 and time.monotonic() < end: time.sleep(0.005)
    return [n > before, wrong]
""")
    for i in range(6):
        name, = forks.fork(a, f"c{i}")
        assert forks.ask(name, "rounds()") == [True, []]
        if i == 2:
            assert forks.fork("c2", "grand") == ["grand"]
            assert forks.ask("grand", "rounds()") == [True, []]
        assert forks.ask(a, "rounds()") == [True, []]


def test_what_is_written_between_the_two_passes(forks):
    a = forks.program(WRITER)
    still = forks.ask(a, "still()")
    for i in range(rounds(20)):
        answer = forks.fork_json(a, f"c{i}")
        files = answer["files"]
        assert files["ahead_bytes"] >= 24 << 20 and files["ahead_ns"] > 0, files
        assert files["bytes"] > files["ahead_bytes"], "nothing was being written"
        assert forks.ask(f"c{i}", "check()") == [], answer
        assert forks.ask(f"c{i}", "still()") == still
        forks.hang_up(f"c{i}")
        forks.call("rm", "-f", f"c{i}").ok()
    assert forks.ask(a, "check()") == [] and all(forks.ask(a, "count"))


def test_first_copies_that_are_not_true_are_dropped(forks):
    """What a file held before the moment is not in the snapshot, though it was copied."""
    a = forks.program(WRITER)
    dropped = 0
    for i in range(20):  # on a busy machine nothing may be written between the passes: until it was
        forks.call("snapshot", a, f"s{i}").ok()
        layer = (forks.box.state / f"snapshots/s{i}/layer").read_bytes()
        _, _, _, used, _, _, _, records, _, end = struct.unpack_from("=10Q", layer)  # struct layer_header
        pages = [layer[at:at + 4096] for at in range(80, records, 4096)]
        assert end == len(layer) and records >= 80 + used
        assert sum(4096 for page in pages if page.count(0) < len(page)) <= used + 100 * 4096  # each file has two pages in part
        dropped += records - 80 - used
        if dropped > 1 << 20:
            break
    assert dropped > 1 << 20


def test_a_second_pass_alone(root_kind, forks):
    """Where the workload closes its files to itself, and below an overlay, all is copied at the moment itself."""
    a = forks.program("""
os.mkdir('/tmp/closed'); open('/tmp/closed/f', 'wb').write(os.urandom(1 << 20)); open('/tmp/g', 'wb').write(os.urandom(1 << 20))
os.chmod('/tmp/g', 0); os.chmod('/tmp/closed', 0)
def look():
    os.chmod('/tmp/g', 0o600); os.chmod('/tmp/closed', 0o700)
    return [hashlib.sha256(open(p, 'rb').read()).hexdigest() for p in ('/tmp/g', '/tmp/closed/f')]
""")
    assert forks.fork_json(a, "b")["files"]["bytes"] >= 2 << 20
    assert forks.ask("b", "look()") == forks.ask(a, "look()")


def test_binds_are_shared_and_not_copied(forks, box):
    rw, ro = box.directory("rw"), box.directory("ro")
    box.file("x" * (1 << 20), "large", directory=rw)
    box.file("read\n", "r", directory=ro)
    one = box.file("one\n", "one")
    a = forks.program("os.mkdir('/home/user/mine')\nopen('/home/user/mine/f', 'w').write('f')\n"
                      "f = open('/home/user/rw/from-source', 'w+'); f.write('abc'); f.flush()",
                      "--rw", f"{rw}:/home/user/rw", "--ro", f"{ro}:/home/user/ro", "--rw", f"{one}:/home/user/one")
    answer = forks.fork_json(a, "b")
    assert answer["files"]["bytes"] < 1 << 20
    assert forks.ask("b", "[f.write('d'), f.flush(), open('/home/user/rw/from-clone', 'w').write('clone'), "
                          "open('/home/user/one', 'w').write('two'), open('/home/user/ro/r').read(), "
                          "open('/home/user/mine/f').read()]") == [1, None, 5, 3, "read\n", "f"]
    assert forks.ask(a, "[open('/home/user/rw/' + n).read() for n in ('from-source', 'from-clone')]") == ["abcd", "clone"]
    assert (rw / "from-clone").read_text() == "clone" and one.read_text() == "two"
    assert (rw / "from-clone").stat().st_uid == box.uid
    assert "Read-only" in forks.ask("b", "open('/home/user/ro/r', 'w')")


def test_copies_and_tmpfs(forks, box):
    given = box.file("given\n", "given")
    a = forks.program("open('/mnt/t/f', 'w').write('in tmpfs')\nopen('/home/user/given', 'a').write('changed\\n')\n"
                      "os.unlink('/home/user/second')",
                      "--file", f"{given}:/home/user/given", "--file", f"{given}:/home/user/second",
                      "--file", f"{given}:/etc/given", "--tmpfs", "/mnt/t:1m", "--tmpfs", "/home/user/below:1m")
    forks.ask(a, "open('/home/user/below/g', 'w').write('below')")
    see = "[open(p).read() if os.path.exists(p) else None for p in ('/mnt/t/f', '/home/user/given', '/home/user/second', " \
          "'/etc/given', '/home/user/below/g')]"
    want = ["in tmpfs", "given\nchanged\n", None, "given\n", "below"]
    assert forks.ask(a, see) == want
    forks.fork(a, "b")
    assert forks.ask("b", see) == want
    given.write_text("of the host by now\n")  # a copy is the sandbox's own
    forks.fork(a, "c")
    assert forks.ask("c", see.replace("'/etc/given', ", "")) == want[:3] + want[4:]
    assert "No space" in forks.ask("b", "open('/mnt/t/g', 'wb').write(bytes(2 << 20))")
    assert forks.ask(a, see) == want


def test_a_full_disk(forks):
    a = forks.program("", "--disk", "4m,inodes=64")
    assert "No space" in forks.ask(a, "open('/tmp/all', 'wb', 0).write(bytes(8 << 20)) and open('/tmp/more', 'wb', 0).write(b'x' * 4096)")
    forks.fork(a, "b")
    sizes = forks.ask_all([a, "b"], "os.path.getsize('/tmp/all')")
    assert sizes[0] == sizes[1] > 3 << 20
    assert "No space" in forks.ask("b", "open('/tmp/more', 'wb', 0).write(bytes(8192))")


@pytest.mark.parametrize("kind", ["socket"])
def test_what_has_no_content_is_counted(forks, kind):
    a = forks.program("s = socket.socket(socket.AF_UNIX); s.bind('/tmp/s'); s.close()")
    answer = forks.fork_json(a, "b")
    assert answer["files"]["skipped"] == 1
    assert forks.ask(a, "os.path.exists('/tmp/s')") is True
    assert json.dumps(answer["broken"]) and forks.ask("b", "os.path.exists('/tmp/s')") is False


def test_paths_of_the_sandbox_lead_nowhere_else(forks, box):
    """Links that point out of a writable place are copied as links, and nothing is written through them."""
    secret = box.file("of the host\n", "secret", mode=0o666)
    a = forks.program(f"""
os.symlink({str(secret)!r}, '/tmp/out'); os.symlink('/../../../..{secret}', '/tmp/up'); os.symlink('/etc', '/tmp/etc')
os.mkdir('/tmp/d'); os.rename('/tmp/d', '/tmp/e'); os.symlink('/proc/1/root', '/tmp/d'); os.symlink('.', '/tmp/loop')
""")
    forks.fork(a, "b")
    assert forks.ask("b", "sorted(os.listdir('/tmp')) + [os.readlink('/tmp/d')]") == ["d", "e", "etc", "loop", "out", "up", "/proc/1/root"]
    assert secret.read_text() == "of the host\n"
    poll(lambda: forks.state("b") == "running")


def test_a_file_of_the_host_that_is_gone(forks, box):
    given = box.file("given\n", "given")
    a = forks.program("open('/home/user/given', 'a').write('more\\n')", "--file", f"{given}:/home/user/given")
    forks.call("snapshot", a, "s").ok()
    given.unlink()
    forks.fork(a, "b")
    forks.fork("s", "c")
    assert forks.ask_all([a, "b", "c"], "open('/home/user/given').read()") == ["given\nmore\n"] * 3


def test_file_in_a_place_that_nobody_can_write(forks, box):
    """It is what the source saw at its start, whatever became of the host's file."""
    given = box.file("first\n", mode=0o640)
    empty = box.file("", "empty")
    a = forks.program("", "--file", f"{given}:/etc/given", "--file", f"{empty}:/etc/empty", "--file", f"{given}:/opt/other")
    look = "[[open(p).read(), stat.filemode(os.stat(p).st_mode), os.stat(p).st_uid == os.getuid()] for p in ('/etc/given', '/etc/empty', '/opt/other')]"
    want = forks.ask(a, look)
    assert [w[0] for w in want] == ["first\n", "", "first\n"]
    given.write_text("second, and longer\n")
    b, = forks.fork(a)
    forks.call("snapshot", a, "s").ok()
    given.unlink()
    empty.unlink()
    c, = forks.fork(b)
    d, = forks.fork("s")
    assert forks.ask_all([a, b, c, d], look) == [want] * 4
    assert forks.call("fork", a).ok().out and forks.execsh(d, "cat /etc/given") == "first\n"
    path = forks.box.state / "snapshots/s/layer"
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"/etc/given", b"/etc/gives"))
    assert "malformed" in forks.refused("s", "never")


def test_file_below_rw_is_the_hosts(forks, box):
    """Both sandboxes have the directory: the fork does not write the file there once more."""
    if not box.is_user:
        pytest.skip("init has no id there that the host's directory would take")
    shared = box.directory()
    given = box.file("first\n")
    a = forks.program("", "--rw", f"{shared}:/mnt/x", "--file", f"{given}:/mnt/x/f")
    forks.ask(a, "open('/mnt/x/f', 'a').write('more\\n')")
    given.unlink()
    b, = forks.fork(a)
    assert forks.ask_all([a, b], "open('/mnt/x/f').read()") == ["first\nmore\n"] * 2
    assert (shared / "f").read_text() == "first\nmore\n"


REMOVED = r"""
import shutil
os.chdir('/lower')
os.unlink('gone'); shutil.rmtree('tree'); os.unlink('to-dir'); os.mkdir('to-dir'); open('to-dir/in', 'w').write('in')
shutil.rmtree('to-file'); open('to-file', 'w').write('file'); shutil.rmtree('again'); os.mkdir('again'); open('again/new', 'w').write('new')
open('changed', 'a').write('more'); os.chmod('shut/deep', 0o755); open('shut/deep/x', 'w').write('x'); os.chmod('shut/deep', 0o555); os.chmod('shut', 0)
os.rename('moved', 'moved2'); os.symlink('changed', 'soft')
def look():
    return manifest(b'/lower')
"""


def lower_directory(box):
    """A root with something in it to be removed: its owner is who the workload is."""
    top = make_system(box)
    for name in ("gone", "to-dir", "changed", "kept", "moved", "tree/a", "tree/b/c", "to-file/x", "again/old", "again/sub/old", "shut/deep/y"):
        (top / "lower" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "lower" / name).write_text(name)
    (top / "lower/shut/deep").chmod(0o555)
    return own_tree(box, top)


def test_what_the_directory_has_and_the_root_no_more(forks):
    """Removed, replaced by another type, made anew: an overlay marks it, and the marks are carried."""
    need(forks.box, "dir")
    top = lower_directory(forks.box)
    before = listing(top)
    options = ["--root", top, "--ro", "/usr", "--ro", "/etc/ld.so.cache", "--user", "root"]
    a = forks.program(MANIFEST + REMOVED, *options)
    seen = forks.ask(a, "look()")
    names = {name.removeprefix("/lower/") for name in seen}
    assert {"kept", "changed", "to-dir/in", "to-file", "again/new", "moved2", "soft"} <= names
    assert not {"gone", "tree", "again/old", "again/sub", "to-file/x", "moved"} & names
    clones = forks.fork(a, "-n", "2")
    for name in clones:
        assert forks.ask(name, "look()") == seen
        assert forks.call("diff", name).status == forks.call("diff", a).status
    grand, = forks.fork(clones[1])
    assert forks.ask(grand, "[look() == %r, os.unlink('/lower/kept'), os.path.exists('/lower/kept')]" % (seen,)) == [True, None, False]
    assert forks.ask_all([a, *clones], "os.path.exists('/lower/kept')") == [True] * 3
    forks.call("snapshot", a, "s").ok()
    other, = forks.fork("s")
    assert forks.ask(other, "look()") == seen
    deep = forks.ask_all([a, *clones, grand, other], "[os.chmod('/lower/shut', 0o700), manifest(b'/lower/shut/deep')][1]")
    assert all(d == deep[0] for d in deep) and "/lower/shut/deep/x" in deep[0]
    assert listing(top) == before


# Directories in one another whose path is longer than any call takes.
DEEP = """
def deep(top, n, make=False):
    os.chdir(top)
    for _ in range(n):
        if make: os.mkdir('d' * 255)
        os.chdir('d' * 255)
"""


def test_links_far_down(root_kind, forks):
    """A file with two names where no path leads, and many with two elsewhere."""
    a = forks.program(DEEP + """
deep('/home/user', 20, True)
open('one', 'w').write('text'); os.link('one', 'two'); os.mkdir('below'); os.link('one', 'below/three')
os.chdir('/'); os.mkdir('/tmp/many')
for i in range(3000): open('/tmp/many/%d' % i, 'w').write(str(i)); os.link('/tmp/many/%d' % i, '/tmp/many/%d.again' % i)
def look():
    many = [os.stat('/tmp/many/%d%s' % (i, end)) for i in range(3000) for end in ('', '.again')]
    deep('/home/user', 20)
    far = [len({os.stat(n).st_ino for n in ('one', 'two', 'below/three')}), os.stat('two').st_nlink, open('below/three').read()]
    os.chdir('/')
    return [*far, len({m.st_ino for m in many}), {m.st_nlink for m in many} == {2}, open('/tmp/many/2999.again').read()]
""")
    b, = forks.fork(a)
    assert forks.ask_all([a, b, *forks.fork(b)], "look()") == [[1, 3, "text", 3000, True, "2999"]] * 3


def test_no_mode_of_the_host_is_changed(forks):
    """As an ordinary user a capture opens what is closed to it. Where the path is too long for that, a link beside the way
    that it would be cut to must not lead out of the sandbox."""
    need(forks.box, "dir")
    victim = forks.box.file("the host's", "victim", 0o600)
    a = forks.program(DEEP + f"""
deep('/', 15, True); os.symlink({str(victim)!r}, 'x'); os.mkdir('d' * 255); os.chdir('d' * 255); os.mkdir('x'); os.chmod('x', 0o444)
os.mkdir('y'); open('y/f', 'w').write('text'); os.chdir('/')
def look():
    deep('/', 16); seen = [oct(os.stat('x').st_mode), open('y/f').read(), os.readlink('../x')]; os.chdir('/'); return seen
""", *root_options(forks.box, "dir"), "--user", "root")
    done = forks.call("fork", a, "b")
    assert victim.stat().st_mode & 0o7777 == 0o600 and victim.read_text() == "the host's"
    done.ok()
    assert forks.ask_all([a, "b"], "look()") == [["0o40444", "text", str(victim)]] * 2


def test_a_clone_keeps_what_is_mounted_over_its_root(forks):
    """--rw and --tmpfs in a directory's root: their mount points are the overlay's, what lies in them is not."""
    need(forks.box, "dir")
    top = lower_directory(forks.box)
    shared = forks.box.directory("shared")
    a = forks.program("open('/mnt/new/w/f', 'w').write('one')\nopen('/lower/again/t/f', 'w').write('two')", "--root", top, "--ro", "/usr",
                      "--ro", "/etc/ld.so.cache", "--rw", f"{shared}:/mnt/new/w", "--tmpfs", "/lower/again/t")
    b, = forks.fork(a)
    assert forks.ask(b, "[open('/mnt/new/w/f').read(), open('/lower/again/t/f').read(), open('/lower/again/old').read()]") == ["one", "two", "again/old"]
    assert forks.ask(b, "[open('/mnt/new/w/g', 'w').close(), open('/lower/again/t/f', 'w').close()]") == [None, None]
    assert sorted(p.name for p in shared.iterdir()) == ["f", "g"]
    assert forks.ask(a, "open('/lower/again/t/f').read()") == "two"


def test_a_root_that_is_written_to_itself_is_refused(forks):
    a = forks.program("", "--root", make_system(forks.box), "--ro", "/usr", "--ro", "/etc/ld.so.cache", "--root-rw")
    for line in (forks.refused(a), forks.call("snapshot", a, "s").refused()):
        assert "--root-rw" in line
    assert forks.ask(a, "1 + 1") == 2
