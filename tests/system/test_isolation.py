# SPDX-License-Identifier: Apache-2.0
"""What stands around a command when no option was given, read from inside and from outside."""
import os
import pty
import re
import resource
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON, leaks, poll
from roots import root_options

SLOTS = range(0x70000000, 0x7FFE0000, 0x10000)
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# What may be written inside without any option.
WRITABLE = {"/home/user", "/root", "/tmp", "/var/tmp", "/dev/shm"}


@pytest.fixture(autouse=True, params=["host", "dir", "dir-rw"])
def root_kind(request, box):
    """Every claim is read in a root of each kind: the host's, a directory below an overlay, a directory itself."""
    box.extra = root_options(box, request.param)
    yield request.param
    box.extra = ()


def status_fields(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def host_status(pid):
    return status_fields(Path(f"/proc/{pid}/status").read_text())


def alive(pid):
    try:
        return host_status(pid)["State"][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def mount_table(text):
    """[(point, options, optional fields, type, superblock options)]; a later row covers an earlier one."""
    rows = []
    for line in text.splitlines():
        left, right = line.split(" - ")
        words = left.split()
        kind, _, superblock = right.split(" ", 2)
        rows.append((words[4], set(words[5].split(",")), words[6:], kind, superblock))
    return rows


# ---- from inside ----

def test_namespaces_differ_from_ours(box):
    inside = box.python("import os, json; print(json.dumps({n: os.readlink('/proc/self/ns/' + n)"
                        " for n in os.listdir('/proc/self/ns')}))")
    for name in NAMESPACES:
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name
        assert re.fullmatch(rf"{name}:\[\d+\]", inside[name])


def test_ids(box, differs):
    out = box.sh("id -u; id -g; id -G; id -un; id -gn; cat /proc/self/uid_map /proc/self/gid_map"
                 " /proc/self/setgroups").splitlines()
    assert out[:5] == ["1000", "1000", "1000", "user", "user"]
    maps = [[int(w) for w in line.split()] for line in out[5:7]]
    if differs:
        assert maps == [[1000, box.uid, 1], [1000, box.gid, 1]]
        assert out[7] == "deny"
    else:
        assert maps[0] == maps[1]
        assert maps[0][0] == 0 and maps[0][1] in SLOTS and maps[0][2] == 65536


def test_user_root_is_root_inside_only(box, differs):
    out = box.sh("id -u; id -g; grep Cap /proc/self/status; cat /proc/self/uid_map; echo $HOME; pwd",
                 "--user", "root").splitlines()
    assert out[:2] == ["0", "0"]
    assert [line.split("\t")[1] for line in out[2:7]] == ["0" * 16] * 5
    inside, outside, count = map(int, out[7].split())
    assert inside == 0
    assert (outside, count) == (box.uid, 1) if differs else outside in SLOTS and count == 65536
    assert out[8:] == ["/root", "/root"]


def test_rights(box):
    fields = status_fields(box.sh("cat /proc/self/status"))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert fields["SigBlk"] == fields["SigIgn"] == "0" * 16
    securebits = box.python("import ctypes, json; print(json.dumps(ctypes.CDLL(None).prctl(27)))")
    assert securebits == 0


def test_every_mount_is_nosuid_and_nodev(box, root_kind):
    writable = WRITABLE if root_kind == "host" else {"/", "/tmp", "/dev/shm"}
    rows = mount_table(box.sh("cat /proc/self/mountinfo"))
    assert len(rows) > 10
    for point, options, optional, kind, _ in rows:
        assert "nosuid" in options, point
        assert "nodev" in options or point.startswith("/dev/") and "noexec" in options, point
        assert optional == [], f"{point} propagates: {optional}"
        assert kind not in ("sysfs", "cgroup", "cgroup2", "securityfs", "debugfs"), point
        if "ro" not in options:
            assert point in writable or point.startswith("/dev/") or point == "/proc", point


def test_what_can_be_written(box, root_kind):
    """By trying: a directory in every place that shows up, and the superblocks behind."""
    found = box.python("""if True:
        import json, os
        ok = []
        for top, names, files in os.walk('/'):
            names[:] = [n for n in names if os.path.join(top, n) not in ('/proc', '/usr')]
            try:
                os.mkdir(top + '/probe'); os.rmdir(top + '/probe'); ok.append(top)
            except OSError: pass
            for f in files:
                p = os.path.join(top, f)
                if os.path.islink(p) or os.path.dirname(p) == '/dev': continue
                try: os.close(os.open(p, os.O_WRONLY | os.O_NONBLOCK)); ok.append(p)
                except OSError: pass
        print(json.dumps(ok))""")
    found = set(found) - {"/dev/pts/ptmx"}
    if root_kind == "host":
        assert found <= WRITABLE
        assert {"/home/user", "/tmp", "/var/tmp", "/dev/shm"} <= found
        return
    assert {"/home/user", "/tmp", "/dev/shm"} <= found
    # whose files they are decides, except for what is the sandbox's
    assert not [p for p in found if re.match(r"/(dev|run/cleave|proc|usr)(/|$)", p) and p != "/dev/shm"], found
    if not box.is_user:
        assert found <= {"/home/user", "/tmp", "/dev/shm", "/var/tmp"}


def test_proc_is_fresh_and_masked(box):
    out = box.python("""if True:
        import json, os
        seen = {}
        for name in ('kcore', 'kmsg', 'keys', 'key-users', 'kallsyms', 'timer_list', 'sched_debug', 'acpi',
                     'scsi', 'driver', 'interrupts', 'slabinfo', 'vmallocinfo', 'sysrq-trigger', 'modules',
                     'kpageflags', 'kpagecount', 'kpagecgroup', 'latency_stats', 'asound'):
            p = '/proc/' + name
            try: seen[name] = os.listdir(p) if os.path.isdir(p) else open(p, 'rb').read(10).decode('latin1')
            except FileNotFoundError: seen[name] = None
            except OSError as e: seen[name] = 'error ' + str(e.errno)
        pids = sorted(int(p) for p in os.listdir('/proc') if p.isdigit())
        refused = []
        for p in ('sys/kernel/core_pattern', 'sys/kernel/hostname', 'sys/vm/drop_caches', 'sysrq-trigger',
                  'sys/fs/binfmt_misc/register', 'sys/kernel/modprobe', 'sys/user/max_user_namespaces',
                  'irq/0/smp_affinity', 'bus/pci/devices', 'mtrr'):
            try: os.close(os.open('/proc/' + p, os.O_WRONLY))
            except OSError as e: refused.append(p)
        print(json.dumps([seen, pids, refused, sorted(os.listdir('/proc/sys/user'))]))""")
    seen, pids, refused, _ = out
    for name, content in seen.items():
        assert content in (None, "", []), f"/proc/{name}: {content!r}"
    assert pids[0] == 1 and len(pids) == 2, pids
    assert len(refused) == 10, refused


def test_no_further_namespaces_and_bounded_inotify(box):
    limits = box.python("""if True:
        import json, os
        print(json.dumps({n: int(open('/proc/sys/user/' + n).read()) for n in os.listdir('/proc/sys/user')}))""")
    for name, value in limits.items():
        if name.endswith("_namespaces"):
            assert value == 0, name
    assert limits["max_inotify_instances"] <= 1024
    assert limits["max_inotify_watches"] <= 1 << 20


def test_dev(box):
    nodes = box.python("""if True:
        import json, os, stat
        o = {}
        for n in os.listdir('/dev'):
            s = os.lstat('/dev/' + n)
            o[n] = [stat.filemode(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev)]
        o['.'] = [stat.filemode(os.stat('/dev').st_mode), 0, 0]
        print(json.dumps(o))""")
    assert nodes.pop(".")[0] == "drwxr-xr-x"
    numbers = {name: tuple(row[1:]) for name, row in nodes.items() if row[0][0] == "c"}
    assert numbers == {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8),
                       "urandom": (1, 9), "tty": (5, 0)}
    assert not [n for n, row in nodes.items() if row[0][0] == "b"]
    assert set(nodes) - set(numbers) == {"fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm"}


def test_devpts_is_private(box):
    """A terminal made inside is number 0, whatever the host has."""
    ours = pty.openpty()
    try:
        out = box.python("import os, pty, json; a, b = pty.openpty();"
                         " print(json.dumps([os.ttyname(b), sorted(os.listdir('/dev/pts'))]))")
    finally:
        for fd in ours:
            os.close(fd)
    assert out == ["/dev/pts/0", ["0", "ptmx"]]


def test_what_of_the_host_is_reachable(box, root_kind):
    secret = box.file("the host's secret\n", "secret")
    places = ["/etc/shadow", "/etc/ssh", "/etc/fstab", "/var/lib", "/var/log", "/sys/kernel", "/boot", "/media",
              "/run/systemd", "/run/user", "/run/docker.sock", "/lost+found", str(secret), str(box.dir),
              "/proc/1/root/etc/shadow", "/proc/1/cwd/etc", "/proc/1/exe", "/proc/1/environ", "/proc/1/maps",
              "/proc/1/fd/0", "/proc/1/ns/mnt", "/proc/1/mem"]
    found = box.python(f"""if True:
        import json, os
        ok = []
        for p in {places!r}:
            try:
                if os.path.isdir(p): os.listdir(p)
                else: open(p, 'rb').read(1)
                ok.append(p)
            except OSError: pass
        try: root = os.listdir('/root')
        except PermissionError: root = None
        print(json.dumps([ok, sorted(os.listdir('/')), os.listdir('/home'), root,
            os.listdir('/tmp'), sorted(os.listdir('/run')), sorted(os.listdir('/var')), os.listdir('/mnt')]))""")
    reached, top, home, root, tmp, run, var, mnt = found
    assert reached == []
    assert set(top) <= {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "mnt", "opt", "proc",
                        "root", "run", "sbin", "srv", "tmp", "usr", "var"}
    assert home == ["user"]
    assert root == [] or root_kind != "host" and root is None
    assert tmp == mnt == []
    assert run == ["cleave"] and set(var) == {"run", "tmp"}


def test_etc_tells_nothing_of_the_host(box):
    text = box.sh("cat /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf; cat /etc/machine-id")
    names = [line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()]
    for name in names:
        if name not in ("root", "nobody", "user"):
            assert not re.search(rf"^{re.escape(name)}:x:\d+:\d+:", text, flags=re.M), name
    if len(os.uname().nodename) > 3 and os.uname().nodename != "localhost":
        assert os.uname().nodename not in text
    host_id = Path("/etc/machine-id")
    if host_id.exists() and host_id.read_text().strip():
        assert host_id.read_text().strip() not in text
    assert box.sh("cat /etc/machine-id") != box.sh("cat /etc/machine-id")


def test_descriptors(box):
    """Only 0 to 2, also when the caller leaks others, low and high; and none leads to a file of the host."""
    def leak():
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        for n in (9, 200):
            os.dup2(fd, n, inheritable=True)
    done = box.run(*box.payload("probe", "fds"), close_fds=False, preexec_fn=leak).ok()
    links = box.sh("for i in 0 1 2; do readlink /proc/self/fd/$i; done", close_fds=False, preexec_fn=leak).split()
    assert done.out.split() == ["0", "1", "2"]
    assert all(re.fullmatch(r"pipe:\[\d+\]|/dev/null", link) for link in links), links


def test_descriptors_of_files_are_relayed(box):
    """A file given as standard descriptor must not be reopened from inside."""
    path = box.file("content\n", "input")
    with open(path, "rb") as stdin, open(box.dir / "output", "wb") as stdout:
        done = box.run("/bin/sh", "-c", "readlink /proc/self/fd/0 /proc/self/fd/1 >&2; cat",
                       stdin=stdin, stdout=stdout)
    assert done.status == 0, done
    assert [word.split(":")[0] for word in done.err.split()] == ["pipe", "pipe"]
    assert (box.dir / "output").read_text() == "content\n"
    (box.dir / "output").unlink()


def test_environment_is_exact(box, root_kind):
    names = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/user", "USER": "user", "LOGNAME": "user",
             "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
    if root_kind != "host":  # what every system has
        names["SHELL"] = "/bin/sh"
    done = box.run("/usr/bin/env", env={"SECRET": "x", "LD_PRELOAD": "", "TERM": "xterm", "TZ": "UTC"}).ok()
    assert dict(line.split("=", 1) for line in done.out.splitlines()) == names


def test_session_umask_limits(box):
    out = box.python("""if True:
        import json, os, resource
        print(json.dumps({'sid': os.getsid(0) == os.getpid(), 'pgid': os.getpgrp() == os.getpid(),
            'umask': os.umask(0), 'core': resource.getrlimit(resource.RLIMIT_CORE),
            'nofile': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            'cwd': os.getcwd(), 'nice': os.nice(0), 'cpus': len(os.sched_getaffinity(0)),
            'tty': os.path.exists('/dev/tty') and not os.isatty(0)}))
        try: open('/dev/tty'); raise SystemExit('there is a terminal')
        except OSError: pass""", preexec_fn=lambda: os.umask(0o077))
    assert out == {"sid": True, "pgid": True, "umask": 0o022, "core": [1, 1], "nofile": 1024, "cwd": "/home/user",
                   "nice": 0, "cpus": len(os.sched_getaffinity(0)), "tty": True}


def may_raise_limits():
    return bool(int(status_fields(Path("/proc/self/status").read_text())["CapEff"], 16) >> 24 & 1)


def test_priorities_of_the_caller_stay_outside(box):
    """What nobody may kill when memory runs out, and turns that no quota counts; being killed first is a choice."""
    def shielded(score):
        Path("/proc/self/oom_score_adj").write_text(score)
        resource.setrlimit(resource.RLIMIT_RTPRIO, (9, 9))
        resource.setrlimit(resource.RLIMIT_NICE, (30, 30))
    if not may_raise_limits():
        pytest.skip("only who has CAP_SYS_RESOURCE can give this to a caller")
    for score, seen in ("-1000", "0"), ("500", "500"):
        out = box.run("/bin/sh", "-c", "cat /proc/self/oom_score_adj /proc/1/oom_score_adj; grep -h priority "
                      "/proc/self/limits", preexec_fn=lambda: shielded(score)).ok().out.splitlines()
        assert out[:2] == [seen, seen]
        assert [line.split()[-2:] for line in out[2:]] == [["0", "0"]] * 2, out


def test_a_caller_without_core_files(box):
    """0 would still run a piped core_pattern as root: raised to 1 by who may, else told."""
    done = box.result(PYTHON, "-c", "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))",
                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))).ok()
    raised = not box.is_user and may_raise_limits()
    assert done.out == ("1 1\n" if raised else "0 0\n")
    piped = Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")
    assert done.result["layers"]["rlimits"]["state"] == ("degraded" if piped and not raised else "on")


