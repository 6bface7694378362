# SPDX-License-Identifier: Apache-2.0
"""--seccomp FILE: a profile of the user's on top of the sandbox's own filter, for the command, each exec and each clone."""
import json
import re
from pathlib import Path

import pytest

from conftest import PYTHON, TOP
from forks import forks  # noqa: F401

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
MKDIRS = ["mkdir", "mkdirat"]
# What a program asks for that an ordinary program may: numbers between these need not be named.
START = ["execve", "mmap", "write", "clock_gettime", "exit_group"]
FORBIDS = {"defaultAction": ALLOW, "syscalls": [{"names": MKDIRS, "action": ERRNO, "errnoRet": 73}]}
TRY = "mkdir /tmp/new 2>&1; echo $?"
THEIRS = {"podman": Path("/usr/share/containers/seccomp.json"),
          "docker": Path("/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json")}
DENIED = "RFS specific error"  # what strerror says to 73, which no file system answers


def profile(box, what, name="profile.json"):
    return box.file(json.dumps(what), name)


def names_allowed():
    """The calls that the default filter has a row for, as a profile that lists what it allows would name them."""
    text = re.sub(r"/\*.*?\*/", "", (TOP / "src/box/syscalls.def").read_text(), flags=re.S)
    names = re.findall(r"^\s*(?:ALLOW|ARGS)\((\w+)", text, re.M) + re.findall(r"\bALLOW\((\w+)\)", text)
    return sorted(set(names) - {"socket", "personality", "clone", "clone3", "ptrace"})


