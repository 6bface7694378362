# SPDX-License-Identifier: Apache-2.0
"""Attacks on identity and privilege with one wall down: each works, so the walled half proves something."""
import ctypes

import pytest
from conftest import BUILD, PYTHON
from test_a_identity import EPERM, NEWUSER, calls
from walls import NO_NEW_PRIVS, RIGHTS, without

ENOSPC = 28


def test_the_release_has_no_walls_to_take_down(box):
    """Not a word of it in the program, and no effect."""
    program = BUILD.read_bytes()
    for word in (b"TEST_WITHOUT", b"limit\0timeout", b"max_user_namespaces\0count", b".nosuid"):
        assert word not in program, word
    down = {"CLEAVE_TEST_WITHOUT": "row:SECCOMP,row:NS_LIMITS,row:LANDLOCK,deny:unshare,mask:/proc/kallsyms"}
    words = ["/bin/sh", "-c", "grep Seccomp: /proc/self/status; cat /proc/kallsyms; unshare -U true && echo made; true"]
    assert box.run(*words, env=down).ok().out.split() == ["Seccomp:", "2"]
    assert box.run(*words, env=down, dev=True).ok().out.split()[1] == "0"


@pytest.mark.root_only
def test_a01_open_ids_of_the_host(box):
    """Without a slot of ids the sandbox's root is the host's: it reads what only that one may."""
    secret = box.file("secret\n", mode=0o600)
    words = ["--user", "root", "--ro", f"{secret.parent}:/mnt/s", "/bin/sh", "-c", "cat /proc/self/uid_map /mnt/s/f"]
    opened = box.run(*words, **without("row:ID_SLOT")).ok()
    assert opened.out.split() == ["0", "0", "65536", "secret"]
    assert box.run(*words).out.split()[:2] != ["0", "0"]


def test_a02_open_capabilities(box):
    """A workload that keeps init's rights and is root inside mounts what it likes."""
    words = ["--user", "root", "/bin/sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs none /mnt && echo mounted"]
    opened = box.run(*words, **without(*RIGHTS, "row:SECCOMP", "row:LANDLOCK")).ok()
    assert int(opened.out.split()[1], 16) & 1 << 21, opened
    assert "mounted" in opened.out
    walled = box.run(*words)
    assert int(walled.out.split()[1], 16) == 0 and "mounted" not in walled.out


@pytest.mark.root_only
def test_a03_open_set_id_program(box):
    """Root inside leaves a set-id program; the user inside runs it."""
    def attack(**more):
        box.call("start", "s", **more).ok()
        try:
            box.call("exec", "--user", "root", "s", "/bin/sh", "-c", "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id", **more).ok()
            return box.call("exec", "s", "/tmp/id", "-u", **more).ok().out
        finally:
            box.call("rm", "-f", "s", **more).ok()
    assert attack(**without("flag:disk.nosuid", *NO_NEW_PRIVS, "row:SECCOMP", "row:LANDLOCK")) == "0\n"
    assert attack() == "1000\n"
    assert attack(**without("flag:disk.nosuid")) == "1000\n", "no_new_privs holds by itself"
    assert attack(**without(*NO_NEW_PRIVS, "row:SECCOMP", "row:LANDLOCK")) == "1000\n", "nosuid holds by itself"


def test_a04_open_devices_of_a_shown_directory(box):
    """Only one that does no harm is read."""
    words = ["--ro", "/dev:/mnt/dev", "/bin/sh", "-c", "head -c 1 /mnt/dev/zero 2>/dev/null | od -An -tx1"]
    assert box.run(*words, **without("flag:bind.nodev")).ok().out.split() == ["00"]
    assert box.run(*words).ok().out == ""


def test_a05_open_new_namespaces(box):
    unshare, counts = f"272:{NEWUSER}", "row:NS_LIMITS"

    def attack(*walls):
        return calls(box, unshare, **without(*walls))
    assert attack("deny:unshare", counts) == [0]
    assert attack("deny:unshare") == [-ENOSPC], "the count holds by itself"
    assert attack(counts) == [-EPERM], "the filter holds by itself"
    done = box.run(*box.payload("probe", "clone", hex(NEWUSER)), **without("deny:clone", counts)).ok()
    assert int(done.out) == 0


def test_a06_open_count_of_namespaces(box):
    script = "cat /proc/sys/user/max_user_namespaces; unshare -U true && echo made"
    opened = box.run("/bin/sh", "-c", script, **without("row:NS_LIMITS", "row:SECCOMP")).ok()
    assert int(opened.out.split()[0]) > 0 and "made" in opened.out
    walled = box.run("/bin/sh", "-c", script, **without("row:SECCOMP"))
    assert walled.out == "0\n" and "No space left" in walled.err, walled


