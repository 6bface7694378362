# SPDX-License-Identifier: Apache-2.0
"""An exec'd command is confined as the main one is; many of them leave nothing; output never blocks anybody."""
import json
import os
import selectors
import signal
import socket
import subprocess
import time

import pytest

from live import COUNTER, FRAME, PYTHON, SPEC, alive, counts_on, descriptors, kill, live, poll, request, sleeps  # noqa: F401

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
LOOK = r"""
import ctypes, json, os, resource
def read(path):
    return open(path).read()
def error(call):
    try:
        call()
        return 'allowed'
    except OSError as e:
        return e.errno
status = dict(line.split(':', 1) for line in read('/proc/self/status').splitlines())
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*args):
    ctypes.set_errno(0)
    libc.syscall(*args)
    return ctypes.get_errno()
os.makedirs('/tmp/look', exist_ok=True)
found = {
    'status': {k: status[k].split() for k in status if k.startswith(('Cap', 'Seccomp', 'Sig')) and k != 'SigQ'
               or k in ('NoNewPrivs', 'Uid', 'Gid', 'Groups', 'Umask', 'Speculation_Store_Bypass', 'CoreDumping',
                        'Cpus_allowed', 'Mems_allowed')},
    'namespaces': {n: os.readlink('/proc/self/ns/' + n) for n in os.listdir('/proc/self/ns')},
    'cgroup': read('/proc/self/cgroup'),
    'limits': {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_')},
    'root': sorted(os.listdir('/')), 'mounts': read('/proc/self/mountinfo'),
    'oom': read('/proc/self/oom_score_adj'), 'nice': os.nice(0), 'cwd': os.getcwd(), 'env': dict(os.environ),
    'descriptors': sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1],
    'session': os.getsid(0) == os.getpid(), 'personality': read('/proc/self/personality'),
    'calls': {str(n): syscall(n, 0, 0, 0, 0, 0, 0) for n in (165, 246, 250, 298, 321, 323, 425, 435, 442, 444, 101, 310)},
    'landlock': {p: error(lambda: open(p, 'w')) for p in
                 ('/etc/x', '/usr/x', '/proc/sys/kernel/hostname', '/dev/x', '/tmp/look/x', '/proc/self/mem')},
    'mknod': error(lambda: os.mknod('/tmp/look/fifo', 0o010600)),
    'device': error(lambda: os.mknod('/tmp/look/device', 0o020600, os.makedev(1, 3))),
}
os.path.exists('/tmp/look/fifo') and os.unlink('/tmp/look/fifo')
print(json.dumps(found))
"""


@pytest.mark.parametrize("options", [[], ["--user", "root"]], ids=["user", "root-inside"])
def test_exec_is_confined_as_the_main_command_is(live, options):
    script = live.box.file(LOOK, "look.py")
    name = live.start("--file", f"{script}:/opt/look.py", *options, "--nofile", "333",
                      command=["/bin/sh", "-c", f"{PYTHON} /opt/look.py > /tmp/main; exec sleep 1000"])
    poll(lambda: live.exec(name, "test", "-s", "/tmp/main").status == 0, what="the main command's report")
    main = json.loads(live.execsh(name, "cat /tmp/main"))
    first = json.loads(live.exec(name, PYTHON, "/opt/look.py", options=options).ok().out)
    second = json.loads(live.exec(name, PYTHON, "/opt/look.py", options=options).ok().out)
    for found in (first, second):
        # the shell between init and the main report made no session leader of it
        found["session"] = main["session"]
        for part in main:
            if part in ("status", "limits", "calls", "landlock", "namespaces", "env"):
                different = {k: (main[part].get(k), found[part].get(k)) for k in {*main[part], *found[part]}
                             if main[part].get(k) != found[part].get(k)}
                different = {k: v for k, v in different.items() if k not in ("_", "SHLVL", "OLDPWD", "PWD")}
                assert not different, part
            elif part != "descriptors":
                assert found[part] == main[part], part
    assert main["status"]["CapEff"] == ["0" * 16] and main["status"]["NoNewPrivs"] == ["1"]
    assert main["status"]["Seccomp"] == ["2"] and main["limits"]["RLIMIT_NOFILE"] == [333, 333]
    assert main["landlock"]["/usr/x"] != "allowed" and main["landlock"]["/tmp/look/x"] == "allowed"
    assert first["descriptors"] == [0, 1, 2]