def docker_like():
    """Built as docker's default profile is: an allowlist by archMap, with conditions and arguments."""
    one = {"names": ["personality"], "action": ALLOW}
    return {
        "defaultAction": ERRNO, "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                    {"architecture": "SCMP_ARCH_LOONGARCH64", "subArchitectures": None}],
        "syscalls": [
            {"names": [*names_allowed(), "_llseek", "a_call_of_2050"], "action": ALLOW},
            {"names": ["ptrace"], "action": ALLOW, "includes": {"minKernel": "4.8"}},
            {"names": ["socket"], "action": ALLOW, "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
            *({**one, "args": [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"}]} for v in (0, 8, 0x20000, 0xffffffff)),
            {"names": ["arch_prctl"], "action": ALLOW, "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["s390_pci_mmio_read"], "action": ALLOW, "includes": {"arches": ["s390", "s390x"]}},
            {"names": ["bpf", "clone", "clone3", "mount"], "action": ALLOW, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": ALLOW, "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}],
             "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
            {"names": ["clone3"], "action": ERRNO, "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}


def podman_like():
    """As podman's: every field is there, empty or not, errnos have names, a call may be named twice."""
    rest = {"comment": "", "includes": {}, "excludes": {}}
    what = docker_like()
    del what["archMap"][2]
    what.update(defaultErrnoRet=38, defaultErrno="ENOSYS")
    what["syscalls"] = [{"args": [], **rest, **row} for row in what["syscalls"] if row["names"] != ["socket"]] + [
        {"names": ["setns", "unshare"], "action": ALLOW, "args": [], **rest},
        {"names": ["setns", "unshare"], "action": ERRNO, "args": [], **rest, "errnoRet": 1, "errno": "EPERM",
         "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["socket"], "action": ERRNO, "args": [{"index": 0, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_EQ"},
                                                        {"index": 2, "value": 9, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
         **rest, "excludes": {"caps": ["CAP_AUDIT_WRITE"]}, "errnoRet": 22, "errno": "EINVAL"},
        {"names": ["socket"], "action": ALLOW, "args": [{"index": 2, "value": 9, "valueTwo": 0, "op": "SCMP_CMP_NE"}], **rest},
        {"names": ["socket"], "action": ALLOW, "args": [{"index": 0, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_NE"}], **rest},
        {"names": ["socket"], "action": ALLOW, "args": None, **rest, "includes": {"caps": ["CAP_AUDIT_WRITE"]}}]
    return what


def test_a_call_is_forbidden(box):
    file = profile(box, FORBIDS)
    assert box.sh(TRY) == "0\n"
    said = box.sh(TRY, "--seccomp", file)
    assert DENIED in said and said.endswith("\n1\n"), said
    assert box.sh("grep Seccomp_filters /proc/self/status", "--seccomp", file).split()[1] == "2"


def test_the_layer_says_so(box):
    file = profile(box, FORBIDS, "no-mkdir.json")
    layer = box.result("--seccomp", file, "true").ok().result["layers"]["seccomp"]
    assert layer["state"] == "on" and "no-mkdir.json on top" in layer["how"], layer
    layer = box.result("--seccomp", file, "--nest", "true").ok().result["layers"]["seccomp"]
    assert layer["state"] == "degraded" and "no-mkdir.json on top" in layer["how"] and "--nest" in layer["how"], layer
    for name in ("\u00e4" * 40, "\udcff\n.json"):
        done = box.result("--seccomp", profile(box, FORBIDS, name), "--nest", "true").ok()
        assert done.result["layers"]["seccomp"]["how"].endswith(" on top"), done
    assert "on top" not in box.result("true").ok().result["layers"]["seccomp"]["how"]
    steps = [row["step"] for row in json.loads(box.call("explain", "--json", "--seccomp", file, "true").ok().out)]
    assert steps[-3:] == ["SECCOMP", "SECCOMP_PROFILE", "EXEC"]


def test_a_profile_can_only_take_away(box):
    """What our own filter forbids stays forbidden, and of the two answers the stricter one counts."""
    look = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    ctypes.set_errno(0)
    return libc.syscall(*a) if not ctypes.get_errno() else 0, ctypes.get_errno()
print(json.dumps([call(n, -1, -1, -1, -1, -1)[1] for n in (165, 272, 321, 101, 425)]))
"""
    free = profile(box, {"defaultAction": ALLOW})
    want = box.python(look)
    assert 1 in want and set(want) <= {1, 38}, "mount, unshare, bpf, ptrace, io_uring_setup"
    assert box.python(look, "--seccomp", free) == want
    kills = profile(box, {"defaultAction": ALLOW, "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"}]})
    done = box.result("--seccomp", kills, PYTHON, "-c", look)
    assert done.result["signal"] == 31, done


WORK = """
set -e
python3 -c 'import subprocess, threading
t = threading.Thread(target=print, args=("thread",)); t.start(); t.join()
print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout, end="")'
echo 'int main(void) { return 42; }' > /tmp/a.c
gcc -o /tmp/a /tmp/a.c
/tmp/a || echo $?
echo a b | { read -r x y; echo "$y"; }
"""
ASKS = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
print(libc.personality(0x40000) and ctypes.get_errno())
try: socket.socket(16, 3, 9)
except OSError as e: print(e.errno)
"""


def works_under(box, file, who):
    """Ordinary programs do their work, and two calls are answered as docker's or podman's profile says."""
    done = box.run("--seccomp", file, "/bin/bash", "-c", WORK).ok()
    assert done.out == "thread\nchild\n42\nb\n" and done.err == "", done
    own = box.run(PYTHON, "-c", ASKS).ok().out.split()
    assert own[0] == "0" and own[1] != "22"
    want = ["1", own[1]] if who == "docker" else ["38", "22"]
    assert box.run("--seccomp", file, PYTHON, "-c", ASKS).ok().out.split() == want


@pytest.mark.parametrize("who, like", [("docker", docker_like), ("podman", podman_like)], ids=["docker", "podman"])
def test_default_profiles_of_others(box, who, like):
    works_under(box, profile(box, like()), who)


@pytest.mark.host_only
@pytest.mark.parametrize("who", THEIRS)
def test_their_own_files(box, who):
    """The files that they ship."""
    file = THEIRS[who]
    if who == "docker" and not file.exists():
        pytest.skip("docker's is in golang-github-docker-docker-dev alone, with 250 packages that that one needs")
    works_under(box, file, who)
    places = [w for p in ("/etc/apt", "/var/lib/apt", "/var/lib/dpkg") for w in ("--ro", p)]
    done = box.run(*places, "--seccomp", file, "apt", "list", "--installed", "bash").ok()
    assert "bash/" in done.out, done


def test_exec_and_clone_and_clone_of_a_clone(forks, box):
    file = profile(box, FORBIDS)
    threads = "for i in range(3): threading.Thread(target=lambda: [time.sleep(0.05) for _ in iter(int, 1)], daemon=True).start()"
    a = forks.program(threads, "--seccomp", file)
    file.unlink()
    b, = forks.fork(a)
    c, = forks.fork(b)
    for name in (a, b, c):
        assert DENIED in forks.execsh(name, TRY), name
        assert "73" in forks.ask(name, "os.mkdir('/tmp/new')"), name
        status = "[open(f'/proc/self/task/{t}/status').read().split('Seccomp_filters:')[1].split()[0] for t in os.listdir('/proc/self/task')]"
        assert forks.ask(name, status) == ["2"] * 4, name
        assert "on top" in forks.inspect(name)["layers"]["seccomp"]["how"], name
    plain = forks.program()
    assert forks.execsh(plain, TRY) == "0\n"


def test_snapshots_keep_it(forks, box):
    file = profile(box, FORBIDS)
    a = forks.program("", "--seccomp", file)
    box.call("snapshot", a, "kept").ok()
    forks.hang_up(a)
    box.call("rm", "-f", a).ok()
    file.unlink()
    b, = box.call("fork", "kept").ok().out.split()
    assert DENIED in forks.execsh(b, TRY)
    assert "73" in forks.ask(b, "os.mkdir('/tmp/new')")


@pytest.mark.parametrize("call", ["mprotect", "brk", "futex", "sigaltstack", "membarrier", "arch_prctl"])
def test_a_fork_needs_some_calls(forks, box, call):
    """Under a profile that would end the process in which one is made, nothing is tried, and the source goes on."""
    rule = {"names": [call], "action": ERRNO, "args": [{"index": 1, "value": 12345, "op": "SCMP_CMP_EQ"}]}
    a = forks.program("", "--seccomp", profile(box, {"defaultAction": ALLOW, "syscalls": [rule]}))
    line = forks.refused(a)
    assert f"'{call}'" in line and "--seccomp" in line
    assert forks.ask(a, "1 + 1") == 2


@pytest.mark.parametrize("call", ["semctl", "msgctl", "shmctl"])
def test_a_fork_asks_for_objects_of_system_v(forks, box, call):
    """Where the question fails there are none. A profile that kills for it is not asked."""
    def start(action):
        return forks.program("", "--seccomp", profile(box, {"defaultAction": ALLOW, "syscalls": [{"names": [call], "action": action}]}))
    a = start(ERRNO)
    assert forks.ask_all([a, *forks.fork(a)], "1 + 1") == [2, 2]
    b = start("SCMP_ACT_KILL_PROCESS")
    assert f"'{call}'" in forks.refused(b)
    assert forks.ask(b, "1 + 1") == 2


def test_profiles_that_forbid_what_a_start_needs(box):
    for call in START:
        rest = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": [c for c in START if c != call], "action": ALLOW}]}
        line = box.run("--seccomp", profile(box, rest), "true").refused()
        assert f"'{call}'" in line, line


def test_a_profile_may_forbid_what_our_own_needs(box):
    """seccomp and prctl: the profile is loaded last."""
    rule = {"names": ["seccomp", "prctl"], "action": "SCMP_ACT_KILL_PROCESS"}
    box.run("--seccomp", profile(box, {"defaultAction": ALLOW, "syscalls": [rule]}), "/bin/true").ok()


@pytest.mark.parametrize("text, why", [
    ("", "line 1"), ("{", "line 1"), ("[" * 5000, "depth"), ('{"defaultAction": "SCMP_ACT_MAYBE"}', "is no action"),
    ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY"), (" " * (1 << 20), "256 KiB"),
    ('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"]}', "architecture"),
    ('{"defaultAction": "SCMP_ACT_ALLOW", "sysclls": []}', "'sysclls'"),
    ('{"defaultAction": "\\u001b[31m"}', "is no action"),
], ids=range(9))
def test_malformed(box, text, why):
    file = box.file(text)
    for words in (["run", "--seccomp", file, "true"], ["start", "--seccomp", file, "x"], ["explain", "--seccomp", file, "true"]):
        line = box.call(*words).refused()
        assert why in line and "--seccomp" in line and "\x1b" not in line, line


def test_files_that_are_none(box):
    assert "missing.json" in box.run("--seccomp", "missing.json", "true").refused()
    assert "no regular file" in box.run("--seccomp", "/dev/zero", "true").refused()
    assert "no regular file" in box.run("--seccomp", box.directory(), "true").refused()
    box.run("--seccomp", "", "true").refused()
    box.run("--seccomp", profile(box, FORBIDS).name, "true", cwd=profile(box, FORBIDS).parent).ok()
