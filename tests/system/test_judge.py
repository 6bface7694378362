# SPDX-License-Identifier: Apache-2.0
"""What judges need: files as streams, files that come out, two sandboxes that talk, the same addresses each time."""
import json
import os
import signal
import stat
import subprocess

import pytest
from conftest import PYTHON, SLOW, leaks, poll

# ---- files as streams ----


def test_both_outputs_into_one_file(box):
    both = box.dir / "both"
    box.run("--stdout", both, "--stderr", both, "/bin/sh", "-c", "echo a; echo b >&2; echo c").ok()
    assert sorted(both.read_text().split()) == ["a", "b", "c"]
    both.unlink()


@pytest.mark.parametrize("stream, other", [("stdout", "stderr"), ("stderr", "stdout")])
def test_what_goes_into_a_file_is_not_in_the_result(box, stream, other):
    path = box.dir / "stream"
    done = box.run("--json", f"--{stream}", path, "/bin/sh", "-c", "echo stdout; echo stderr >&2").ok()
    result = json.loads(done.out)
    assert path.read_text() == f"{stream}\n" and result[stream] is None
    assert result[other] == f"{other}\n"
    path.unlink()


def test_a_reader_that_stands_still_keeps_nobody(box):
    """Both streams lead to one pipe, which is full: signals are forwarded all the same."""
    read_fd, write_fd = os.pipe()
    process = box.start("/bin/sh", "-c", "yes & yes >&2", stdout=write_fd, stderr=write_fd)
    os.close(write_fd)
    try:
        poll(lambda: len(process.named("yes")) == 2, what="two that write")
        blocked = {pid: 0 for pid in process.named("yes")}
        # each of them stands in its write: our pipe and theirs are full
        poll(lambda: all("pipe" in (wchan(pid) or "pipe") for pid in blocked) and full(read_fd), what="full pipes")
        keeper = process.keeper()
        os.kill(keeper, signal.SIGTERM)
        poll(lambda: not process.named("sh"), what="the end of what the signal was for")
    finally:
        os.close(read_fd)
    process.popen.wait(30 * SLOW)


def wchan(pid):
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read()
    except OSError:
        return ""


def full(fd):
    import array
    import fcntl
    import termios
    n = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, n)
    return n[0] >= 65536 - 4096


# ---- files that come out ----

def outs(done):
    return {o["inside"]: o for o in done.result["out"]}


def test_out(box):
    here = box.directory()
    done = box.result("--out", f"/home/user/one:{here}/1", "--out", f"/tmp/tree:{here}/tree", "/bin/sh", "-c",
                      "echo one >one; mkdir -p /tmp/tree/a; echo two >/tmp/tree/a/2; chmod 6755 /tmp/tree/a/2; ln /tmp/tree/a/2 /tmp/tree/hard")
    assert done.ok().result["status"] == "exited"
    assert (here / "1").read_text() == "one\n" and (here / "tree/a/2").read_text() == "two\n"
    for path in (here / "1", here / "tree", here / "tree/a/2"):
        assert path.stat().st_uid == box.uid, "it belongs to the caller"
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    seen = outs(done)
    assert [(o["files"], o["bytes"], o["error"]) for o in (seen["/home/user/one"], seen["/tmp/tree"])] == [(1, 4, None), (1, 4, None)]


@pytest.mark.parametrize("script, status", [
    ("echo x >r; exit 3", 3), ("echo x >r; kill -SEGV $$", 139), ("echo x >r; sleep 1000", 124),
    ("echo x >r; while :; do :; done", 124), ("echo x >r; (setsid sleep 1000 &); exit 0", 0)])
def test_out_however_it_ends(box, script, status):
    """And nobody inside is alive when it is copied."""
    here = box.directory()
    done = box.result("--timeout", "300ms", "--out", f"/home/user/r:{here}/r", "/bin/sh", "-c", script)
    assert done.status == status, done
    # where a slow machine let the keeper's own timer strike before init's, nothing was left to copy
    assert (here / "r").exists() or done.result["out"][0]["error"] and done.result["wall_ns"] is None, done


