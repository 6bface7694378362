# SPDX-License-Identifier: Apache-2.0
"""A second user can't see, signal, trace, attach to, exec into or fork the first one's sandboxes."""
import os
import socket
import subprocess

import pytest

from conftest import BUILD
from live import PYTHON, alive, live, poll  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
SECOND = 65533


def as_second(*argv, **more):
    return subprocess.run(["setpriv", "--reuid", str(SECOND), "--regid", str(SECOND), "--clear-groups", *map(str, argv)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **more)


def test_a_second_user_has_no_verb(live):
    name = live.sh("while :; do sleep 0.1; done")
    row = live.inspect(name)
    env = live.box.environment()
    for words in (["exec", name, "true"], ["attach", name], ["logs", name], ["wait", name], ["stop", name], ["kill", name],
                  ["rm", "-f", name], ["pause", name], ["resume", name], ["inspect", name], ["stats", name],
                  ["events", name], ["diff", name], ["fork", name], ["cp", f"{name}:/etc/passwd", "/tmp/x"],
                  ["snapshot", name, "s"], ["exec", row["id"], "true"], ["ps"], ["gc"], ["start", "mine"],
                  ["run", "--name", "mine", "true"]):
        done = as_second(BUILD, *words, env=env)
        assert done.returncode == 125 and done.stdout == "", (words, done)
        assert done.stderr.startswith("cleave "), (words, done)
    assert live.state(name) == "running"
    live.usable(name)


def test_a_second_user_has_no_way_around(live):
    name = live.start("--rm", command=["sleep", "1000"])
    row = live.inspect(name)
    pids = [row["keeper_pid"], row["init_pid"]]
    pids += [int(p) for p in open(f"/proc/{row['init_pid']}/task/{row['init_pid']}/children").read().split()]
    code = """
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, call):
    try:
        r = call()
    except OSError:
        return
    if isinstance(r, int) and r < 0:
        return
    print('allowed:', what)
for pid in map(int, sys.argv[2:]):
    tried(f'signal {pid}', lambda: os.kill(pid, 0) or 0)
    tried(f'trace {pid}', lambda: libc.ptrace(16, pid, 0, 0))
    for name in ('fd', 'root', 'cwd', 'exe', 'ns/mnt', 'environ', 'mem', 'map_files'):
        tried(f'{name} {pid}', lambda: os.listdir(f'/proc/{pid}/{name}') if name in ('fd', 'root', 'map_files')
              else os.readlink(f'/proc/{pid}/{name}') if name in ('cwd', 'exe', 'ns/mnt')
              else open(f'/proc/{pid}/{name}', 'rb').read(1))
    pidfd = os.pidfd_open(pid)
    tried(f'pidfd_getfd {pid}', lambda: libc.syscall(438, pidfd, 0, 0))
    tried(f'setns {pid}', lambda: libc.setns(pidfd, 0x20000))
    tried(f'process_madvise {pid}', lambda: signal.pidfd_send_signal(pidfd, 0) or 0)
state = sys.argv[1]
tried('list state', lambda: os.listdir(state))
tried('list sandboxes', lambda: os.listdir(state + '/sandboxes'))
tried('list names', lambda: os.listdir(state + '/names'))
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
tried('connect', lambda: s.connect(f'{state}/sandboxes/%s/control.sock') or 0)
""" % row["id"]
    done = as_second(PYTHON, "-c", code, live.box.state, *pids)
    assert (done.returncode, done.stdout) == (0, ""), done


def test_a_passed_connection_does_not_help(live):
    """Whoever gets hold of the socket by another way is still asked who it is."""
    name = live.start()
    fd = os.open(live.directory(name), os.O_PATH)
    code = f"import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.settimeout(10)\n" \
           f"try:\n  s.connect('/proc/self/fd/{fd}/control.sock')\n" \
           "  s.send(b'{\"v\":1,\"id\":1,\"method\":\"inspect\"}')\n  print(len(s.recv(70000)))\n" \
           "except OSError as e: print('refused')"
    os.set_inheritable(fd, True)
    done = as_second(PYTHON, "-c", code, close_fds=False)
    os.close(fd)
    assert done.stdout.strip() in ("refused", "0"), done
    live.usable(name)


def test_two_users_may_use_one_name(live, boxes):
    name = live.start()
    other = [b for b in boxes.values() if b is not live.box][0]
    other.call("start", name).ok()
    try:
        assert live.execsh(name, "echo mine > /tmp/x; cat /tmp/x") == "mine\n"
        assert other.call("exec", name, "cat", "/tmp/x").status != 0
    finally:
        other.call("rm", "-f", name).ok()
    live.usable(name)


def test_one_sandbox_does_not_see_another(live):
    first, second = live.sh("exec sleep 1111"), live.start()
    assert "1111" not in live.execsh(second, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    pid = live.inspect(first)["init_pid"]
    assert live.exec(second, "kill", "-0", pid).status != 0
    listener = "import socket, time\nfor name in ('\\0abstract', '/tmp/s', '/dev/shm/s'):\n" \
               " s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(); globals()[repr(name)] = s\n" \
               "t = socket.socket(); t.bind(('127.0.0.1', 4444)); t.listen()\nopen('/tmp/on', 'w'); time.sleep(1000)"
    process = live.box.start(first, PYTHON, "-c", listener, verb="exec")
    poll(lambda: live.exec(first, "test", "-e", "/tmp/on").status == 0, what="the listener", of=process)
    connect = "import socket\nfor f, a in ((1, '\\0abstract'), (1, '/tmp/s'), (1, '/dev/shm/s'), (2, ('127.0.0.1', 4444))):\n" \
              " s = socket.socket(f); print(s.connect_ex(a) == 0)"
    assert live.exec(second, PYTHON, "-c", connect).ok().out == "False\n" * 4
    assert live.exec(first, PYTHON, "-c", connect).ok().out == "True\n" * 4
    process.popen.kill()
