# SPDX-License-Identifier: Apache-2.0
"""What a row of the launch, a mask or a mount flag is there for, seen by the one thing that it alone brings about.

tools/mutate takes each of them away and runs the test that has to notice; most are noticed by the system suite, these
are for the rest: walls that stand behind another one, or that count only while a sandbox is being made.
"""
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from conftest import Process, leaks, poll
from roots import busybox_root

IN_RECVMSG, IN_PAUSE = "47 ", "34 "


def down(*walls):
    return {"dev": True, "env": {"CLEAVE_TEST_WITHOUT": ",".join(walls)}}


def in_call(pid, number):
    """Whether it sleeps in that system call; an ordinary user may not look and is told so at once."""
    if os.geteuid() != 0:
        return True
    return leaks.read(f"/proc/{pid}/syscall").startswith(number)


def status(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split(":", 1)[1].strip()
    raise AssertionError(f"no {name}")


def stopped_at(box, row, *words, prefix=()):
    """A run whose init or command waits before `row`."""
    env = box.environment({"CLEAVE_TEST_STOP": row})
    argv = [*prefix, *box.argv("run", *(words or ["/bin/true"]), dev=True)]
    process = Process(box, argv, subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    box.running.append(process)
    return process


def alive(pid):
    text = leaks.read(f"/proc/{pid}/stat")
    return bool(text) and text.rsplit(")", 1)[1].split()[0] not in "ZX"


# ---- while it is made ----

def test_the_keeper_keeps_to_one_processor(box):
    process = stopped_at(box, "WRITE_PLAN")
    poll(lambda: status(process.popen.pid, "State")[0] == "T", what="the stop")
    assert bin(int(status(process.popen.pid, "Cpus_allowed").replace(",", ""), 16)).count("1") == 1


@pytest.mark.parametrize("row", ["NET_BEGIN", "NOT_DUMPABLE", "INIT_CAPS"])
def test_init_dies_with_its_keeper_at(box, row):
    """At each stretch between two changes of its ids, of which each clears the death signal; init waits for nothing then."""
    process = stopped_at(box, row)
    init = process.init()
    poll(lambda: in_call(init, IN_PAUSE), what=f"row {row}")
    process.popen.kill()
    process.wait()
    poll(lambda: not alive(init), what="the end of init")


def test_init_waits_for_its_ids(box):
    """The keeper stands before it maps them: init may not have gone on."""
    process = stopped_at(box, "WRITE_UID_MAP")
    init = process.init()
    poll(lambda: in_call(init, IN_RECVMSG), what="init in its wait")
    assert alive(init)


@pytest.mark.root_only
def test_no_mount_of_init_is_a_slave(box):
    """Where / is shared: what is mounted outside from here on does not arrive in the old root of init either."""
    process = stopped_at(box, "NEW_ROOT", prefix=("unshare", "-m", "--propagation", "shared"))
    init = process.init()
    poll(lambda: in_call(init, IN_PAUSE), what="row NEW_ROOT")
    text = Path(f"/proc/{init}/mountinfo").read_text()
    assert "/" in [line.split()[4] for line in text.splitlines()]
    assert "master:" not in text and "shared:" not in text


def test_the_command_holds_no_right_from_its_row_on(box):
    """Between DROP_CAPS and exec: whatever is done for the command there is done with nothing but its own rights."""
    process = stopped_at(box, "WORKDIR")
    init = process.init()
    command = poll(lambda: [p for p in process.named("cleave-init") if p != init and in_call(p, IN_PAUSE)], what="the command")[0]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(command, name), 16) == 0, name


# ---- walls behind another one ----

@pytest.mark.root_only
def test_groups_of_the_caller_go_also_when_init_kept_them(box):
    out = box.run("/bin/sh", "-c", "grep Groups /proc/self/status", preexec_fn=lambda: os.setgroups([4, 24]), **down("row:INIT_IDS")).ok().out
    assert out.split() == ["Groups:"]


def test_no_new_privs_also_when_init_did_without(box):
    out = box.run("/bin/sh", "-c", "grep NoNewPrivs /proc/self/status", **down("row:INIT_NO_NEW_PRIVS")).ok().out
    assert out.split() == ["NoNewPrivs:", "1"]


def test_the_terminal_is_the_sessions_own(box):
    """/dev/tty is whatever the session has: nothing, unless it was given."""
    ours, theirs = pty.openpty()
    try:
        box.run("-t", "/bin/sh", "-c", ": </dev/tty && : >/home/user/has-one; test -e /home/user/has-one", dev=True,
                stdin=theirs, stdout=theirs).ok()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_clone_has_the_processes_of_its_source(box):
    box.call("start", "a", "--", "/bin/sleep", "1000", dev=True).ok()
    try:
        box.call("fork", "a", "b", dev=True, timeout=15).ok()
        assert box.call("exec", "b", "/bin/cat", "/proc/2/comm", dev=True).out == "sleep\n"
    finally:
        box.call("rm", "-f", "a", dev=True, timeout=15)
        box.call("rm", "-f", "b", dev=True, timeout=15)


def memory_group(pid):
    """The cgroup that bounds its memory: v1's where there is one, else v2's."""
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return next((path for _, names, path in rows if "memory" in names.split(",")), rows[-1][2])


@pytest.mark.root_only
def test_an_exec_with_a_limit_has_a_cgroup_of_its_own(box):
    box.call("start", "a", dev=True).ok()
    try:
        box.start("--memory", "64m", "a", "/bin/sleep", "1000", verb="exec", dev=True)
        init = json.loads(box.call("inspect", "a", dev=True).ok().out)["init_pid"]
        sleep = poll(lambda: [p for p, row in leaks.process_table(init).items() if row[1] == "sleep"], what="the exec")[0]
        assert memory_group(init) != memory_group(sleep), memory_group(init)
    finally:
        box.call("rm", "-f", "a", dev=True)


def test_no_signal_is_blocked(box):
    """init blocks what it reads from a descriptor; asked of a program that changes nothing itself."""
    lines = box.run("/bin/cat", "/proc/self/status", dev=True).ok().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("SigBlk")] == ["0" * 16]