def test_exec_can_not_reach_init_or_the_host(live):
    name = live.start()
    assert live.execsh(name, "kill -9 1 2>&1; kill -STOP 1 2>&1; cat /proc/1/environ 2>&1 | head -c 100; echo on")
    live.usable(name)
    assert live.execsh(name, "ls /proc/*/fd -l 2>/dev/null | grep -c socket || true").strip() == "0"


def test_exec_never_gets_files_terminals_or_sockets_of_the_host(live):
    name = live.start()
    secret = live.box.file("secret", mode=0o600)
    with open(secret, "r+") as f:
        done = live.exec(name, "/bin/sh", "-c", "ls -l /proc/self/fd; echo x >> /proc/self/fd/0", options=["-i"],
                         stdin=f)
    assert str(secret) not in done.out and secret.read_text() == "secret"
    pair = socket.socketpair()
    with pair[0], pair[1]:
        done = live.exec(name, "readlink", "/proc/self/fd/1", stdout=pair[0].fileno())
        assert pair[1].recv(100).startswith(b"pipe:")


def zombies(live, name):
    return live.execsh(name, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").strip()


@pytest.mark.slow
def test_a_thousand_execs_leave_nothing(live):
    name = live.start()
    live.usable(name)
    keeper, init = live.keeper(name), live.init(name)
    before = descriptors(keeper), descriptors(init)
    total = 1000 if live.box.is_user else 500
    for at in range(0, total, 4):
        # now and then one that leaves an orphan for init
        script = "sleep 0.05 & exit 7" if at % 100 == 0 else "exit 7"
        batch = [live.box.start(name, "/bin/sh", "-c", script, verb="exec", **QUIET) for _ in range(4)]
        assert [process.popen.wait(60) for process in batch] == [7] * 4
        live.box.running.clear()
    poll(lambda: "sleep" not in live.comms(name), what="the end of the orphans")
    assert zombies(live, name) == "0"
    poll(lambda: len(descriptors(keeper)) <= len(before[0]), what="the keeper's descriptors")
    assert set(descriptors(init)) == set(before[1])
    live.usable(name)


@pytest.mark.slow
def test_ten_thousand_execs_leave_nothing(live):
    """By the protocol alone, each over its own connection: what `cleave exec` takes longer for is its own start."""
    name = live.start()
    live.usable(name)
    keeper, init = live.keeper(name), live.init(name)
    before = descriptors(keeper), descriptors(init)
    total, begun, ended = 10000 if live.box.is_user else 1000, 0, 0
    spec = json.loads(SPEC)
    where, null = os.open(live.directory(name), os.O_PATH), os.open("/dev/null", os.O_RDWR)
    with selectors.DefaultSelector() as waiting:
        while ended < total:
            while begun < total and begun - ended < 4:
                spec["argv"] = ["/bin/sh", "-c", "sleep 0.05 & exit 7" if begun % 100 == 0 else "exit 7"]
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                sock.connect(f"/proc/self/fd/{where}/control.sock")
                socket.send_fds(sock, [request("exec", spec=spec)], [null] * 3)
                waiting.register(sock, selectors.EVENT_READ)
                begun += 1
            ready = waiting.select(60)
            assert ready, f"no answer to one of {begun - ended}, after {ended}"
            for key, _ in ready:
                answer = json.loads(key.fileobj.recv(FRAME))
                if answer.get("event") == "started":
                    continue
                assert answer["result"]["exit_code"] == 7, answer
                waiting.unregister(key.fileobj)
                key.fileobj.close()
                ended += 1
    os.close(where)
    os.close(null)
    poll(lambda: "sleep" not in live.comms(name), what="the end of the orphans")
    assert zombies(live, name) == "0"
    poll(lambda: len(descriptors(keeper)) <= len(before[0]), what="the keeper's descriptors")
    assert set(descriptors(init)) == set(before[1])
    live.usable(name)


def memory_kb(pid, field):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise AssertionError(field)


def test_an_idle_sandbox_is_small(live):
    name = live.start()
    live.usable(name)
    pss = sum(memory_kb(pid, "Pss") for pid in (live.keeper(name), live.init(name)))
    dirty = sum(memory_kb(pid, "Private_Dirty") for pid in (live.keeper(name), live.init(name)))
    assert dirty <= 300, (pss, dirty)


@pytest.mark.slow
def test_twenty_idle_sandboxes_are_small(live):
    """What one more costs: their keepers and inits share what none of them has changed."""
    names = [live.start() for _ in range(20)]
    for name in names:
        live.usable(name)
    cost = [sum(memory_kb(pid, "Pss") for pid in (live.keeper(name), live.init(name))) for name in names]
    assert sum(cost) / len(cost) <= 300, cost


# ---- output and its readers ----

def test_the_log_is_bounded_and_keeps_the_newest(live):
    code = "import os\nfor i in range(60000): os.write(1, b'%08d' % i + b'x' * 992)\nos.write(1, b'the end')"
    name = live.start(command=[PYTHON, "-c", code])
    assert live.call("wait", name).ok()
    kept = live.call("logs", name).ok().out_bytes
    assert kept.endswith(b"the end") and b"00059999xx" in kept
    assert 4 << 20 <= len(kept) <= 20 << 20
    files = [p.stat().st_size for p in live.directory(name).iterdir() if p.is_file()]
    assert sum(files) <= 20 << 20
    # without a gap: the numbers that are left follow each other
    numbers = [int(part[:8]) for part in kept[kept.index(b"x" * 992) + 992:-7].split(b"x" * 992) if len(part) >= 8]
    assert numbers == list(range(numbers[0], 60000))


@pytest.mark.parametrize("verb", [["logs", "-f"], ["attach"], ["events"]], ids=lambda v: v[0])
def test_a_stopped_or_absent_reader_never_blocks_the_payload(live, verb):
    name = live.sh(COUNTER)
    counts_on(live, name)
    unread = live.box.start(*verb[1:], name, verb=verb[0])
    stopped = live.box.start(*verb[1:], name, verb=verb[0])
    for reader in (unread, stopped):
        poll(lambda: sleeps(reader.popen.pid), what="one that reads")
    stopped.popen.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # long enough to fill every pipe: the payload writes without end
    for _ in range(3):
        counts_on(live, name)
    kill(stopped.popen.pid)
    unread.popen.stdout.close()
    counts_on(live, name)
    live.usable(name)


def test_a_stopped_exec_client_blocks_nobody_else(live):
    name = live.sh(COUNTER)
    process = live.box.start(name, "yes", verb="exec")
    assert process.popen.stdout.read(10) == b"y\n" * 5
    process.popen.send_signal(signal.SIGSTOP)
    counts_on(live, name)
    assert live.usable(name) < 10
    process.popen.send_signal(signal.SIGCONT)
    process.popen.kill()
    counts_on(live, name)


def test_a_killed_exec_client_leaves_the_sandbox_usable(live):
    name = live.start()
    keeper = live.keeper(name)
    before = set(descriptors(keeper))
    for _ in range(5):
        process = live.box.start("-i", name, "/bin/sh", "-c", "echo on; exec sleep 1000", verb="exec")
        assert process.popen.stdout.readline() == b"on\n"
        process.popen.kill()
        process.popen.wait()
    poll(lambda: set(descriptors(keeper)) == before, what="the keeper's descriptors")
    live.usable(name)
    assert alive(keeper) and os.path.exists(f"/proc/{live.init(name)}")
