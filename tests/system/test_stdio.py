# SPDX-License-Identifier: Apache-2.0
"""Input and output: everything arrives, in order, once; nothing waits for what never comes."""
import os
import select
import subprocess
import threading
import time

import pytest
from conftest import PYTHON, SLOW, poll

MB = 1 << 20


def test_bytes_pass_unchanged(box):
    data = bytes(range(256)) * 5000
    done = box.run("/bin/cat", input=data).ok()
    assert done.out_bytes == data
    assert done.err == ""


def test_the_two_streams_stay_apart(box):
    done = box.run("/bin/sh", "-c", "echo one; echo two >&2; echo three").ok()
    assert (done.out, done.err) == ("one\nthree\n", "two\n")


@pytest.mark.slow
def test_100_mb_on_stderr_then_100_mb_on_stdout(box):
    """A reader that takes all of stderr before it looks at stdout (another order was a deadlock)."""
    size = 100 * MB
    process = box.start(*box.payload("probe", "spew", str(size), str(size)), stdin=subprocess.DEVNULL)
    got = [0, 0]
    for index, stream in ((1, process.popen.stderr), (0, process.popen.stdout)):
        while got[index] < size:
            block = os.read(stream.fileno(), 1 << 20)
            assert block, f"stream {index} ended after {got[index]} bytes"
            assert block.count(b"oe"[index:index + 1]) == len(block)
            got[index] += len(block)
    assert got == [size, size]
    assert process.wait().status == 0


@pytest.mark.slow
def test_100_mb_on_both_for_a_reader_of_both(box):
    """communicate() reads what is ready."""
    done = box.run(*box.payload("probe", "spew", str(100 * MB), str(100 * MB)), timeout=120).ok()
    assert (len(done.err_bytes), len(done.out_bytes)) == (100 * MB, 100 * MB)


@pytest.mark.slow
def test_100_mb_captured(box):
    """With --capture nobody outside reads at all."""
    done = box.run("--json", *box.payload("probe", "spew", str(100 * MB), str(100 * MB))).ok()
    assert '"stdout_truncated":true' in done.out and '"stderr_truncated":true' in done.out
    assert len(done.out) < 18 * MB


def test_output_of_a_command_that_ended_is_not_lost(box):
    """More than a pipe holds, and a reader that begins late."""
    process = box.start(*box.payload("probe", "spew", "0", str(3 * MB)), stdin=subprocess.DEVNULL)
    poll(lambda: select.select([process.popen.stdout], [], [], 0)[0], what="the first byte")
    time.sleep(0.2)
    done = process.wait()
    assert done.status == 0 and len(done.out_bytes) == 3 * MB


def test_slow_reader(box):
    process = box.start(*box.payload("probe", "spew", "0", str(2 * MB)), stdin=subprocess.DEVNULL)
    total = 0
    while True:
        block = os.read(process.popen.stdout.fileno(), 100000)
        if not block:
            break
        total += len(block)
        time.sleep(0.01)
    assert total == 2 * MB
    assert process.wait().status == 0


def test_output_that_a_grandchild_holds_does_not_keep_us(box):
    """The main command is gone: so is everything else, whoever still has its pipes."""
    began = time.monotonic()
    done = box.run("/bin/sh", "-c", "(setsid sleep 100 &) ; echo done").ok()
    assert done.out == "done\n"
    assert time.monotonic() - began < 5 * SLOW


@pytest.mark.parametrize("script", ["exec {argv} | head -c 10", "{argv} | true", "{argv} | head -n 3 >/dev/null"])
def test_reader_that_goes_away(box, script):
    """`cleave run yes | head` ends."""
    argv = " ".join(box.argv("run", "/usr/bin/yes"))
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script.format(argv=argv)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=20 * SLOW, env=box.environment(), cwd=box.dir)
    assert done.returncode in (0, 141), done
    assert done.stderr == b""


@pytest.mark.parametrize("redirect, status", [(">/dev/full", 125), (">/dev/null", 0), ("2>/dev/full", 0)])
def test_full_output(box, redirect, status):
    argv = " ".join(box.argv("run", "/bin/echo", "hello"))
    done = subprocess.run(["bash", "-c", f"{argv} {redirect}"], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=20 * SLOW, env=box.environment(), cwd=box.dir, text=True)
    assert done.returncode == status, done
    if status:
        assert done.stderr.startswith("cleave run: ") and "No space left" in done.stderr
        assert done.stderr.count("\n") == 1


def test_full_stderr_with_output_on_it(box):
    argv = " ".join(box.argv("run", "/bin/sh", "-c", "'echo hello >&2'"))
    done = subprocess.run(["bash", "-c", f"{argv} 2>/dev/full"], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=20 * SLOW, env=box.environment(), cwd=box.dir, text=True)
    assert done.returncode == 125, done


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors(box, closed):
    """They become /dev/null: the command runs, and nothing of ours takes their numbers."""
    argv = " ".join(box.argv("run", "/bin/sh", "-c", "'cat; echo hello; echo err >&2; exit 7'"))
    done = subprocess.run(["bash", "-c", f"exec {argv} {closed}"], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=20 * SLOW, env=box.environment(), cwd=box.dir, text=True)
    assert done.returncode == 7, done
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "hello\n")
    assert done.stderr == ("" if "2>&-" in closed else "err\n")