@pytest.mark.root_only
def test_a_swap_that_nobody_bounds_is_told(box):
    """A kernel that does not account it: refused, or with --degrade a layer and a limit that say so."""
    memory = ["--memory", "64m", "--swap", "1m"]
    if not box.delegated:
        pytest.skip("no cgroup here")
    assert "swap" in box.run(*memory, "/bin/true", **down("limit:swap")).refused(125)
    done = box.result(*memory, "--degrade", "/bin/true", **down("limit:swap")).ok().result
    runs = [done]
    box.call("start", "a", **down("limit:swap")).ok()
    try:
        report = box.directory() / "result"
        box.call("exec", *memory, "--degrade", f"--json={report}", "a", "/bin/true", **down("limit:swap")).ok()
        runs.append(json.loads(report.read_text()))
    finally:
        box.call("rm", "-f", "a", dev=True).ok()
    for result in runs:
        assert result["layers"]["cgroup_memory"]["state"] == "degraded", result["layers"]
        assert "swap" in result["layers"]["cgroup_memory"]["how"]
        assert not result["limits"]["swap"]["enforced"] and result["limits"]["memory"]["enforced"]


def test_init_holds_one_socket_and_nothing_of_the_caller(box):
    def leak():
        os.dup2(os.open("/", os.O_RDONLY | os.O_DIRECTORY), 9, inheritable=True)
    process = box.start("/bin/sleep", "100", dev=True, close_fds=False, preexec_fn=leak)
    process.workload("sleep")
    init = process.init()
    links = []

    def settled():
        """The pipe by which the command tells of its exec is open for a moment."""
        links[:] = [os.readlink(f"/proc/{init}/fd/{fd}") for fd in os.listdir(f"/proc/{init}/fd") if fd != "2"]
        return not any(link.startswith("pipe:") for link in links)
    poll(settled, what="the end of the error pipe")
    assert len({link for link in links if link.startswith("socket:")}) == 1, links
    assert all(link.startswith(("socket:", "anon_inode:")) for link in links), links
    assert os.stat(f"/proc/{init}/fd/2").st_dev == os.stat(f"/proc/{init}/root/tmp").st_dev
    process.popen.terminate()
    process.wait()


