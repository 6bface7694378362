# SPDX-License-Identifier: Apache-2.0
"""Attacks on the host's resources with the limit down. Each goes a little beyond what was asked for and ends by itself:
nothing here needs more than the host can spare."""
from pathlib import Path

import pytest
from conftest import PYTHON
from walls import without

FORKS = """if True:
    import os, sys
    n, kids = 0, []
    r, w = os.pipe()
    try:
        for _ in range(40):
            p = os.fork()
            if p == 0: os.close(w); os.read(r, 1); os._exit(0)
            kids.append(p)
    except OSError: pass
    print(len(kids), flush=True); os.close(w)
    for p in kids: os.waitpid(p, 0)"""


@pytest.mark.root_only
def test_e52_open_more_processes_than_asked(box):
    words = ["--pids", "20", PYTHON, "-c", FORKS]
    assert int(box.run(*words, **without("row:LIMIT_PIDS")).ok().out) == 40
    assert int(box.run(*words).ok().out) < 20


@pytest.mark.root_only
def test_e53_open_more_memory_than_asked(box):
    words = ["--memory", "32M", PYTHON, "-c", "x = bytearray(b'x') * (48 << 20); print(len(x))"]
    assert box.run(*words, **without("row:LIMIT_MEMORY")).ok().out == f"{48 << 20}\n"
    assert box.result(*words).result["status"] == "memory_limit"


def test_e54_open_longer_than_asked(box):
    """init's clock, and the keeper's behind it."""
    words = ["--timeout", "100ms", "/bin/sh", "-c", "sleep 0.6; echo the end"]
    opened = box.result(*words, **without("limit:timeout", "limit:clock"))
    assert opened.out == "the end\n" and opened.result["status"] == "timeout", "the record still tells"
    for more, why in ((without("limit:timeout"), "the keeper's holds by itself"), (without("limit:clock"), "init's holds by itself"), ({}, "both")):
        done = box.result(*words, **more)
        assert done.out == "" and done.result["status"] == "timeout", why


@pytest.mark.root_only
def test_e54_open_more_of_the_processors_than_asked(box):
    """What the kernel holds the sandbox to, by its cgroup: nothing, and a tenth of a processor."""
    def quota(**more):
        process = box.start("--cpus", "0.1", "/bin/sleep", "100", **more)
        answer = cpu_quota(process.workload("sleep"))
        process.popen.terminate()
        process.wait()
        return answer
    assert quota(**without("row:LIMIT_CPUS"))[0] in ("-1", "max")
    quota_us, period_us = map(int, quota())
    assert quota_us * 10 == period_us


def cpu_quota(pid):
    """[quota, period] of the cgroup of a process of the host, v2 or v1."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for row in Path("/proc/self/mountinfo").read_text().splitlines():
            left, right = row.split(" - ")
            kind, _, options = right.split(" ", 2)
            place = Path(left.split()[4] + path)
            if kind == "cgroup2" and not names and (place / "cpu.max").exists():
                return (place / "cpu.max").read_text().split()
            if kind == "cgroup" and "cpu" in names.split(",") and "cpu" in options.split(","):
                return [(place / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")]
    raise AssertionError(f"no cpu controller for {pid}")


DISK = """if True:
    import errno, os
    def bytes_(n):
        with open('/tmp/f', 'wb') as f: f.write(b'x' * n)
    def sparse(n):
        with open('/home/user/s', 'wb') as f: os.posix_fallocate(f.fileno(), 0, n)
    def deleted(n):
        f = open('/dev/shm/d', 'wb', 0); os.unlink('/dev/shm/d'); left = n
        while left: left -= f.write(b'x' * min(left, 65536))
    def files(n):
        for i in range(n): os.close(os.open(f'/var/tmp/{i}', os.O_CREAT))
    for way, n in ((bytes_, 3 << 20), (sparse, 3 << 20), (deleted, 3 << 20), (files, 300)):
        try: way(n); print(way.__name__, 'done')
        except OSError as e: print(way.__name__, errno.errorcode[e.errno])
        os.system('rm -rf /tmp/f /home/user/s /var/tmp/*')"""


def test_e55_disk(box):
    """Bytes, reserved bytes, a deleted file that is open, numbers of files: all places are one bounded file system."""
    walled = box.run("--disk", "2m,inodes=200", PYTHON, "-c", DISK).ok().out
    assert walled.split() == ["bytes_", "ENOSPC", "sparse", "ENOSPC", "deleted", "ENOSPC", "files", "ENOSPC"], walled
    done = box.result("--disk", "2m", "/bin/sh", "-c", "head -c 3m /dev/zero >/tmp/f")
    assert done.result["limits"]["disk"]["hit"] is True, done


def test_e55_open_more_disk_than_asked(box):
    opened = box.run("--disk", "2m,inodes=200", PYTHON, "-c", DISK, **without("limit:disk", "limit:inodes")).ok().out
    assert opened.count("done") == 4, opened


def test_e56_open_more_output_than_asked(box):
    words = ["--output-limit", "1M", "/bin/sh", "-c", "head -c 3000000 /dev/zero"]
    opened = box.run(*words, **without("limit:output"))
    assert len(opened.out_bytes) == 3000000
    walled = box.run(*words)
    assert len(walled.out_bytes) <= 1 << 20 and walled.status == 124


def test_e57_open_more_descriptors_than_asked(box):
    code = "import os\nn = 0\ntry:\n  while n < 200: os.dup(0); n += 1\nexcept OSError: pass\nprint(n)"
    words = ["--nofile", "50", PYTHON, "-c", code]
    assert box.run(*words, **without("row:NOFILE_LIMIT")).ok().out == "200\n"
    assert int(box.run(*words).ok().out) < 50


@pytest.mark.parametrize("size", ["1M", "2M", "4M", "6M"])
def test_e62_tiny_limits(box, size):
    """Of memory, where it can be had, and of disk: it starts, or one sentence says why not."""
    for words in (["--disk", size], ["--memory", size] if box.delegated else ["--memory", size, "--degrade"]):
        done = box.result(*words, "/bin/true")
        assert done.status in (0, 125, 137), done
        if done.status == 125:
            assert len(done.err.splitlines()) == 1 and done.err.startswith("cleave "), done
        elif done.status == 137:
            assert done.result["status"] == "memory_limit", done
