# SPDX-License-Identifier: Apache-2.0
"""Attacks on the system call filter with the filter, or one row of it, down."""
import pytest
from conftest import PYTHON
from test_a_identity import ENOSYS, EPERM, calls
from test_c_calls import SIGSYS, numbers
from walls import without

EINVAL, EFAULT, ENOTTY, EBADF = 22, 14, 25, 9


def test_c31_open_other_tables(box):
    """Without the filter the kernel answers by whatever tables it has: nobody is killed by SIGSYS."""
    for words in (["int80", "20"], ["x32", "39"]):
        opened = box.run(*box.payload("probe", *words), **without("row:SECCOMP")).ok()
        assert f"signal {SIGSYS}" not in opened.out, opened
        assert box.run(*box.payload("probe", *words)).out == f"signal {SIGSYS}\n"


def test_c32_open_upper_halves_of_arguments(box):
    """The kernel itself ignores the upper half: without the row it takes TIOCSTI either way."""
    requests = [f"16:0:{0x5412}", f"16:0:{0x5412 | 1 << 32}"]
    opened = calls(box, *requests, **without("deny:ioctl"))
    assert opened == [-ENOTTY] * 2  # what a pipe says
    assert calls(box, *requests) == [-EPERM] * 2


# Calls whose answer without rights differs from the filter's, with arguments that change nothing.
HARMLESS = {
    "userfaultfd": "1", "io_uring_setup": "0:0", "keyctl": "0:-3:0", "fanotify_init": "0x200:0", "perf_event_open": "0:0:0:0:0",
    "process_vm_readv": "1:0:0:0:0:1", "pidfd_getfd": "-1:0:0", "kcmp": "2:2:99:0:0", "open_tree": "-1:0:0",
    "fsconfig": "-1:0:0:0:0", "setns": "-1:0", "unshare": "0x1", "lookup_dcookie": "0:0:0", "modify_ldt": "99",
    "move_pages": "0:0:0:0:0:0x100", "remap_file_pages": "1:0:1:0:0", "name_to_handle_at": "-1:0:0:0:0", "ustat": "0:0", "sysfs": "3",
    "process_mrelease": "-1:0", "process_madvise": "-1:0:0:0:0", "adjtimex": "0", "clock_settime": "99:0", "request_key": "0:0:0:0",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_c33_open_denied_call(box, name):
    """Without its row the call reaches the kernel, which says something else than the filter."""
    words = f"{numbers()[name]}:{HARMLESS[name]}"
    opened = calls(box, words, **without(f"deny:{name}"))
    assert opened != [-EPERM], opened
    assert calls(box, words) == [-EPERM]


def test_c33_open_landlock_of_ones_own(box):
    """Absent calls: the version is asked, nothing is made."""
    asked = "444:0:0:1"
    assert calls(box, asked, **without("deny:landlock_create_ruleset"))[0] > 0
    assert calls(box, asked) == [-ENOSYS]


def test_c34_open_socket_families(box):
    """Every other family is asked in vain: here netlink(NETFILTER or GENERIC) and vsock or AF_ALG, where the kernel has them."""
    opened = calls(box, "41:16:3:16", "41:16:3:12", "41:38:5:0", "41:40:1:0", **without("deny:socket"))
    assert opened[0] >= 0 and -EPERM not in opened, opened
    assert calls(box, "41:16:3:16", "41:16:3:12", "41:38:5:0", "41:40:1:0") == [-EPERM] * 4


CLONE3 = """if True:
    import ctypes, json, os
    l = ctypes.CDLL(None, use_errno=True)
    a = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)   # CLONE_NEWUSER, SIGCHLD
    p = l.syscall(435, a, 88)
    if p == 0: os._exit(0)
    if p > 0: os.waitpid(p, 0)
    print(json.dumps(p > 0 or -ctypes.get_errno()))"""


def test_c35_open_flags_in_memory(box):
    """clone3 hands its flags over where no filter looks: a user namespace in spite of the row for clone."""
    assert box.python(CLONE3, **without("deny:clone3", "row:NS_LIMITS")) is True
    assert box.python(CLONE3, **without("deny:clone3")) == -28, "the count holds by itself"
    assert box.python(CLONE3) == -ENOSYS


ALLOW_ALL = """if True:
    import ctypes, json
    l = ctypes.CDLL(None, use_errno=True)
    class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('f', ctypes.c_void_p)]
    code = (ctypes.c_uint64 * 1)(0x7fff000000000006)
    r = l.syscall(317, 1, 0, ctypes.byref(P(1, ctypes.addressof(code))))
    print(json.dumps([r, -ctypes.get_errno() if l.unshare(0x10000000) else 0]))"""


def test_c36_open_a_filter_that_allows_all(box):
    """The same filter on top of none allows all; on top of ours it takes nothing back."""
    assert box.python(ALLOW_ALL, **without("row:SECCOMP", "row:NS_LIMITS")) == [0, 0]
    assert box.python(ALLOW_ALL, **without("row:NS_LIMITS")) == [0, -EPERM]


def test_c37_open_numbers_newer_than_the_table(box):
    """mseal (6.10) or cachestat (6.5), of which one exists on a kernel that is new enough."""
    asked = {"mseal": "462:1:0:0", "cachestat": "451:-1:0:0:0"}
    for name, words in asked.items():
        opened, walled = calls(box, words, **without(f"deny:{name}")), calls(box, words)
        assert walled == [-ENOSYS]
        assert opened in ([-EINVAL], [-EBADF], [-EFAULT], [-ENOSYS]), opened


def test_c33_open_limits_of_init(box):
    """Where both have one id the kernel lets the workload lower its init's limits; with ids of its own it does not."""
    words = [PYTHON, "-c", "import resource\ntry: resource.prlimit(1, 7, (9, 9)); print('lowered')\nexcept PermissionError: pass"]
    assert box.run(*words, **without("deny:prlimit64")).ok().out == ("lowered\n" if box.is_user else "")
    assert box.run(*words).ok().out == ""
