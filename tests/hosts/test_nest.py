# SPDX-License-Identifier: Apache-2.0
"""--nest: sandboxes within a sandbox, what that weakens, and what still stands when the one inside is root of its own
user namespace."""
import json
import re
import shlex
import subprocess

import pytest

from conftest import BUILD

INNER = "/opt/cleave/" + BUILD.name
SHOWN = ["--ro", f"{BUILD.parent}:/opt/cleave"]
WEAKER = {"seccomp", "ns_limits", "proc", "landlock"}
AS_ROOT = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "/bin/sh", "-c"]


def nested(box, *words, **more):
    return box.run("--nest", *SHOWN, *words, **more)


def test_cleave_in_cleave(box):
    done = nested(box, INNER, "run", "--tmpfs", "/scratch", "--hostname", "deep", "sh", "-c",
                  "hostname; id -u; echo x > /scratch/f && cat /scratch/f; ls -d /proc/[0-9]* | wc -l; exit 7")
    assert done.status == 7, done
    host, uid, text, processes = done.out.split()
    assert (host, uid, text) == ("deep", "1000", "x") and int(processes) <= 5


def test_three_levels(box):
    more = ["run", "--nest", "--ro", "/opt/cleave"]
    assert nested(box, INNER, *more, INNER, *more, INNER, "run", "echo", "deep").ok().out == "deep\n"


def test_the_inner_one_has_all_layers(box):
    inner = json.loads(nested(box, INNER, "run", "--json", "true").ok().out)
    off = {name for name, layer in inner["layers"].items() if layer["state"] != "on"}
    assert off == {"cgroup_memory", "cgroup_pids", "cgroup_cpu", "freezer"} | ({"cgroup_ns"} if box.is_user else set())


def test_doctor_inside_knows_it_too(box):
    layers = json.loads(nested(box, INNER, "doctor", "--json").out)["layers"]
    assert (layers["cgroup_ns"]["state"] == "off") == box.is_user
    assert not box.is_user or layers["cgroup_ns"]["remedy"] == "start the sandbox around this one as root"


def test_bwrap_in_cleave(box):
    spaces = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"] if box.is_user else ["--unshare-all"]
    done = nested(box, "bwrap", *spaces, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "echo", "inside")
    assert done.ok().out == "inside\n"


def test_a_named_sandbox_within(box):
    """Its keeper lives on inside, and goes with the outer one."""
    script = f"{INNER} start a && {INNER} exec a echo inside && {INNER} ps | tail -n 1 | cut -d ' ' -f 1"
    assert nested(box, "sh", "-c", script).ok().out.split()[1:] == ["inside", "a"]


def test_without_the_option_it_is_refused(box):
    done = box.run(*SHOWN, INNER, "run", "true")
    assert done.status == 125 and done.out == "" and done.err.count("\n") == 1, done


def test_the_result_says_what_is_weaker(box):
    strong, weak = (box.result(*options, "true").ok().result["layers"] for options in ([], ["--nest"]))
    assert {name for name in weak if weak[name] != strong[name]} == WEAKER
    for name in WEAKER:
        assert weak[name]["state"] in ("degraded", "off") and "--nest" in weak[name]["how"], weak[name]
    assert strong["seccomp"]["state"] == "on"


def test_refused_where_the_workload_has_roots_id(box):
    """Without a range of ids only the covers over /proc keep it from the host's settings."""
    done = subprocess.run([*box.prefix, "unshare", "--user", "--map-root-user", str(BUILD), "run", "--nest", "true"],
                          env=box.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and "--nest" in done.stderr and done.stderr.count("\n") == 1, done


CGROUPS = """
mkdir /tmp/cg
for t in 'cgroup2 x' 'cgroup -o memory x' 'cgroup -o pids x' 'cgroup -o cpu,cpuacct x'; do
  mount -t $t /tmp/cg 2> /dev/null || continue
  for f in $(find /tmp/cg -name '*.max' -o -name '*.limit_in_bytes' -o -name '*_us' -o -name cgroup.procs); do
    (echo 0 > $f) 2> /dev/null && echo WROTE $f
  done
  mkdir $(find /tmp/cg -type d | head -n 3 | sed 's,$,/mine,') 2> /dev/null && echo MADE
  umount /tmp/cg
done
echo end
"""


def test_root_inside_writes_to_no_cgroup(box):
    """Neither to those of its sandbox nor to those of an exec: they may belong to the id that the workload has."""
    as_root = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "/bin/sh", "-c"]
    script = f"unshare --cgroup true 2> /dev/null && echo MAY; unshare --cgroup sh -c {shlex.quote(CGROUPS)}; sh -c {shlex.quote(CGROUPS)}"
    started = box.call("start", "--nest", "--tmpfs", "/tmp/x", "cg")
    assert started.status == 0, started
    limits = ["--memory", "64M", "--pids", "50"] if box.delegated else []
    try:
        out = box.call("exec", *limits, "cg", "--", *as_root, script).out.split()
        assert out == (["end"] if box.is_user else ["MAY", "end", "end"])
    finally:
        assert box.call("rm", "-f", "cg").status == 0