SIBLING = """if True:
    import ctypes, json, os
    l = ctypes.CDLL(None, use_errno=True)
    secret = ctypes.create_string_buffer(b'SECRET'); child = os.fork()
    if child == 0: ctypes.memset(secret, 0x58, 6); os.kill(os.getpid(), 19); os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    class V(ctypes.Structure): _fields_ = [('p', ctypes.c_void_p), ('n', ctypes.c_size_t)]
    got = ctypes.create_string_buffer(6); here = V(ctypes.addressof(got), 6); there = V(ctypes.addressof(secret), 6)
    n = l.process_vm_readv(child, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    os.kill(child, 9)
    print(json.dumps([n, ctypes.get_errno() if n < 0 else got.raw.decode()]))"""


def test_a07_open_memory_of_a_sibling(box):
    assert box.python(SIBLING, **without("deny:process_vm_readv")) == [6, "XXXXXX"]
    assert box.python(SIBLING) == [-1, EPERM]


@pytest.mark.root_only
def test_a08_open_init_is_read(box):
    """Where a workload keeps every right inside, PID 1 is an open book; that shows nothing of the keeper still."""
    words = ["--user", "root", "/bin/sh", "-c", "head -c 4 /proc/1/exe | od -An -c; readlink /proc/1/exe"]
    opened = box.run(*words, **without(*RIGHTS, "row:SECCOMP", "row:LANDLOCK")).ok()
    assert "E   L   F" in opened.out and "cleave-init" in opened.out, opened
    walled = box.run(*words)
    assert walled.out == "", walled


KEYS = """if True:
    import ctypes, json
    l = ctypes.CDLL(None, use_errno=True); out = ctypes.create_string_buffer(64)
    n = l.syscall(249, b'user', b'cleave-attack', None, 0)
    r = l.syscall(250, 11, n, out, 64) if n > 0 else -ctypes.get_errno()
    print(json.dumps([r, out.raw[:max(r, 0)].decode()]))"""


def test_a09_open_keys_of_the_caller(box):
    """A key in the caller's session, which the kernel hands down to every process."""
    def session_with_key():
        libc = ctypes.CDLL(None)
        assert libc.syscall(250, 1, None) > 0  # a session of its own, gone with its last process
        key = libc.syscall(248, b"user", b"cleave-attack", b"SECRET", 6, -3)
        assert key > 0
        libc.syscall(250, 5, key, 0x3F3F3F3F)  # whoever has it may read it
    assert box.python(KEYS, preexec_fn=session_with_key, **without("deny:request_key", "deny:keyctl")) == [6, "SECRET"]
    assert box.python(KEYS, preexec_fn=session_with_key) == [-EPERM, ""]


def test_a10_open_exec_without_a_layer(box):
    """An exec whose rows lack one is noticed by what it can call."""
    def attack(**more):
        box.call("start", "x", **more).ok()
        try:
            return box.call("exec", "x", "/bin/sh", "-c", "grep -c 'Seccomp:.2' /proc/self/status; unshare -m true 2>&1", **more)
        finally:
            box.call("rm", "-f", "x", **more).ok()
    opened, walled = attack(**without("row:SECCOMP", "row:NS_LIMITS")), attack()
    assert opened.out.split()[0] == "0" and walled.out.split()[0] == "1"


def test_f74_open_the_program_of_init(box):
    """CVE-2019-5736: with every right inside its file can be opened; that it can't be written is the seal's doing."""
    words = ["--user", "root", PYTHON, "-c", """if True:
        import os
        f = os.open('/proc/1/exe', os.O_RDONLY)
        print(os.read(f, 4) == b'\\x7fELF')
        try: os.open('/proc/1/exe', os.O_WRONLY)
        except OSError as e: print(e.errno)"""]
    if box.is_user:
        assert box.run(*words).status == 1
        return
    assert box.run(*words, **without(*RIGHTS, "row:SECCOMP", "row:LANDLOCK")).ok().out.split() == ["True", "26"]
    assert box.run(*words).status == 1


def test_e58_open_core_limit(box):
    """Raised, a crash of the workload would start the host's helper as its root; it is only looked at here."""
    code = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))"
    raised = without("row:CORE_LIMIT")
    assert box.python(code, **raised) != [1, 1]
    assert box.python(code) == [1, 1]