def test_no_network_but_loopback(box):
    out = box.python("""if True:
        import json, os, socket, threading
        names = [n for _, n in socket.if_nameindex()]
        up = open('/proc/net/dev').read().count(':')
        s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); c.close()
        errors = {}
        for host in ('192.0.2.1', '169.254.169.254', '8.8.8.8', '255.255.255.255'):
            try: socket.create_connection((host, 80), timeout=2); errors[host] = 0
            except OSError as e: errors[host] = e.errno
        try:
            u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.sendto(b'x', ('2001:db8::1', 9)); errors['v6'] = 0
        except OSError as e: errors['v6'] = e.errno
        print(json.dumps([names, up, errors, open('/proc/net/route').read().count('\\n')]))""")
    names, up, errors, routes = out
    assert names == ["lo"] and up == 1
    assert all(errors.values()), errors
    assert routes == 1  # the heading


def test_abstract_sockets_of_the_host_are_out_of_reach(box):
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0cleave-test-abstract")
        s.listen()
        out = box.python("""if True:
            import socket, json
            s = socket.socket(socket.AF_UNIX)
            print(json.dumps(s.connect_ex('\\0cleave-test-abstract')))""")
    assert out == 111  # ECONNREFUSED: no such name in this network namespace


def test_names_of_this_sandbox(box):
    out = box.sh("hostname; cat /etc/hostname; getent hosts $(hostname) | head -n 1; uname -n; cat /proc/self/cgroup")
    lines = out.splitlines()
    assert lines[0] == lines[1] == lines[3] == "sandbox"
    assert lines[2].split()[0] in ("127.0.0.1", "::1")
    assert all(line.split(":", 2)[2] == "/" for line in lines[4:]), lines[4:]