LAYERS = """if True:
    import ctypes, json
    l = ctypes.CDLL(None); n = 0
    a = (ctypes.c_uint64 * 1)(1)     # of all rights, only that to execute is judged; no rule grants it
    while n < 40 and l.syscall(446, l.syscall(444, a, 8, 0), 0) == 0: n += 1
    print(json.dumps(n))"""


def test_a_landlock_domain_is_around_the_command(box):
    """The kernel stacks 16 of them; the sandbox's own is one."""
    layers = box.result("/bin/true", dev=True).ok().result["layers"]
    assert layers["landlock"]["state"] in ("on", "off")
    if layers["landlock"]["state"] == "off":  # a kernel without it
        return
    assert box.python(LAYERS, **down("deny:landlock_create_ruleset", "deny:landlock_restrict_self")) == 15


def test_a_limit_of_processor_time_on_each_process(box):
    """Behind the count of the tree, a second further."""
    code = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_CPU)))"
    assert box.python(code, "--cpu-time", "10", dev=True) == [11, 12]


def test_init_tells_what_it_did(box):
    """READY brings the times of its rows."""
    timing = box.result("/bin/true", dev=True).ok().result["timing"]
    assert {"PIVOT", "LANDLOCK", "INIT_CAPS"} - {"LANDLOCK"} <= {t["step"] for t in timing if t["side"] == "init"}


def test_it_ends(box):
    """A command that is never handed over would be waited for."""
    assert box.run("/bin/echo", "x", dev=True, timeout=20).ok().out == "x\n"


# ---- masks and flags ----

HIDDEN = ["acpi", "asound", "driver", "interrupts", "kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup", "kpagecount",
          "kpageflags", "latency_stats", "modules", "sched_debug", "schedstat", "scsi", "slabinfo", "sysrq-trigger", "timer_list",
          "timer_stats", "vmallocinfo"]
READ_ONLY = ["bus", "fs", "irq", "mtrr", "sys"]


def mounts(box, *options):
    """point -> flags, of the topmost mount at each."""
    text = box.run(*options, "/bin/cat", "/proc/self/mountinfo", dev=True).ok().out
    return {line.split()[4]: set(line.split()[5].split(",")) for line in text.splitlines()}


@pytest.mark.parametrize("name", HIDDEN + READ_ONLY)
def test_part_of_proc(box, name):
    """Hidden or read-only, where this kernel has it (tests/unit/plan_root.c: whether it has or not)."""
    flags = mounts(box).get(f"/proc/{name}")
    if not os.path.lexists(f"/proc/{name}"):
        assert flags is None
        return
    assert flags and {"ro", "nosuid", "nodev", "noexec"} <= flags, flags


FLAGS = {"/": {"ro", "nosuid", "nodev"}, "/usr": {"ro", "nosuid", "nodev"}, "/home/user": {"rw", "nosuid", "nodev"},
         "/tmp": {"rw", "nosuid", "nodev"}, "/dev/shm": {"rw", "nosuid", "nodev"}, "/dev/null": {"nosuid", "noexec"},
         "/dev/pts": {"nosuid", "noexec"}, "/proc": {"nosuid", "nodev", "noexec"}, "/proc/sys": {"ro", "nosuid", "nodev", "noexec"},
         "/proc/interrupts": {"ro", "nosuid", "nodev", "noexec"}, "/mnt/t": {"rw", "nosuid", "nodev"},
         "/mnt/ro": {"ro", "nosuid", "nodev"}, "/mnt/rw": {"rw", "nosuid", "nodev"}}


