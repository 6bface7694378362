# SPDX-License-Identifier: Apache-2.0
"""State that is easy to miss: carried whole, or refused by its name. What is refused leaves the source as it was."""
import resource

import pytest

from forks import forks  # noqa: F401
from live import poll

PIECES = """
lib = ctypes.CDLL(None, use_errno=True)
m = mmap.mmap(-1, 1 << 20)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
for i in range(0, 1 << 20, 4096): m[i:i + 4] = struct.pack('I', i)
sums = lambda: hashlib.md5(m[:]).hexdigest()
"""
CUT = "lib.mprotect(ctypes.c_void_p(at), 4096, 1), lib.mprotect(ctypes.c_void_p(at + 65536), 4096, 1)"
HALVES = """
child = os.fork()
if child == 0:
    lib.munmap(ctypes.c_void_p(at), 1 << 19)
    while True: time.sleep(1)
lib.munmap(ctypes.c_void_p(at + (1 << 19)), 1 << 19)
"""


def test_shared_memory_in_pieces(forks):
    """One object, three mappings: an ordinary user has no way to it but these."""
    a = forks.program(PIECES)
    assert forks.ask(a, CUT) == [0, 0]
    b = forks.fork(a, "-n", "1")[0]
    assert forks.ask(b, "sums()") == forks.ask(a, "sums()")


def test_shared_memory_of_which_each_process_maps_another_half(forks):
    a = forks.program(PIECES + HALVES)
    poll(lambda: str(1 << 19) not in forks.ask(a, "open(f'/proc/{child}/maps').read()"), what="the child")
    read = "[open(f'/proc/{p}/mem', 'rb', 0) for p in ('self', child)]"
    b = forks.fork(a, "-n", "1")[0]
    for name in (a, b):
        assert forks.ask(name, f"[struct.unpack('I', os.pread(f.fileno(), 4, at + x))[0] "
                               f"for f, x in zip({read}, (4096, (1 << 19) + 8192))]") == [4096, (1 << 19) + 8192]


REFUSED = {
    "name": ("fd = os.open('/tmp/one', os.O_CREAT | os.O_RDWR); os.link('/tmp/one', '/tmp/two'); os.unlink('/tmp/one')",
             "lost its name but has another"),
    "mqueue": ("lib = ctypes.CDLL('librt.so.1'); fd = lib.mq_open(b'/q', os.O_CREAT | os.O_RDWR, 0o600, None); "
               "lib.mq_unlink(b'/q'); assert fd >= 0", "message queue"),
    "writeonly": ("fd = os.open('/tmp/w', os.O_CREAT | os.O_WRONLY); os.unlink('/tmp/w')", "open for writing alone"),
    "nameless": ("""
lib = ctypes.CDLL(None)
lib.mmap.restype = ctypes.c_void_p
fd = lib.memfd_create(b'big', 1); os.ftruncate(fd, 3 << 30)
assert lib.mmap(None, ctypes.c_size_t(3 << 30), 1, 2, fd, 0) != ctypes.c_void_p(-1).value; os.close(fd)""", "files without a name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(forks, what):
    setup, words = REFUSED[what]
    a = forks.program(setup, *(["--nest"] if what == "mqueue" else []))  # else Landlock leaves none
    assert words in forks.refused(a, "b")
    assert forks.ask(a, "6 * 7") == 42 and forks.names("-a") == [a]


def test_a_file_that_ends_before_its_mapping_costs_nothing(forks):
    """A terabyte of addresses that lead to an empty file without a name."""
    a = forks.program("""
lib = ctypes.CDLL(None)
lib.mmap.restype = ctypes.c_void_p
fd = lib.memfd_create(b'small', 1); os.write(fd, b'x' * 5000)
at = lib.mmap(None, ctypes.c_size_t(1 << 40), 1, 2, fd, 0); os.close(fd)
""")
    made = forks.fork_json(a, "-n", "1")
    assert forks.ask(made["clones"][0]["name"], "ctypes.string_at(at + 4999, 2).hex()") == "7800"


@pytest.mark.parametrize("kind", ["--net", "--uts", "--ipc", "--mount"])
def test_a_sandbox_inside_is_not_let_out(forks, kind):
    """Its processes have a user namespace of their own, and no capability that would tell."""
    a = forks.program("", "--nest", name="a")
    inside = forks.box.start("a", "unshare", "--user", kind, "sh", "-c", "echo on; exec sleep 1000", verb="exec")
    assert inside.popen.stdout.readline() == b"on\n"
    assert "namespace of its own" in forks.refused(a, "b")
    assert forks.ask(a, "6 * 7") == 42


def test_a_snapshot_that_can_not_be_written_does_not_end_its_source(forks):
    a = forks.program("big = os.urandom(4 << 20)")
    line = forks.call("snapshot", "--stop", a, "s", restore_signals=False,  # Python ignores SIGXFSZ
                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))).refused()
    assert "snapshot" in line and "File too large" in line, line
    assert forks.state(a) == "running" and forks.ask(a, "len(big)") == 4 << 20
    assert forks.snapshots() == []
    forks.call("pause", a).ok()
    forks.call("snapshot", "--stop", a, "s").ok()
    poll(lambda: forks.state(a) == "exited", what="the end")


def test_guard_regions(forks):
    """Threads of newer C libraries end their stacks with them; no flag of the mapping tells."""
    a = forks.program("""
m = mmap.mmap(-1, 1 << 16, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
for i in range(16): m[i * 4096] = i + 1
has = ctypes.CDLL(None).madvise(ctypes.c_void_p(at + 4096), 8192, 102) == 0
def page(i):
    try:
        with open('/proc/self/mem', 'rb', 0) as f: return os.pread(f.fileno(), 1, at + i * 4096)[0]
    except OSError as error: return error.errno
""")
    if not forks.ask(a, "has"):
        pytest.skip("Linux 6.13 has them first")
    b = forks.fork(a, "-n", "1")[0]
    c = forks.fork(b, "-n", "1")[0]
    pages = [1, 5, 5, *range(4, 17)]  # EIO
    for name in (a, b, c):
        assert forks.ask(name, "[page(i) for i in range(16)]") == pages
    assert forks.ask(c, "ctypes.CDLL(None).madvise(ctypes.c_void_p(at + 4096), 8192, 103), page(1)") == [0, 0]
