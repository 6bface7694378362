# SPDX-License-Identifier: Apache-2.0
"""Kernels without a system call: each one in turn answers ENOSYS, for cleave, its init and what runs inside. The command
runs as ever, or one sentence says what is missing; never a hang, a crash or a sandbox that is silently weaker.
"""
import json
import re
import subprocess
from pathlib import Path

import pytest

from conftest import BUILD, PAYLOAD

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
CALLS = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())}
ENOSYS = 38
# Without these no program says or ends anything, ours and the C library's included.
BASICS = {"read", "write", "mmap", "mprotect", "execve", "arch_prctl", "exit_group", "newfstatat", "getrandom"}
# Newer than the oldest kernel that cleave runs on, or left out of some: without them it does run.
OPTIONAL = ("landlock_create_ruleset mseal futex_waitv process_mrelease set_mempolicy_home_node cachestat fchmodat2 "
            "map_shadow_stack statmount listmount memfd_secret kcmp userfaultfd io_uring_setup name_to_handle_at "
            "process_madvise pidfd_getfd epoll_pwait2 rseq membarrier copy_file_range splice tee vmsplice sendfile "
            "quotactl_fd add_key keyctl bpf perf_event_open process_vm_readv inotify_init1").split()


FORKS_NEED = {"kcmp", "pidfd_getfd", "process_vm_readv", "sendfile"}  # of the optional ones
# What capture, restore and a keeper's service make. Not futex, without which the C library's programs end by themselves.
LIVING = ("clone3 close_range copy_file_range epoll_create1 epoll_ctl epoll_wait eventfd2 execveat flock fsopen ftruncate "
          "getdents64 getrandom inotify_init1 ioctl kcmp madvise memfd_create mremap name_to_handle_at open_by_handle_at "
          "openat2 personality pidfd_getfd pidfd_open pidfd_send_signal pipe2 prctl pread64 preadv process_madvise "
          "process_vm_readv process_vm_writev prlimit64 ptrace pwritev2 recvmmsg recvmsg rt_sigtimedwait seccomp sendfile "
          "sendmsg set_robust_list setitimer sigaltstack signalfd4 socketpair splice statx tee timerfd_create timerfd_settime "
          "vmsplice wait4 waitid").split()


def without(box, call, *words):
    argv = [*box.prefix, str(PAYLOAD / "deny"), str(CALLS[call]), str(ENOSYS), str(BUILD), *words]
    return subprocess.run(argv, env=box.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, cwd=box.dir)


def is_refused(done, verb, out=("",)):
    """One sentence says what is missing."""
    assert done.returncode == 125 and done.stdout in out, done
    assert done.stderr.startswith(f"cleave {verb}: ") and done.stderr.count("\n") == 1 and len(done.stderr) > 25, done
    return True


@pytest.mark.parametrize("keeper", ["with", "without"])
@pytest.mark.parametrize("call", sorted(set(LIVING)))
def test_what_lives_does_it_or_says_why_not(box, call, keeper):
    """start, exec, fork. Its keeper has the call, or lacks it too: the first makes restores fail, the second captures."""
    name, clone = "source", "twin"
    words = ["start", name, "--", "sh", "-c", "echo kept >/tmp/kept; exec sleep 1000"]
    kept = "until test -s /tmp/kept; do sleep 0.01; done; cat /tmp/kept"
    try:
        if keeper == "with":
            box.call(*words).ok()
        else:
            done = without(box, call, *words)
            if done.returncode != 0:
                assert is_refused(done, "start")
                assert name not in box.call("ps", "-a").ok().out
                return
        assert box.call("exec", name, "sh", "-c", kept).ok().out == "kept\n"
        done = without(box, call, "exec", name, "sh", "-c", "echo inside; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "inside\n", "") or is_refused(
            done, "exec", ("", "inside\n"))  # the command has the client's stdout, and may be faster than what the client lacks
        done = without(box, call, "fork", name, clone)
        if done.returncode == 0:
            assert done.stderr == ""
            seen = box.call("exec", clone, "cat", "/tmp/kept")  # the clone's keeper lacks the call
            assert seen.out == "kept\n" or seen.refused()
        else:
            assert is_refused(done, "fork")
            assert call not in OPTIONAL or call in FORKS_NEED
            assert clone not in box.call("ps", "-a").ok().out
        assert box.call("exec", name, "echo", "on").ok().out == "on\n"
    finally:
        box.call("rm", "-f", name, clone)


@pytest.mark.parametrize("call", sorted(set(CALLS) - BASICS))
def test_it_runs_or_says_why_not(box, call):
    done = without(box, call, "run", "sh", "-c", "echo inside; exit 7")
    if done.returncode == 7:
        assert (done.stdout, done.stderr) == ("inside\n", "")
    else:
        assert call not in OPTIONAL
        assert done.returncode == 125 and done.stdout == "", done
        assert done.stderr.startswith("cleave run: ") and done.stderr.count("\n") == 1 and len(done.stderr) > 25, done


@pytest.mark.parametrize("call", [name for name in OPTIONAL if name in CALLS])
def test_a_layer_is_off_and_said_to_be(box, call):
    """What is said to be on is on: only Landlock depends on a call that may be absent."""
    result = json.loads(without(box, call, "run", "--json", "true").stdout)
    layers = json.loads(without(box, "membarrier", "run", "--json", "true").stdout)["layers"]
    other = {name for name in layers if result["layers"][name]["state"] != layers[name]["state"]}
    assert other == ({"landlock"} if call.startswith("landlock") else set())
    if other:
        assert result["layers"]["landlock"]["state"] == "off" and result["layers"]["landlock"]["how"]


@pytest.mark.parametrize("call", ["clone3", "pidfd_open", "pidfd_send_signal", "openat2", "close_range", "fsopen", "open_tree", "move_mount",
                                  "mount_setattr"])
def test_what_every_launch_needs_is_named_at_once(box, call):
    """Before anything is made, with a remedy; and doctor says the same."""
    done = without(box, call, "run", "true")
    assert "this host lacks " in done.stderr and "seccomp=unconfined" in done.stderr, done
    layers = json.loads(without(box, call, "doctor", "--json").stdout)["layers"]
    assert any(layer["state"] == "off" and "seccomp=unconfined" in (layer["remedy"] or "") for layer in layers.values())