def test_time_zone_and_locale_of_the_host(box):
    want = subprocess.run(["date", "+%Z %z"], capture_output=True, text=True, env={}, check=True).stdout
    assert box.sh("date '+%Z %z'") == want
    assert box.python("import locale, json; print(json.dumps(locale.setlocale(locale.LC_ALL, '')))") == "C.UTF-8"


def test_system_v_objects_are_its_own(box):
    made = subprocess.run(["ipcmk", "-M", "4096", "-p", "0666"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    try:
        out = box.sh("ipcs -m | grep -c '^0x' || true; cat /proc/sysvipc/shm | wc -l")
    finally:
        subprocess.run(["ipcrm", "-m", number], check=True)
    assert out.split() == ["0", "1"]


# ---- from outside ----

def test_init_from_outside(box, differs):
    process = box.start("/bin/sleep", "100")
    workload = process.workload("sleep")
    init = process.init()
    status = host_status(init)
    work = host_status(workload)
    # SETGID 6, SETUID 7, KILL 5 of its own user namespace, and nothing else
    for name, allowed in (("CapPrm", 0xe0), ("CapEff", 0xe0), ("CapInh", 0), ("CapBnd", 0), ("CapAmb", 0)):
        assert int(status[name], 16) & ~allowed == 0, (name, status[name])
    assert status["NoNewPrivs"] == work["NoNewPrivs"] == "1"
    assert int(work["CapEff"], 16) == int(work["CapBnd"], 16) == 0
    uids = {int(u) for u in status["Uid"].split()}, {int(u) for u in work["Uid"].split()}
    if differs:
        assert uids == ({box.uid}, {box.uid})
    else:
        base = min(uids[1]) - 1000
        assert base in SLOTS
        assert uids == ({base + 65533}, {base + 1000})
        gids = {int(g) for g in status["Gid"].split()}, {int(g) for g in work["Gid"].split()}
        assert gids == ({base + 65533}, {base + 1000})
    assert status["Groups"].split() == work["Groups"].split() == []
    # not dumpable: its files in /proc belong to no user of the sandbox
    assert os.stat(f"/proc/{init}/environ").st_uid not in {box.uid or -1, min(uids[0]), min(uids[1])}
    assert Path(f"/proc/{init}/environ").read_bytes() == b"" if os.geteuid() == 0 else True
    if os.geteuid() == 0:
        assert status["NSpid"].split() == [str(init), "1"]
        def few():
            """The pipe by which the command told of its exec is closed a moment after that."""
            fds = {leaks.link(f"/proc/{init}/fd/{fd}") for fd in os.listdir(f"/proc/{init}/fd")
                   if fd != "2"}  # the disk, as tests/faults/test_rows_seen.py says
            return all(re.match(r"socket:|anon_inode:\[(signalfd|eventpoll)\]", fd) for fd in fds)
        poll(few, what="init without a descriptor of files or pipes")
        assert os.readlink(f"/proc/{init}/cwd") == "/"
        assert Path(f"/proc/{init}/smaps_rollup").read_text().split("Rss:")[1].split()[0].isdigit()
        rss = int(Path(f"/proc/{init}/smaps_rollup").read_text().split("Rss:")[1].split()[0])
        assert rss < 150, f"init holds {rss} KiB"
    process.popen.terminate()
    assert process.wait().status == 143


def test_keeper_and_sandboxes_do_not_see_each_other(box):
    first = box.start("/bin/sleep", "100")
    first.workload("sleep")
    second = box.start("/bin/sleep", "101")
    second.workload("sleep")
    a, b = first.workload("sleep"), second.workload("sleep")
    for name in NAMESPACES:
        if os.geteuid() == 0:
            assert os.readlink(f"/proc/{a}/ns/{name}") != os.readlink(f"/proc/{b}/ns/{name}"), name
    if not box.is_user:
        assert host_status(a)["Uid"] != host_status(b)["Uid"], "a slot for each"
    pids = [a, b, first.keeper(), second.keeper(), first.init()]
    out = box.python(f"""if True:
        import json, os
        o = []
        for p in {pids!r}:
            try: os.kill(p, 0); o.append(p)
            except OSError: pass
        print(json.dumps(o))""")
    assert out == []
    for process in (first, second):
        process.popen.terminate()
        process.wait()


@pytest.mark.host_only  # needs the development build
@pytest.mark.parametrize("row", ["DISK", "NEW_ROOT", "PIVOT", "HOSTNAME", "INIT_CAPS"])
def test_not_dumpable_while_it_is_set_up(box, row, root_kind):
    """Stopped in the middle of the launch: nobody of the same id may trace it."""
    if row == "NEW_ROOT":
        row = {"host": row, "dir": "OVERLAY", "dir-rw": "ROOT_ITSELF"}[root_kind]
    process = box.start("/bin/true", dev=True, env={"CLEAVE_TEST_STOP": row})
    init = process.init()

    def reached():
        """It waits in pause(), number 34."""
        text = Path(f"/proc/{init}/syscall").read_text() if os.geteuid() == 0 else "34 "
        return text.startswith("34 ")
    poll(reached, what=f"row {row}")
    owner = os.stat(f"/proc/{init}/mem").st_uid
    assert owner not in {box.uid or -1}, owner
    process.popen.kill()
    process.wait()
    poll(lambda: not alive(init), what="the end of init")


@pytest.mark.root_only
def test_cgroup_membership(box):
    process = box.start("--memory", "64M", "--pids", "20", "--cpus", "1", "/bin/sleep", "100")
    workload = process.workload("sleep")
    paths = {}
    for pid in (process.init(), workload):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            for name in names.split(","):
                paths.setdefault(name, set()).add(path)
    wanted = {"memory", "pids", "cpu"} & set(paths) or {""}
    for name in wanted:
        assert len(paths[name]) == 1
        assert re.search(r"/cleave/[0-9a-f]{12}(/.*)?$", next(iter(paths[name]))), paths
    keeper = Path(f"/proc/{process.keeper()}/cgroup").read_text()
    assert "/cleave/" not in keeper
    process.popen.terminate()
    process.wait()


def test_killed_keeper_takes_everything_with_it(box):
    process = box.start("/bin/sh", "-c", "setsid sleep 100 & sleep 101 & wait")
    poll(lambda: len(process.named("sleep")) == 2, what="the sleepers")
    pids = list(process.below())
    os.kill(process.keeper(), 9)
    process.wait()
    poll(lambda: not any(map(alive, pids)), what="the end of everything")