# What root of a user namespace inside tries: (what it does, what it must print).
WALLED = {
    "the covers over /proc can't be lifted": (
        "umount /proc/interrupts 2> /dev/null && echo LIFTED; umount -l /proc 2> /dev/null && echo LIFTED;"
        " wc -c < /proc/interrupts", "0\n"),
    "/usr stays read-only": ("mount -o remount,bind,rw /usr 2> /dev/null; touch /usr/x 2>&1 | grep -c Read-only", "1\n"),
    "the root stays read-only": ("mount -o remount,rw / 2> /dev/null; touch /x 2>&1 | grep -c Read-only", "1\n"),
    "settings of the host can't be written": (
        "for f in kernel/core_pattern kernel/modprobe vm/drop_caches fs/suid_dumpable kernel/panic; do"
        " (echo 1 > /run/cleave/proc/sys/$f) 2> /dev/null && echo WROTE $f; done; echo end", "end\n"),
    "no key of sysrq": ("(echo h > /run/cleave/proc/sysrq-trigger) 2> /dev/null && echo PRESSED; echo end", "end\n"),
    "memory of the kernel can't be read": (
        "for f in kcore kmsg kpageflags kpagecount; do head -c 1 /run/cleave/proc/$f > /dev/null 2>&1 && echo READ $f; done;"
        " echo end", "end\n"),
    "no devices": ("mknod /tmp/d c 1 5 2> /dev/null && head -c 1 /tmp/d > /dev/null 2>&1 && echo OPENED; echo end", "end\n"),
    "init's namespaces can't be entered": (
        "for n in user mnt pid net uts ipc cgroup; do nsenter -t 1 --$n=/run/cleave/proc/1/ns/$n true 2> /dev/null &&"
        " echo ENTERED $n; done; echo end", "end\n"),
    "no host process in the second /proc": ("ls -d /run/cleave/proc/[0-9]* | wc -l | awk '{print ($1 < 12)}'", "1\n"),
    "no file system of a disk": ("mount -t ext4 /dev/sda /tmp 2> /dev/null && echo MOUNTED; echo end", "end\n"),
    "no program in the kernel": (
        "python3 -c 'import ctypes; print(ctypes.CDLL(None, use_errno=True).syscall(321, 0, 0, 0), ctypes.get_errno())'",
        "-1 1\n"),
}


@pytest.mark.parametrize("what", WALLED)
def test_root_of_a_namespace_inside(box, what):
    script, want = WALLED[what]
    assert nested(box, *AS_ROOT, script).out == want


def test_the_number_of_namespaces_is_bounded(box):
    """A chain of user namespaces and a crowd of them end at the kernel's count, and the sandbox goes on."""
    script = """
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
made = 0
r, w = os.pipe()
for i in range(400):
    pid = os.fork()
    if pid == 0:
        os.write(w, b'1' if libc.unshare(0x10000000) == 0 else b'0')
        import signal; signal.pause()
done = b''
while len(done) < 400: done += os.read(r, 400)
print(done.count(b'1'))
"""
    made = int(nested(box, "/usr/bin/python3", "-c", script).ok().out)
    assert 100 < made <= 256


def test_a_fork_refuses_what_is_nested_and_carries_the_rest(box):
    def call(*words):
        return box.call(*words)
    name, clone = "nest", "nest-clone"
    try:
        call("start", "--nest", *SHOWN, name).ok()
        call("exec", name, "sh", "-c", "echo kept > f").ok()
        call("fork", name, clone).ok()
        assert call("exec", clone, INNER, "run", "echo", "deep").ok().out == "deep\n"
        assert call("exec", clone, "cat", "f").ok().out == "kept\n"
        call("exec", clone, INNER, "start", "inner").ok()
        said = call("fork", clone, "third").refused()
        assert re.search(r"process \d+ ", said), said
        assert call("exec", clone, INNER, "exec", "inner", "echo", "unharmed").ok().out == "unharmed\n"
    finally:
        call("rm", "--force", clone)
        call("rm", "--force", name)
