# SPDX-License-Identifier: Apache-2.0
"""The control socket (docs/PROTOCOL.md) against clients that speak nonsense, too much, or not at all."""
import array
import contextlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import time

import pytest

from conftest import rounds
from live import COUNTER, FRAME, PYTHON, SPEC, alive, counts_on, descriptors, live, poll, request  # noqa: F401


def call(sock, method, **params):
    sock.send(request(method, **params))
    return json.loads(sock.recv(FRAME))


def settled(live, name, before):
    """The sandbox works, and the keeper holds no more than before."""
    keeper = live.keeper(name)
    poll(lambda: len(descriptors(keeper)) <= before, what="the keeper's descriptors")
    assert live.usable(name) < 10
    poll(lambda: len(descriptors(keeper)) <= before, what="the keeper's descriptors")


@pytest.fixture
def idle(live):
    name = live.start()
    live.usable(name)
    keeper = live.keeper(name)
    poll(lambda: True)
    before = len(descriptors(keeper))
    yield live, name
    assert live.keeper(name) == keeper
    settled(live, name, before)


def test_the_socket_is_private(idle):
    live, name = idle
    status = os.stat(live.directory(name) / "control.sock")
    assert status.st_mode & 0o777 == 0o600 and status.st_uid == live.box.uid
    assert os.stat(live.directory(name)).st_mode & 0o077 == 0


def test_hello_names_versions(idle):
    live, name = idle
    with live.connect(name) as sock:
        answer = call(sock, "hello")
        assert answer["v"] == 1 and answer["id"] == 1
        assert answer["result"]["protocol"] == 1
        version = live.call("version").out.split()[1]
        assert answer["result"]["version"] == version


NONSENSE = {
    "empty object": b"{}", "number": b"1", "string": b'"x"', "array": b"[]", "null": b"null", "half": b'{"v":1,',
    "no version": b'{"id":1,"method":"inspect"}', "version 0": b'{"v":0,"id":1,"method":"inspect"}',
    "version 2": b'{"v":2,"id":1,"method":"inspect"}', "version text": b'{"v":"1","id":1,"method":"inspect"}',
    "no id": b'{"v":1,"method":"inspect"}', "id object": b'{"v":1,"id":{},"method":"inspect"}',
    "no method": b'{"v":1,"id":1}', "method number": b'{"v":1,"id":1,"method":5}',
    "unknown method": b'{"v":1,"id":1,"method":"format_disk"}',
    "twice": b'{"v":1,"id":1,"id":2,"method":"inspect"}', "deep": b'{"v":1,"id":1,"method":' + b"[" * 30000 + b"]" * 30000,
    "zeros": bytes(100), "not utf-8": b'{"v":1,"id":1,"method":"\xff\xfe"}', "nul inside": b'{"v":1,"id":1,"method":"a\\u0000b"}',
    "huge id": b'{"v":1,"id":999999999999999999999999999999,"method":"inspect"}',
    "two objects": b'{"v":1,"id":1,"method":"inspect"}{"v":1,"id":2,"method":"inspect"}',
    "params text": b'{"v":1,"id":1,"method":"stop","params":"x"}',
    "kill nothing": b'{"v":1,"id":1,"method":"kill","params":{"signal":"KILL"}}',
    "kill 0": b'{"v":1,"id":1,"method":"kill","params":{"signal":0}}',
    "kill 1e9": b'{"v":1,"id":1,"method":"kill","params":{"signal":1000000000}}',
    "exec without spec": b'{"v":1,"id":1,"method":"exec"}',
    "exec spec number": b'{"v":1,"id":1,"method":"exec","params":{"spec":5}}',
    "exec empty spec": b'{"v":1,"id":1,"method":"exec","params":{"spec":{}}}',
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=list(NONSENSE))
def test_nonsense_is_refused(idle, frame):
    live, name = idle
    with live.connect(name) as sock:
        sock.send(frame)
        with contextlib.suppress(ConnectionResetError):
            answer = sock.recv(FRAME)
            if answer:
                answer = json.loads(answer)
                assert "error" in answer and answer["error"]["id"] not in ("internal", "none"), answer
    assert live.state(name) == "running"