def test_out_that_is_not_there(box):
    """A success without what it was to bring is none; a failure keeps its own status."""
    here = box.directory()
    done = box.result("--out", f"/home/user/r:{here}/r", "/bin/true")
    assert done.status == 125 and done.result["status"] == "exited" and done.result["exit_code"] == 0, done
    assert done.err.startswith("cleave run: --out /home/user/r:") and "No such file" in done.result["out"][0]["error"]
    done = box.result("--out", f"/home/user/r:{here}/r", "/bin/false")
    assert done.status == 1 and done.result["out"][0]["error"]
    done = box.result("--out", f"/home/user/r:{here}/r", "/no/such/program")
    assert done.status == 127 and "did not start" in done.result["out"][0]["error"]
    done = box.result("--out", f"/home/user/r:{here}/no/such/r", "/bin/touch", "/home/user/r")
    assert done.status == 125 and done.result["out"][0]["error"]


def test_out_is_bounded(box):
    here = box.directory()
    options = ["--out-limit", "1M", "--out", f"/tmp/r:{here}/r"]
    for script in ("dd if=/dev/zero of=/tmp/r bs=1M count=2 2>/dev/null", "truncate -s 1T /tmp/r",
                   "mkdir /tmp/r; for i in $(seq 300); do : >/tmp/r/$i; done"):
        done = box.result(*options, "/bin/sh", "-c", script)
        assert done.status == 125 and "1 MiB of --out-limit" in done.result["out"][0]["error"], done
        if (here / "r").is_dir():
            assert sum(1 for _ in (here / "r").iterdir()) < 256
        else:
            assert not (here / "r").exists()
    done = box.result("--out-limit", "1M", "--out", f"/tmp/a:{here}/a", "--out", f"/tmp/b:{here}/b", "/bin/sh", "-c",
                      "dd if=/dev/zero of=/tmp/a bs=600k count=1 2>/dev/null; cp /tmp/a /tmp/b")
    assert [o["error"] is None for o in done.result["out"]] == [True, False], "one bound for all of them"


@pytest.mark.parametrize("words", [("--out", "x:/y"), ("--out", "/x"), ("--out", "/x:"), ("--out-limit", "much")])
def test_out_that_makes_no_sense(box, words):
    assert words[0] in box.run(*words, "/bin/true").refused(125)


def test_out_needs_a_run_to_its_end(box):
    assert "--out" in box.run("--name", "named", "--out", "/tmp/x:x", "/bin/true").refused(125)
    assert "--out" in box.run("-d", "--out", "/tmp/x:x", "/bin/true").refused(125)


# ---- lines of a batch ----

def batch(box, *specs, options=(), status=0):
    done = box.call("run", *options, "--batch", "-", input="".join(json.dumps(s) + "\n" for s in specs))
    assert done.status == status, done
    return [r for _, r in sorted((r["index"], r) for r in map(json.loads, done.out.splitlines()))]


def test_batch_with_files(box):
    here = box.directory()
    seen = batch(box, {"argv": ["sh", "-c", "cat; echo e >&2; echo f >f"], "stdin": str(box.file("given")), "stdout": f"{here}/o",
                       "out": f"/home/user/f:{here}/f"},
                 {"argv": ["sh", "-c", "echo o; echo e >&2"], "stderr": f"{here}/e"})
    assert ((here / "o").read_text(), (here / "f").read_text(), (here / "e").read_text()) == ("given", "f\n", "e\n")
    assert [(r["result"]["stdout"], r["result"]["stderr"]) for r in seen] == [(None, "e\n"), ("o\n", None)]
    assert batch(box, {"argv": ["true"], "stdout": "/no/such/dir/o"}, status=125)[0]["error"]
    assert batch(box, {"argv": ["true"], "stdout": 7}, status=125)[0]["error"]


# ---- two that talk ----

GUESS = """if True:
    low, high = 1, 1000
    while True:
        middle = (low + high) // 2
        print(middle, flush=True)
        answer = input()
        if answer == '=': break
        if answer == '<': high = middle - 1
        else: low = middle + 1"""