def test_flags_of_every_kind_of_mount(box):
    table = mounts(box, "--tmpfs", "/mnt/t", "--ro", f"{box.directory()}:/mnt/ro", "--rw", f"{box.directory()}:/mnt/rw")
    for point, flags in FLAGS.items():
        assert flags <= table[point], point


def test_a_proc_in_full_view_is_there_for_nesting(box):
    """Without one the kernel lets nobody inside mount another; without the option there is none."""
    assert "/run/cleave/proc" in mounts(box, "--nest")
    assert "/run/cleave/proc" not in mounts(box)


def test_covers_have_flags_of_their_own(box):
    """Also where the mounts that they are copies of had none."""
    bare = [f"flag:{kind}.{flag}" for kind in ("root", "proc") for flag in ("nosuid", "nodev", "noexec")]
    text = box.run("/bin/cat", "/proc/self/mountinfo", **down(*bare)).ok().out
    table = {line.split()[4]: set(line.split()[5].split(",")) for line in text.splitlines()}
    assert "nosuid" not in table["/proc"] and "nosuid" not in table["/"]
    for point in ("/proc/sys", "/proc/interrupts"):
        assert {"ro", "nosuid", "nodev", "noexec"} <= table[point], point


def test_flags_of_a_root_that_is_a_directory(box):
    """Below an overlay and itself; also what is a copy of the skeleton or of the disk has flags of its own."""
    top = busybox_root(box)
    bare = [f"flag:{kind}.{flag}" for kind in ("root", "disk") for flag in ("nosuid", "nodev")]
    for more, points in (([], ["/", "/dev", "/run/cleave", "/run/cleave/written"]), (["--root-rw"], ["/", "/dev"])):
        text = box.run("--root", top, *more, "cat", "/proc/self/mountinfo", **down(*bare)).ok().out
        table = {line.split()[4]: set(line.split()[5].split(",")) for line in text.splitlines()}
        for point in points:
            want = {"nosuid", "nodev", *(["rw"] if point == "/" else ["ro"]), *(["noexec"] if "written" in point else [])}
            assert want <= table[point], (point, table[point])


@pytest.mark.root_only
def test_the_directory_below_an_overlay_is_read_only(box):
    """Overlayfs never writes to it; but init has it in hand before there is an overlay. It hangs nowhere then."""
    top = busybox_root(box)
    process = stopped_at(box, "UPPER", "--root", top, "true")
    init = process.init()
    poll(lambda: in_call(init, IN_PAUSE), what="row UPPER")
    held = [path for path in Path(f"/proc/{init}/fd").iterdir() if os.path.exists(path) and os.path.samefile(path, top)]
    assert held and all(os.statvfs(path).f_flag & os.ST_RDONLY for path in held), held


@pytest.mark.root_only
@pytest.mark.parametrize("root", [False, True], ids=["host", "directory"])
def test_no_mount_inside_is_a_slave_or_a_peer(box, root):
    """Where / and what is bound from it are shared."""
    words = ["--root", busybox_root(box), "--root-rw"] if root else ["--ro", f"{box.directory()}:/mnt/ro"]
    argv = ["unshare", "-m", "--propagation", "shared", *box.argv("run", *words, "cat", "/proc/self/mountinfo", dev=True)]
    done = subprocess.run(argv, env=box.environment(), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=True)
    rows = [(line.split()[4], line.split(" - ")[0].split()[6:]) for line in done.stdout.splitlines()]
    assert {"/", *(["/dev/null"] if root else ["/usr", "/mnt/ro", "/dev/null"])} <= {point for point, _ in rows}
    assert [row for row in rows if row[1]] == []


def test_every_count_of_namespaces(box):
    code = "import os, json; print(json.dumps({n: int(open('/proc/sys/user/' + n).read()) for n in os.listdir('/proc/sys/user')}))"
    counts = box.python(code, dev=True)
    names = {f"max_{n}_namespaces" for n in ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup", "time")}
    assert {n: counts[n] for n in names} == dict.fromkeys(names, 0)
    assert (counts["max_inotify_instances"], counts["max_inotify_watches"]) == (128, 65536)