def test_oversized_frames(idle):
    live, name = idle
    for size in (FRAME, FRAME + 1, 100000, 200000):
        with live.connect(name) as sock:
            with contextlib.suppress(OSError):
                sock.send(b'{"v":1,"id":1,"method":"' + b"x" * (size - 26) + b'"}')
                sock.recv(FRAME)
    too_long = live.exec(name, "echo", "x" * 100000)
    assert too_long.status in (0, 125), too_long


def test_random_bytes(idle):
    live, name = idle
    source = random.Random(5)
    seeds = [request("exec", spec={"argv": ["true"]}), request("inspect"), request("kill", signal=0)]
    for _ in range(rounds(300)):
        frame = bytearray(source.choice(seeds))
        for _ in range(source.randrange(1, 6)):
            at = source.randrange(len(frame))
            frame[at:at + source.randrange(3)] = source.randbytes(source.randrange(4))
        if b'"stop"' in frame:
            continue
        with live.connect(name) as sock, contextlib.suppress(OSError):
            sock.send(bytes(frame))
            sock.settimeout(0.01)
            sock.recv(FRAME)
    assert live.state(name) == "running"


def test_half_closed(idle):
    live, name = idle
    for _ in range(20):
        with live.connect(name) as sock:
            sock.send(request("inspect"))
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                sock.recv(FRAME)
        with live.connect(name) as sock:
            sock.shutdown(socket.SHUT_RD)
            with contextlib.suppress(OSError):
                sock.send(request("inspect"))


def test_gone_before_the_answer(idle):
    live, name = idle
    for method in ("inspect", "wait", "events", "attach", "stats", "hello"):
        for _ in range(10):
            with live.connect(name) as sock:
                sock.send(request(method))


def test_an_exec_whose_client_is_gone(idle):
    live, name = idle
    for _ in range(10):
        with live.connect(name) as sock:
            spec = {"argv": ["/bin/sh", "-c", "echo x; sleep 0.1"]}
            fds = [os.open("/dev/null", os.O_RDWR)] + list(os.pipe())[::-1]
            socket.send_fds(sock, [request("exec", spec=spec)], fds)
            for fd in fds:
                os.close(fd)
    poll(lambda: "sleep" not in live.comms(name), what="the end of the commands")


def test_flooding(idle):
    """One asks without end and never reads, others are served."""
    live, name = idle
    code = "import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\n" \
           "print('on', flush=True)\ntry:\n    while True: s.send(sys.argv[2].encode())\n" \
           "except OSError: sys.exit(3)"
    path = live.directory(name) / "control.sock"
    flood = subprocess.Popen([*live.box.prefix, PYTHON, "-c", code, path, request("inspect").decode()],
                             stdout=subprocess.PIPE)
    try:
        assert flood.stdout.readline() == b"on\n"
        for _ in range(3):
            assert live.usable(name) < 10
        flood.wait(30)
        assert flood.returncode == 3, "the one that does not read should be cut off"
    finally:
        flood.kill()
        flood.wait()
        flood.stdout.close()


def test_stopped_clients(idle):
    """Subscribers that never read are cut off, not waited for."""
    live, name = idle
    socks = [live.connect(name) for _ in range(8)]
    for sock in socks:
        assert "result" in call(sock, "events")
    for _ in range(rounds(40)):
        live.call("pause", name).ok()
        live.call("resume", name).ok()
    live.usable(name)
    for sock in socks:
        sock.close()


def test_as_many_connections_as_there_are(idle):
    live, name = idle
    path = str(live.directory(name) / "control.sock")
    socks = []
    try:
        for _ in range(300):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.settimeout(0.2)
            socks.append(sock)
            sock.connect(path)
    except OSError:
        pass
    finally:
        for sock in socks:
            sock.close()
    assert len(socks) > 10
    poll(lambda: live.exec(name, "true").status == 0, what="a free place")