REFEREE = """if True:
    import sys
    for n in range(1, 99):
        guess = int(input())
        print('=' if guess == 777 else '<' if guess > 777 else '>', flush=True)
        if guess == 777: break
    print('guesses', n, file=sys.stderr)"""


def pair(box, one, other, options=(), **more):
    return batch(box, {"pair": [{"argv": one, **more}, {"argv": other, **more}]}, options=options)[0]


def test_pair(box):
    seen = pair(box, [PYTHON, "-c", REFEREE], [PYTHON, "-c", GUESS], id=1)
    referee, guess = seen["results"]
    assert (referee["status"], referee["exit_code"], guess["status"], guess["exit_code"]) == ("exited", 0, "exited", 0), seen
    n = int(referee["stderr"].split()[1])
    assert guess["stdout"].split()[-1] == "777" and referee["stdout"].split()[-1] == "=", "what was said is in the results"
    assert len(guess["stdout"].split()) == len(referee["stdout"].split()) == n


def test_pair_that_waits_for_each_other(box):
    """Each has its own clock; who is over first is told, and the other one sees the end of its input."""
    for i in range(2):
        specs = [{"argv": ["cat"], "timeout": 300}, {"argv": ["cat"], "timeout": 300}]
        specs[i]["timeout"] = 0.3
        seen = batch(box, {"pair": specs, "id": i})[0]
        assert [r["status"] for r in seen["results"]] == ["exited" if k != i else "timeout" for k in range(2)], seen
        assert (seen["first"], seen["id"]) == (i, i)


def test_pair_that_floods_each_other(box):
    """Neither reads: both stand still with full pipes, until their clocks strike."""
    seen = pair(box, ["yes"], ["yes"], timeout=0.5, capture="1k")
    assert "timeout" in [r["status"] for r in seen["results"]], seen
    for i, r in enumerate(seen["results"]):
        assert r["status"] in ("timeout", "signaled") and r["stdout_truncated"] and len(r["stdout"]) == 1024
        assert (r["status"] == "timeout") or i != seen["first"]


def test_pair_limits_are_of_each(box):
    seen = batch(box, {"pair": [{"argv": ["yes"], "output-limit": "64k"}, {"argv": ["sh", "-c", "wc -c >&2; exec sleep 0.1"]}]})[0]
    assert [r["status"] for r in seen["results"]] == ["output_limit", "exited"] and seen["first"] == 0
    assert int(seen["results"][1]["stderr"]) <= 65536, "the other one got no more than was allowed"


@pytest.mark.parametrize("one, other, ends", [
    (["true"], ["sh", "-c", "sleep 0.05; while echo x; do :; done"], "signaled"),  # SIGPIPE
    (["true"], ["sh", "-c", "while read x; do :; done; exit 7"], "exited"),
    (["sh", "-c", "exec 0<&- 1>&-; sleep 1000"], ["sh", "-c", "read x; exit 7"], "exited"),
    (["sh", "-c", "kill -SEGV $$"], ["cat"], "exited")], ids=["pipe", "eof", "closed", "segv"])
def test_pair_when_one_is_gone(box, one, other, ends):
    seen = pair(box, one, other, timeout=20 if "1000" not in one[-1] else 3)
    assert seen["results"][1]["status"] == ends, seen
    assert seen["first"] == (1 if "1000" in one[-1] else 0)


def test_pairs_that_close_both_streams_at_once(box):
    """One of forty is enough: the end of the second stream comes while init is asked about the first one."""
    line = {"pair": [{"argv": ["sh", "-c", "exec 0<&- 1>&-; sleep 0.5"]}, {"argv": ["sh", "-c", "read x; exit 7"]}]}
    seen = batch(box, *[line] * 40, options=["--jobs", "8"])
    assert [(r["first"], r["results"][1]["exit_code"]) for r in seen] == [(1, 7)] * 40


