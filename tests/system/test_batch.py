# SPDX-License-Identifier: Apache-2.0
"""run --batch: a sandbox for each line of a file, N at a time, a JSON line for each result."""
import json
import signal
import subprocess

import pytest
from conftest import BUILD, poll
from live import alive


def lines(*specs):
    return "".join(s if isinstance(s, str) else json.dumps(s) + "\n" for s in specs)


def batch(box, *specs, options=(), status=0):
    done = box.call("run", *options, "--batch", "-", input=lines(*specs))
    assert done.status == status, done
    return {record["index"]: record for record in map(json.loads, done.out.splitlines())}


def test_results_by_index_and_id(box):
    seen = batch(box, {"argv": ["echo", "one"], "id": "first"}, "\n", {"argv": ["sh", "-c", "exit 3"], "id": [2]},
                 {"argv": ["sh", "-c", "kill -9 $$"]})
    assert [seen[i]["id"] for i in range(3)] == ["first", [2], None] and set(seen) == {0, 1, 2}
    results = [seen[i]["result"] for i in range(3)]
    assert [r["status"] for r in results] == ["exited", "exited", "signaled"]
    assert results[0]["stdout"] == "one\n" and results[1]["exit_code"] == 3 and results[2]["signal"] == 9
    assert all(r["schema"] == 1 for r in results)


def test_options_of_all_lines_and_of_one(box):
    seen = batch(box, {"argv": ["sh", "-c", "echo $A $B"]}, {"argv": ["sh", "-c", "echo $A $B"], "env": ["A=2", "B=3"]},
                 {"argv": ["sh", "-c", "while :; do :; done"], "timeout": 0.2}, {"argv": ["cat", "/mnt/f"], "degrade": True,
                 "ro": f"{box.file('given')}:/mnt/f", "nofile": 100}, options=["--env", "A=1", "--timeout", "60"])
    assert [seen[i]["result"]["stdout"] for i in range(4)] == ["1\n", "2 3\n", "", "given"]
    assert [seen[i]["result"]["status"] for i in range(4)] == ["exited", "exited", "timeout", "exited"]
    assert seen[0]["result"]["limits"]["timeout"]["asked"] == 60_000_000_000
    assert seen[3]["result"]["limits"]["nofile"]["asked"] == 100


def test_stdin_is_a_file_or_nothing(box):
    given = box.file("a\nb\n")
    seen = batch(box, {"argv": ["wc", "-l"], "stdin": str(given)}, {"argv": ["wc", "-l"]})
    assert [seen[i]["result"]["stdout"] for i in range(2)] == ["2\n", "0\n"]


@pytest.mark.parametrize("line, sentence", [
    ("not json\n", "no JSON object"), ("[1]\n", "no JSON object"), ('{"argv":[]}\n', "argv"), ('{"id":7}\n', "argv"),
    ('{"argv":["true",1]}\n', "argv"), ('{"argv":"true"}\n', "argv"), ('{"argv":["true"],"memry":"1m"}\n', "memory"),
    ('{"argv":["true"],"memory":{"a":1}}\n', "memory"), ('{"argv":["true"],"timeout":"soon"}\n', "timeout"),
    ('{"argv":["true"],"stdin":"/no/such/file"}\n', "/no/such/file"), ('{"argv":["true"]} x\n', "no JSON object"),
    ("{" * 100000 + "\n", "no JSON object"), ("\0\n", "no JSON object")])
def test_a_bad_line_is_told_and_harms_no_other(box, line, sentence):
    seen = batch(box, {"argv": ["echo", "before"]}, line, {"argv": ["echo", "after"]}, status=125)
    assert sentence in seen[1]["error"] and "result" not in seen[1], seen[1]
    assert [seen[i]["result"]["stdout"] for i in (0, 2)] == ["before\n", "after\n"]


def test_so_many_at_a_time(box):
    """Two that wait for each other end only when both run."""
    where = box.directory("rendezvous")
    meet = "echo > /mnt/$0; until test -e /mnt/$1; do sleep 0.01; done; echo met"
    both = [{"argv": ["sh", "-c", meet, *names], "rw": f"{where}:/mnt", "timeout": "40s"} for names in (("a", "b"), ("b", "a"))]
    seen = batch(box, *both, options=["--jobs", "2"])
    assert [seen[i]["result"]["stdout"] for i in range(2)] == ["met\n"] * 2
    for name in ("a", "b"):
        (where / name).unlink()
    # one at a time: the first waits in vain, the second finds what it left
    both[0]["timeout"] = "0.5s"
    seen = batch(box, *both, options=["--jobs", "1"])
    assert [seen[i]["result"]["status"] for i in range(2)] == ["timeout", "exited"]


def test_many(box):
    seen = batch(box, *({"argv": ["sh", "-c", f"echo {i}"]} for i in range(60)), options=["--jobs", "8"])
    assert [seen[i]["result"]["stdout"] for i in range(60)] == [f"{i}\n" for i in range(60)]


def children(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(p) for p in listed.stdout.split()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_batch_ends_its_jobs(box, how):
    process = box.start("--jobs", "2", "--batch", "-")
    process.popen.stdin.write(lines({"argv": ["sleep", "1000"]}, {"argv": ["sleep", "1000"]}, {"argv": ["sleep", "1000"]}).encode())
    process.popen.stdin.flush()
    popen = process.popen
    pid = popen.pid
    poll(lambda: sum(len(children(c)) for c in children(pid)) == 2, what="two jobs")  # keeper and init, each
    jobs = children(pid)
    popen.send_signal(how)
    popen.stdin.close()
    popen.wait(60)
    assert popen.returncode in ((-9,) if how == signal.SIGKILL else (128 + how,))
    poll(lambda: not any(alive(j) for j in jobs), what="the end of the jobs")
    if how == signal.SIGKILL:
        box.call("gc").ok()


@pytest.mark.parametrize("sigchld", [signal.SIG_DFL, signal.SIG_IGN], ids=["told", "ignored"])
def test_a_result_comes_when_its_job_ends(box, sigchld):
    """Not with the next line: whoever writes them may wait for it. Also from a caller that ignores its children's ends."""
    argv = [*box.prefix, str(BUILD), "run", "--jobs", "4", "--batch", "-"]
    # Popen restores nothing but SIGPIPE and its like: what is ignored here is ignored there
    before = signal.signal(signal.SIGCHLD, sigchld)
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=box.environment(), cwd=box.dir) as p:
            for i in range(3):
                p.stdin.write(json.dumps({"argv": ["echo", str(i)]})[:7])
                p.stdin.flush()
                p.stdin.write(json.dumps({"argv": ["echo", str(i)]})[7:] + "\n")
                p.stdin.flush()
                record = json.loads(p.stdout.readline())
                assert record["index"] == i and record["result"]["stdout"] == f"{i}\n", record
            p.stdin.write('{"argv": ["echo", "last"]}')  # no newline
            p.stdin.close()
            assert json.loads(p.stdout.readline())["result"]["stdout"] == "last\n"
            assert p.stdout.read() == ""
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_options_that_make_no_sense(box):
    assert "--jobs" in box.call("run", "--jobs", "0", "--batch", "-").refused(125)
    assert "--batch" in box.call("run", "--batch", "-", "true").refused(125)
    assert "/no/such" in box.call("run", "--batch", "/no/such/file").refused(125)
