# SPDX-License-Identifier: Apache-2.0
"""Submissions whose verdict is known: right every time, N times each (CLEAVE_VERDICTS, 3 unless told), two at a time."""
import json
import os

import pytest
from conftest import PAYLOAD, PYTHON

N = int(os.environ.get("CLEAVE_VERDICTS", "3"))
PROBE = {"ro": f"{PAYLOAD}/probe:/opt/probe"}


def sh(script):
    return ["/bin/sh", "-c", script]


def probe(*words):
    return ["/opt/probe", *words]


# name: (what it needs of the host, options, command, the verdict, and what else has to be so)
EXITED, SIGNALED = "exited", "signaled"
CASES = {
    "accepted": ("", {}, sh("echo 42"), EXITED, {"exit_code": 0, "stdout": "42\n"}),
    "nonzero": ("", {}, sh("exit 3"), EXITED, {"exit_code": 3}),
    "exit-124": ("", {}, sh("exit 124"), EXITED, {"exit_code": 124}),
    "exit-137": ("", {}, sh("exit 137"), EXITED, {"exit_code": 137}),
    "loop": ("", {"cpu-time": 0.2, "timeout": 60}, sh("while :; do :; done"), "cpu_limit", {}),
    "loop-on-the-wall": ("", {"timeout": 0.2}, sh("while :; do :; done"), "timeout", {}),
    "loop-in-daemons": ("", {"cpu-time": 0.2, "timeout": 60}, probe("scatter", "4", "60000", "stay"), "cpu_limit", {}),
    "sleep": ("", {"cpu-time": 10, "timeout": 0.2}, sh("sleep 1000"), "timeout", {}),
    "sleep-in-a-daemon": ("", {"timeout": 0.2}, sh("setsid sleep 1000 & wait"), "timeout", {}),
    "stopped": ("", {"timeout": 0.2}, sh("kill -STOP $$"), "timeout", {}),
    "ignores-signals": ("", {"timeout": 0.2}, sh("trap '' TERM INT HUP XCPU; while :; do sleep 1; done"), "timeout", {}),
    "leaves-a-daemon": ("", {"timeout": 60}, sh("setsid sleep 1000 & exit 0"), EXITED, {"exit_code": 0}),
    "fork-bomb": ("cgroup", {"pids": 6, "timeout": 1}, probe("bomb"), "timeout", {"hit": "pids"}),
    "memory-heap": ("cgroup", {"memory": "48m", "timeout": 60}, probe("fill", "heap"), "memory_limit", {"hit": "memory"}),
    "memory-shared": ("cgroup", {"memory": "48m", "timeout": 60}, probe("fill", "shared"), "memory_limit", {"hit": "memory"}),
    "memory-tmpfs": ("cgroup", {"memory": "48m", "disk": "1g", "timeout": 60}, probe("fill", "tmpfs"), "memory_limit", {"hit": "memory"}),
    "memory-stack": ("cgroup", {"memory": "48m", "stack": "1g", "timeout": 60}, probe("fill", "stack"), "memory_limit", {"hit": "memory"}),
    "memory-tables": ("cgroup", {"memory": "48m", "timeout": 60}, probe("fill", "tables"), "memory_limit", {"hit": "memory"}),
    "memory-of-a-child": ("cgroup", {"memory": "48m", "timeout": 60}, sh("/opt/probe fill heap; exit 0"), "memory_limit", {"hit": "memory"}),
    "stack-overflow": ("", {"stack": "1m", "timeout": 60}, probe("fill", "stack"), SIGNALED, {"signal_name": "SIGSEGV"}),
    "disk": ("", {"disk": "4m"}, sh("exec dd if=/dev/zero of=/tmp/x bs=64k 2>/dev/null"), "disk_limit", {"exit_code": 1}),
    "file-too-large": ("", {"fsize": "64k"}, sh("head -c 100000 /dev/zero >x; kill -XFSZ $$"), SIGNALED, {"signal_name": "SIGXFSZ"}),
    "flood-stdout": ("", {"output-limit": "64k", "timeout": 60}, sh("exec yes"), "output_limit", {"hit": "output-limit"}),
    "flood-stderr": ("", {"output-limit": "64k", "timeout": 60}, sh("exec yes >&2"), "output_limit", {"hit": "output-limit"}),
    "flood-from-a-daemon": ("", {"output-limit": "64k", "timeout": 60}, sh("setsid yes & sleep 1000"), "output_limit", {}),
    "output-at-the-limit": ("", {"output-limit": "64k"}, probe("spew", "0", "65536"), EXITED, {"exit_code": 0}),
    "closed-stdio": ("", {"timeout": 60}, sh("exec 0<&- 1>&- 2>&-; exit 0"), EXITED, {"exit_code": 0, "stdout": ""}),
    "writes-to-closed": ("", {"timeout": 60}, sh("exec 1>&-; echo x 2>/dev/null"), EXITED, {"exit_code": 1}),
    "segv": ("", {}, sh("kill -SEGV $$"), SIGNALED, {"signal_name": "SIGSEGV"}),
    "null-pointer": ("", {}, [PYTHON, "-c", "import ctypes; ctypes.string_at(0)"], SIGNALED, {"signal_name": "SIGSEGV"}),
    "abrt": ("", {}, [PYTHON, "-c", "import os; os.abort()"], SIGNALED, {"signal_name": "SIGABRT"}),
    "kills-itself": ("", {"timeout": 60}, sh("kill -KILL $$"), SIGNALED, {"signal_name": "SIGKILL"}),
    "kills-itself-with-a-memory-limit": ("cgroup", {"memory": "64m"}, sh("kill -KILL $$"), SIGNALED, {"signal_name": "SIGKILL"}),
    "xcpu-by-itself": ("", {"cpu-time": 10}, sh("kill -XCPU $$"), SIGNALED, {"signal_name": "SIGXCPU"}),
    "term": ("", {}, sh("kill -TERM $$"), SIGNALED, {"signal_name": "SIGTERM"}),
    "huge-program": ("", {"disk": "8m"}, sh("printf '\\177ELF' >x; truncate -s 1T x; chmod +x x; ./x 2>/dev/null"), EXITED, {"exit_code": 126}),
    "huge-data": ("cgroup", {"memory": "48m", "timeout": 60}, [PYTHON, "-c", "bytearray(1 << 30)"], "memory_limit", {}),
    "compile-includes-itself": ("", {"timeout": 60}, sh("echo '#include __FILE__' >x.c; gcc -c x.c 2>/dev/null"), EXITED, {"exit_code": 1}),
    "compile-to-4-gib": ("", {"timeout": 60, "disk": "16m"}, sh(
        "echo 'int main[1 << 30] = {1};' >x.c; gcc x.c 2>e; r=$?; test ! -e a.out || r=0; exit $r"), ("exited", "disk_limit"), {"fails": True}),
    "compile-of-a-macro-bomb": ("cgroup", {"timeout": 60, "memory": "64m"}, sh(
        "echo '#define a b b b b b b b b b b' >x.c; for i in b.c c.d d.e e.f f.g g.h h.i i.j; do "
        "echo \"#define ${i%.*} ${i#*.} ${i#*.} ${i#*.} ${i#*.} ${i#*.} ${i#*.} ${i#*.} ${i#*.}\" >>x.c; done; "
        "echo 'char *s[] = { a };' >>x.c; gcc -c x.c 2>e"), ("memory_limit", "exited"), {"fails": True}),
    "threads": ("cgroup", {"pids": 64, "timeout": 60}, probe("fill", "threads"), EXITED, {"exit_code": 4, "hit": "pids"}),
    "threads-without-end": ("cgroup", {"memory": "48m", "timeout": 60}, probe("fill", "threads"), "memory_limit", {"hit": "memory"}),
    "threads-100000": ("cgroup", {"memory": "256m", "pids": 64, "timeout": 60}, probe("fill", "threads", "100000"), EXITED,
                       {"exit_code": 4, "hit": "pids", "stdout": "63\n"}),
    "threads-100000-without-pids": ("cgroup", {"memory": "48m", "timeout": 60}, probe("fill", "threads", "100000"), "memory_limit", {"hit": "memory"}),
    "not-there": ("", {}, ["/no/such/program"], "setup_error", {"cleave_status": 127}),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(box, name):
    needs, options, argv, verdict, more = CASES[name]
    if needs and not box.delegated:
        pytest.skip("no cgroup: the limit is refused (system/test_limits.py)")
    line = json.dumps({"argv": argv, **PROBE, **options, "capture": "128k"})
    done = box.call("run", "--jobs", "2", "--batch", "-", input=(line + "\n") * N, timeout=60 + 10 * N)
    records = [json.loads(l) for l in done.out.splitlines()]
    assert len(records) == N, done
    wrong = [r for r in records if not is_right(r.get("result"), verdict, more)]
    assert not wrong, f"{len(wrong)} of {N} wrong; the first: {json.dumps(wrong[0])[:3000]}"


def is_right(r, verdict, more):
    if not r or r["status"] not in ((verdict,) if isinstance(verdict, str) else verdict):
        return False
    for key, value in more.items():
        if key == "hit":
            ok = r["limits"][value]["hit"] is True
        elif key == "fails":
            ok = r["cleave_status"] != 0
        else:
            ok = r[key] == value
        if not ok:
            return False
    return True