# ---- input ----

def test_empty_input(box):
    assert box.run("/usr/bin/wc", "-c", input=b"").ok().out == "0\n"


@pytest.mark.slow
def test_huge_input(box):
    data = os.urandom(1 << 16) * 800
    done = box.run("/usr/bin/sha256sum", input=data).ok()
    import hashlib
    assert done.out.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_that_nobody_reads(box):
    """The command ends before it read: so do we, with input left over."""
    done = box.run("/bin/true", input=b"x" * (8 * MB))
    assert done.status == 0, done


def test_input_ends_when_ours_does(box):
    process = box.start("/bin/cat")
    process.popen.stdin.write(b"first\n")
    process.popen.stdin.flush()
    assert process.popen.stdout.readline() == b"first\n"
    process.popen.stdin.write(b"second\n")
    process.popen.stdin.close()
    process.popen.stdin = None
    assert process.popen.stdout.read() == b"second\n"
    assert process.popen.wait(20 * SLOW) == 0


def test_input_stays_open_while_ours_is(box):
    process = box.start("/bin/cat")
    process.workload("cat")
    time.sleep(0.1)
    assert process.popen.poll() is None
    process.popen.stdin.close()
    process.popen.stdin = None
    assert process.wait().status == 0


def test_command_that_closes_its_input(box):
    """What we can't write is no end of the command."""
    process = box.start("/bin/sh", "-c", "exec <&-; sleep 0.3; echo still here")
    def feed():
        try:
            while True:
                os.write(process.popen.stdin.fileno(), b"x" * 65536)
        except OSError:
            pass
    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    assert process.popen.stdout.readline() == b"still here\n"
    assert process.popen.wait(20 * SLOW) == 0
    process.popen.stdin.close()
    process.popen.stdin = None


def test_files_as_streams(box):
    """--stdin, --stdout, --stderr."""
    source, out, err = box.file("content\n", "in"), box.dir / "out", box.dir / "err"
    box.run("--stdin", source, "--stdout", out, "--stderr", err, "/bin/sh", "-c", "cat; echo e >&2").ok()
    assert (out.read_text(), err.read_text()) == ("content\n", "e\n")
    assert out.stat().st_uid == box.uid, "it belongs to the caller"
    out.unlink(), err.unlink()
    line = box.run("--stdin", "/no/such/file", "/bin/cat").refused(125)
    assert "/no/such/file" in line


def test_inherited_descriptors(box):
    """--stdio inherit hands ours in as they are."""
    with open(box.dir / "through", "wb") as out:
        done = box.run("--stdio", "inherit", PYTHON, "-c",
                       "import os, stat; os.write(1, b'ok' if stat.S_ISREG(os.fstat(1).st_mode) else b'no')",
                       stdout=out)
    assert done.status == 0, done
    assert (box.dir / "through").read_text() == "ok"
    (box.dir / "through").unlink()


def test_output_reopened_by_name(box):
    assert box.sh("echo a >/dev/stdout; echo b >/dev/fd/1; echo c >/proc/self/fd/1; cat /dev/stdin",
                  input="d\n") == "a\nb\nc\nd\n"


def test_appending_to_a_file(box):
    path = box.file("old\n", "log")
    with open(path, "ab") as stream:
        box.run("/bin/echo", "new", stdout=stream)
    assert path.read_text() == "old\nnew\n"


def test_nonblocking_pipe_of_the_caller(box):
    """The caller's pipe may be non-blocking; and we don't make it so when it was not."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    process = box.start(*box.payload("probe", "spew", "0", str(MB)), stdout=write_fd, stdin=subprocess.DEVNULL)
    os.close(write_fd)
    total = 0
    while True:
        block = os.read(read_fd, 5000)
        if not block:
            break
        total += len(block)
    os.close(read_fd)
    assert total == MB and process.wait().status == 0
    read_fd, write_fd = os.pipe()
    box.run("/bin/echo", "x", stdout=write_fd)
    assert os.get_blocking(write_fd)
    os.close(read_fd), os.close(write_fd)


def test_sockets_as_streams(box):
    import socket
    ours, theirs = socket.socketpair()
    process = box.start("/usr/bin/tr", "a-z", "A-Z", stdin=theirs, stdout=theirs)
    theirs.close()
    ours.sendall(b"hello\n")
    ours.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        block = ours.recv(100)
        if not block:
            break
        data += block
    assert data == b"HELLO\n"
    assert process.wait().status == 0
    ours.close()