def test_one_client_too_many_is_told(idle):
    live, name = idle
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            sock = stack.enter_context(live.connect(name))
            assert call(sock, "hello")["result"]  # it has its place
        for verb in ("pause", "stats"):
            assert "64 clients are connected already" in live.call(verb, name).refused()
    poll(lambda: live.exec(name, "true").status == 0, what="a free place")


def test_many_descriptors(idle):
    live, name = idle
    null = os.open("/dev/null", os.O_RDWR)
    try:
        for method in ("inspect", "exec", "nonsense"):
            for count in (1, 5, 100, 253):
                with live.connect(name) as sock, contextlib.suppress(OSError):
                    sock.sendmsg([request(method, spec={"argv": ["true"]})],
                                 [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * count))])
                    sock.recv(FRAME)
    finally:
        os.close(null)


def test_descriptors_of_the_host_do_not_enter(idle):
    live, name = idle
    secret = live.box.file("secret", mode=0o600)
    pair = socket.socketpair()
    master, slave = os.openpty()
    null = os.open("/dev/null", os.O_RDWR)
    zero = os.open("/dev/zero", os.O_RDWR)
    directory = os.open("/", os.O_RDONLY)
    path_only = os.open("/", os.O_PATH)
    with open(secret, "r+") as file:
        for bad in (file.fileno(), pair[0].fileno(), slave, zero, directory, path_only):
            for place in range(3):
                fds = [null] * 3
                fds[place] = bad
                with live.connect(name) as sock:
                    socket.send_fds(sock, [request("exec", spec=json.loads(SPEC))], fds)
                    answer = json.loads(sock.recv(FRAME))
                    assert answer["error"]["id"] == "protocol", answer
    for fd in (master, slave, null, zero, directory, path_only):
        os.close(fd)
    for sock in pair:
        sock.close()
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("tty, n", [(True, 1), (True, 4), (False, 4), (False, 2)])
def test_another_number_of_descriptors(idle, tty, n):
    live, name = idle
    null = os.open("/dev/null", os.O_RDWR)
    spec = {**json.loads(SPEC), "tty": tty}
    with live.connect(name) as sock:
        socket.send_fds(sock, [request("exec", spec=spec)], [null] * n)
        answer = json.loads(sock.recv(FRAME))
        assert answer["error"]["id"] == "protocol", answer
    os.close(null)


def test_the_documented_exec_works(idle):
    """SPEC is what the refusals above differ from."""
    live, name = idle
    null = os.open("/dev/null", os.O_RDWR)
    with live.connect(name) as sock:
        socket.send_fds(sock, [request("exec", spec=json.loads(SPEC))], [null] * 3)
        while True:
            answer = json.loads(sock.recv(FRAME))
            if "event" not in answer:
                break
        assert answer["result"]["status"] == "exited", answer
    os.close(null)


def test_the_payload_counts_on_under_attack(live):
    name = live.sh(COUNTER)
    stop = time.monotonic() + 2
    while time.monotonic() < stop:
        with live.connect(name) as sock, contextlib.suppress(OSError):
            for _ in range(50):
                sock.send(random.choice(list(NONSENSE.values())))
    counts_on(live, name)
    assert alive(live.keeper(name))


def test_a_sandbox_can_not_reach_a_socket_of_the_keeper(live):
    name = live.start()
    other = live.start()
    path = live.directory(other) / "control.sock"
    code = f"import socket, os\nfor p in ({str(path)!r}, '/run/cleave', '/proc/1/root{path}'):\n" \
           "  s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n" \
           "  try: s.connect(p); print('reached', p)\n  except OSError as e: print(e.errno)"
    assert "reached" not in live.exec(name, PYTHON, "-c", code).ok().out