def test_pair_100_mb_each_way(box):
    """An end of stdout is the end of the other one's stdin, although its sandbox lives on."""
    talk = ["sh", "-c", "head -c 100000000 /dev/zero & exec 1>&-; wc -c >&2; wait"]
    seen = pair(box, talk, talk, capture="1k", timeout=30)
    assert [(r["status"], r["stderr"]) for r in seen["results"]] == [("exited", "100000000\n")] * 2, seen


@pytest.mark.parametrize("line, sentence", [
    ({"pair": []}, "two objects"), ({"pair": [{"argv": ["true"]}]}, "two objects"), ({"pair": 1}, "two objects"),
    ({"pair": [{"argv": ["true"]}, 1]}, "object"), ({"pair": [{"argv": ["true"]}, {}]}, "argv"),
    ({"pair": [{"argv": ["true"]}, {"argv": ["true"]}], "timeout": 1}, "timeout"),
    ({"pair": [{"argv": ["true"]}, {"argv": ["true"], "stdin": "/dev/null"}]}, "stdin"),
    ({"pair": [{"argv": ["true"]}, {"argv": ["true"], "memry": 1}]}, "memory")])
def test_pair_that_makes_no_sense(box, line, sentence):
    seen = batch(box, line, {"argv": ["echo", "after"]}, status=125)
    assert sentence in seen[0]["error"] and seen[1]["result"]["stdout"] == "after\n"


def test_pairs_at_a_time(box):
    """A pair is one job: also with --jobs 1 both of it run."""
    seen = batch(box, *[{"pair": [{"argv": ["echo", "x"]}, {"argv": ["sh", "-c", "read x; echo $x$x >&2"]}]}] * 6,
                 options=["--jobs", "1"])
    assert [r["results"][1]["stderr"] for r in seen] == ["xx\n"] * 6


def test_end_of_the_batch_ends_pairs(box):
    process = box.start("--batch", "-")
    process.popen.stdin.write((json.dumps({"pair": [{"argv": ["cat"]}, {"argv": ["cat"]}]}) + "\n").encode())
    process.popen.stdin.flush()
    poll(lambda: len(process.named("cat")) == 2, what="both")
    process.popen.send_signal(signal.SIGTERM)
    process.popen.stdin.close()
    assert process.popen.wait(30 * SLOW) == 128 + signal.SIGTERM
    poll(lambda: not any(name.startswith("cat") for name in below_init(os.getpid())), what="the end of both")


def below_init(pid):
    return [row[1] for row in leaks.process_table(pid).values()]


# ---- addresses ----

MAPS = [PYTHON, "-c", "print([l for l in open('/proc/self/maps') if 'stack' in l][0].split()[0], open('/proc/self/personality').read().strip())"]


def test_no_aslr(box):
    seen = {box.result("--no-aslr", *MAPS).ok().out for _ in range(3)}
    assert len(seen) == 1 and seen.pop().split()[1] == "00040000"
    assert box.result("--no-aslr", "/bin/true").result["layers"]["aslr"] == {"state": "off", "how": "--no-aslr", "remedy": None}
    seen = {box.result(*MAPS).ok().out for _ in range(3)}
    assert len(seen) == 3, seen
    assert box.result("/bin/true").result["layers"]["aslr"]["state"] == "on"


def test_personality_of_the_caller_stays_outside(box):
    argv = ["setarch", "-R", "-X", *box.argv("run", *MAPS)]
    done = subprocess.run(argv, env=box.environment(), capture_output=True, text=True, timeout=60 * SLOW)
    assert done.returncode == 0 and done.stdout.split()[1] == "00000000", done


def test_no_aslr_of_execs(box):
    sandbox = box.call("start", "plain", "sleep", "1000").ok() and "plain"
    try:
        seen = {box.call("exec", "--no-aslr", sandbox, *MAPS).ok().out for _ in range(2)}
        assert len(seen) == 1
        result = json.loads(box.call("exec", "--json", "--no-aslr", sandbox, "true").ok().out)
        assert result["layers"]["aslr"]["state"] == "off"
        assert len({box.call("exec", sandbox, *MAPS).ok().out for _ in range(2)}) == 2
    finally:
        box.call("rm", "-f", sandbox).ok()
