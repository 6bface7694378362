# SPDX-License-Identifier: Apache-2.0
"""What each verb on living sandboxes promises."""
import json
import os
import re
import resource
import select
import time
from pathlib import Path

import pexpect
import pytest

from conftest import SLOW
from live import COUNTER, PYTHON, STATES, alive, counts_on, descriptors, live, poll, sleeps  # noqa: F401

READY = "touch /tmp/ready; "


def wait_ready(live, name):
    poll(lambda: live.exec(name, "test", "-e", "/tmp/ready").status == 0, what="the payload")


def wait_state(live, name, state):
    poll(lambda: live.state(name) == state, what=f"the state {state}")


# ---- start, run -d, rm ----

def test_start_exec_rm(live):
    name = live.start()
    assert live.names() == [name]
    assert live.execsh(name, "id -u; pwd; hostname") == f"1000\n/home/user\n{name}\n"
    assert live.execsh(name, "echo kept > f; cat f") == "kept\n"
    assert live.execsh(name, "cat f") == "kept\n"
    refusal = live.call("rm", name).refused()
    assert name in refusal and "rm -f" in refusal
    keeper, init = live.keeper(name), live.init(name)
    assert live.call("rm", "-f", name).ok().out == ""
    poll(lambda: not alive(keeper) and not alive(init), what="the end of keeper and init")
    assert live.ps("-a") == []
    assert live.start(name=name) == name


def test_start_with_a_command(live):
    name = live.sh("echo out; echo err >&2; exit 3")
    assert live.call("wait", name).status == 3
    wait_state(live, name, "exited")
    logs = live.call("logs", name).ok()
    assert (logs.out, logs.err) == ("out\n", "err\n")
    assert live.names() == [] and live.names("-a") == [name]
    assert "has ended" in live.exec(name, "true").refused()
    live.call("rm", name).ok()
    assert live.ps("-a") == []


def test_a_command_that_can_not_start_leaves_nothing(live):
    done = live.call("start", "t", "--", "no-such-program")
    assert "no-such-program" in done.refused(127)
    assert live.ps("-a") == []
    assert "/etc/passwd" in live.call("start", "t", "--", "/etc/passwd").refused(126)
    live.call("start", "-w", "/no/such/place", "t", "--", "true").refused()
    assert live.ps("-a") == []
    assert live.start(name="t")


@pytest.mark.parametrize("name", ["", "-x", ".x", "a/b", "a b", "x" * 64, "../x", "a\n"])
def test_names_that_are_none(live, name):
    assert live.box.call("start", "--", name).status == 125
    assert live.ps("-a") == []
    assert live.box.call("inspect", "--", name).status == 125


def test_a_name_is_taken_once(live):
    name = live.start()
    assert "taken" in live.call("start", name).refused()
    assert "taken" in live.call("run", "--name", name, "true").refused()
    live.usable(name)
    assert live.names() == [name]


def test_many_at_once_get_one_name(live):
    calls = [live.box.start("same", verb="start") for _ in range(6)]
    done = [c.wait() for c in calls]
    assert sorted(d.status for d in done) == [0] + [125] * 5
    assert live.names() == ["same"]
    live.usable("same")


def test_ids_and_prefixes(live):
    name = live.start()
    row = live.inspect(name)
    for word in (row["id"], row["id"][:11], row["id"][:6], name):
        assert live.inspect(word)["name"] == name
    assert "no sandbox" in live.call("inspect", "nobody").refused()
    for digits in range(1, 6):  # a name like b1 that is missing is no id
        assert "no sandbox" in live.call("rm", "-f", row["id"][:digits]).refused()
    assert live.names() == [name]


def test_run_detached(live):
    done = live.call("run", "-d", "--name", "d", "/bin/sh", "-c", "echo hello; exec sleep 1000").ok()
    assert live.inspect("d")["id"] == done.out.strip()
    poll(lambda: live.call("logs", "d").ok().out == "hello\n", what="the log")
    unnamed = live.call("run", "-d", "sleep", "1000").ok().out.strip()
    assert live.inspect(unnamed)["name"] in (None, unnamed)
    assert sorted(row["id"] for row in live.ps()) == sorted([done.out.strip(), unnamed])


def test_run_with_a_name_lives_in_ps(live):
    process = live.box.start("--name", "r", "/bin/sh", "-c", "cat; exit 4")
    poll(lambda: live.names() == ["r"], what="the name")
    live.usable("r")
    process.popen.stdin.write(b"through\n")
    done = process.wait()
    assert (done.status, done.out) == (4, "through\n")
    assert live.ps("-a") == []


def test_rm_option_forgets(live):
    name = live.sh("exit 0", "--rm")
    poll(lambda: live.ps("-a") == [], what="the end")
    assert "no sandbox" in live.call("inspect", name).refused()


def test_ttl_and_idle_timeout(live):
    begin = time.monotonic()
    live.start("--ttl", "1500ms", "--rm")
    live.sh("exec sleep 1000", "--ttl", "1500ms", "--rm")
    live.start("--idle-timeout", "1500ms", "--rm")
    assert len(live.ps()) == 3
    poll(lambda: live.ps("-a") == [], 20, "the end of all")
    assert time.monotonic() - begin > 1.4


def test_idle_timeout_waits_for_an_exec(live):
    name = live.start("--idle-timeout", "1s")
    assert live.execsh(name, "sleep 2.5; echo there") == "there\n"


# ---- exec ----

def test_exec_status_and_streams(live):
    name = live.start()
    done = live.exec(name, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")
    assert live.exec(name, "/bin/sh", "-c", "kill -9 $$").status == 137
    live.exec(name, "no-such-program").refused(127)
    live.exec(name, "/etc/passwd").refused(126)
    assert live.exec(name, "--", "echo", "--", "-x").ok().out == "-- -x\n"
    live.exec(name).refused()


def test_exec_stdin(live):
    name = live.start()
    assert live.exec(name, "cat", input="unread").ok().out == ""
    text = "".join(f"line {i}\n" for i in range(20000))
    assert live.exec(name, "cat", options=["-i"], input=text).ok().out == text
    file = live.box.file("from a file\n")
    assert live.exec(name, "cat", options=["--stdin", file]).ok().out == "from a file\n"


def test_exec_does_not_wait_for_stdin_nobody_reads(live):
    name = live.start()
    process = live.box.start("-i", name, "true", verb="exec")
    assert process.popen.wait(20) == 0


def test_exec_user(live, differs):
    name = live.start()
    if differs:
        assert "one id" in live.exec(name, "id", options=["--user", "root"]).refused()
    else:
        assert live.execsh(name, "id -u", "--user", "root") == "0\n"
        assert live.execsh(name, "grep CapEff /proc/self/status", "--user", "root").split()[1] == "0" * 16
    root = live.start("--user", "root")
    assert live.execsh(root, "id -u") == ("0\n" if differs else "1000\n")


def test_exec_options(live):
    name = live.start("-e", "A=main")
    assert live.execsh(name, "echo $A $B; pwd", "-e", "B=exec", "-w", "/tmp") == "main exec\n/tmp\n"
    assert live.execsh(name, "echo $A", "-e", "A=exec") == "exec\n"
    other = live.start("-w", "/usr/bin")
    assert live.execsh(other, "pwd") == "/usr/bin\n"
    out = live.box.file("", "out")
    err = live.box.file("", "err")
    done = live.exec(name, "/bin/sh", "-c", "echo o; echo e >&2", options=["--stdout", out, "--stderr", err]).ok()
    assert (done.out, done.err) == ("", "")
    assert (out.read_text(), err.read_text()) == ("o\n", "e\n")
    live.exec(name, "true", options=["--stdin", "/no/such/file"]).refused()


def test_exec_result(live):
    name = live.start()
    result = json.loads(live.exec(name, "/bin/sh", "-c", "echo a; echo b >&2; exit 5", options=["--json"]).out)
    assert result["schema"] == 1 and result["status"] == "exited" and result["exit_code"] == 5
    assert (result["stdout"], result["stderr"]) == ("a\n", "b\n")
    assert result["wall_ns"] > 0 and result["cpu_user_ns"] is not None
    file = live.box.file("", "result")
    done = live.exec(name, "echo", "passed on", options=[f"--json={file}"]).ok()
    assert done.out == "passed on\n" and json.loads(file.read_text())["exit_code"] == 0
    failed = live.exec(name, "no-such-program", options=["--json"])
    assert failed.status == 127 and json.loads(failed.out)["error"]["id"] == "not_found"


def test_exec_does_not_wait_for_what_it_left_behind(live):
    name = live.start()
    begin = time.monotonic()
    assert live.execsh(name, "sleep 1000 & echo started") == "started\n"
    assert time.monotonic() - begin < 10
    poll(lambda: "sleep" in live.comms(name), what="the sleep")  # the shell may be before its exec
    text = live.execsh(name, "sleep 1000 & seq 100000")
    assert text.endswith("\n100000\n") and len(text) == 588895


def test_exec_timeout_ends_that_command_alone(live):
    name = live.sh(COUNTER)
    begin = time.monotonic()
    done = live.exec(name, "/bin/sh", "-c", "sleep 1000 & sleep 1000", options=["--timeout", "500ms"])
    assert done.status == 124 and "time limit" in done.err, done
    assert 0.4 < time.monotonic() - begin < 20
    counts_on(live, name)
    # a judge's view: nothing of it is left
    poll(lambda: "sleep" not in live.comms(name), what="the end of its children")


def test_exec_output_limit(live):
    name = live.start()
    done = live.exec(name, "yes", options=["--output-limit", "100k"])
    assert done.status == 124 and "100 KiB" in done.err, done
    assert len(done.out) <= 100 * 1024
    live.usable(name)


def test_exec_cpu_time(live):
    name = live.start()
    done = live.exec(name, "/bin/sh", "-c", "while :; do :; done", options=["--cpu-time", "300ms"])
    assert done.status == 124 and "processor time" in done.err, done
    live.usable(name)


HOG = "x = bytearray(400 << 20); print(len(x))"


@pytest.mark.root_only
def test_memory_of_all_execs_together(live):
    name = live.start("--memory", "64m")
    assert live.exec(name, PYTHON, "-c", HOG).status == 137
    live.usable(name)
    assert live.call("stats", name).ok().out.count('"oom_kills":0') == 0


def test_a_judge_compiles_once_and_runs_many(live):
    name = live.start()
    live.execsh(name, "printf '#!/bin/sh\\nread x; echo $((x * x))\\n' > run; chmod +x run")
    for i in range(20):
        file = live.box.file(f"{i}\n")
        done = live.exec(name, "./run", options=["--stdin", file, "--timeout", "10", "--output-limit", "1k", "--json"])
        result = json.loads(done.out)
        assert (result["status"], result["stdout"]) == ("exited", f"{i * i}\n"), done


def test_execs_at_the_same_time(live):
    name = live.start()
    processes = [live.box.start(name, "/bin/sh", "-c", f"sleep 0.3; echo {i}; exit {i}", verb="exec")
                 for i in range(12)]
    done = [p.wait() for p in processes]
    assert [(d.status, d.out) for d in done] == [(i, f"{i}\n") for i in range(12)]


def spawn(live, *words):
    argv = live.box.argv(*words)
    return pexpect.spawn(argv[0], argv[1:], env=live.box.environment(), cwd=str(live.box.dir), timeout=30,
                         dimensions=(31, 97), encoding="utf-8")


def test_exec_with_a_terminal(live):
    name = live.start()
    child = spawn(live, "exec", "-it", name, "/bin/sh", "-c", "tty; stty size; read x; echo got $x; exit 6")
    child.expect(r"/dev/pts/\d+\r\n31 97\r\n")
    child.sendline("typed")
    child.expect("got typed")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 6
    child = spawn(live, "exec", "-it", name, "sleep", "1000")
    poll(lambda: "sleep" in live.comms(name), what="sleep")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130 or child.signalstatus == 2


def test_output_limit_of_an_exec_with_a_terminal(live):
    name = live.start()
    done = live.box.call("exec", "-t", "--output-limit", "1k", "--timeout", "5", name, "yes")
    assert done.status == 124 and len(done.out) == 1024, done
    assert "wrote more than 1 KiB" in done.err


def test_exec_forwards_signals(live):
    name = live.start()
    process = live.box.start(name, "/bin/sh", "-c", "trap 'echo caught; exit 9' TERM; echo on; while :; do sleep 0.1; "
                             "done", verb="exec")
    assert process.popen.stdout.readline() == b"on\n"
    process.popen.terminate()
    done = process.wait()
    assert (done.status, done.out) == (9, "caught\n")
    live.usable(name)


# ---- attach, logs, wait ----

def test_attach_and_input(live):
    name = live.sh("while read x; do [ $x = two ] && break; echo got $x; done; echo end; exit 5", "-i")
    process = live.box.start("-i", name, verb="attach")
    process.popen.stdin.write(b"one\n")
    process.popen.stdin.flush()
    assert process.popen.stdout.readline() == b"got one\n"
    process.popen.stdin.write(b"two\n")
    process.popen.stdin.close()
    process.popen.stdin = None
    done = process.wait()
    assert done.out == "end\n" and done.status == 5
    assert live.call("logs", name).ok().out == "got one\nend\n"


@pytest.mark.parametrize("verb", ["attach", "exec"])
def test_who_writes_to_stderr_alone_is_still_heard_and_spoken_to(live, verb):
    """A prompt on stderr, with nothing on stdout to read before it."""
    script = "read x; echo prompt >&2; read x; echo got $x"
    words = [] if verb == "attach" else ["/bin/sh", "-c", script]
    name = live.sh(script, "-i") if verb == "attach" else live.start()
    process = live.box.start("-i", name, *words, verb=verb)
    process.popen.stdin.write(b"go\n")
    process.popen.stdin.flush()
    for stream, said, answer in ((process.popen.stderr, b"prompt\n", b"one\n"), (process.popen.stdout, b"got one\n", b"")):
        assert select.select([stream], [], [], 10 * SLOW)[0], said
        assert stream.readline() == said
        process.popen.stdin.write(answer)
        process.popen.stdin.flush()
    assert process.wait().status == 0


def test_the_end_of_an_attached_stdin_is_not_the_commands(live):
    name = live.sh("while read x; do echo got $x; done; echo end", "-i")
    for i in range(3):
        process = live.box.start("-i", name, verb="attach")
        process.popen.stdin.write(b"%d\n" % i)
        process.popen.stdin.close()
        process.popen.stdin = None
        assert process.popen.stdout.readline() == b"got %d\n" % i
        process.popen.kill()
    assert live.state(name) == "running"


def test_detach_keys(live):
    name = live.sh("while read x; do echo got $x; done", "-it")
    child = spawn(live, "attach", "-i", name)
    child.sendline("one")
    child.expect("got one")
    child.send("\x10\x11")
    child.expect("detached")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert live.state(name) == "running"
    child = spawn(live, "attach", "-i", name)
    child.sendline("two")
    child.expect("got two")
    child.close(force=True)
    assert live.state(name) == "running"


def test_attach_to_an_ended_or_idle_one(live):
    name = live.sh("exit 0")
    live.call("wait", name).ok()
    assert live.call("attach", name).status in (0, 125)
    assert live.call("attach", live.start()).refused()


def test_logs_follow_and_since(live):
    name = live.sh("echo one; sleep 1.2; echo two; sleep 0.3; echo three >&2")
    done = live.call("logs", "-f", name).ok()
    assert (done.out, done.err) == ("one\ntwo\n", "three\n")
    wait_state(live, name, "exited")
    late = live.call("logs", "--since", "@9999999999", name).ok()
    assert (late.out, late.err) == ("", "")
    assert live.call("logs", "--since", "1h", name).ok().out == "one\ntwo\n"
    live.call("logs", "--since", "yesterday", name).refused()


def test_logs_keep_bytes(live):
    name = live.start(command=[PYTHON, "-c", "import os; os.write(1, bytes(range(256)) * 100)"])
    live.call("wait", name).ok()
    assert live.call("logs", name).ok().out_bytes == bytes(range(256)) * 100


def test_logs_are_bounded(live):
    name = live.sh("head -c 20000000 /dev/zero; echo end")
    live.call("wait", name).ok()
    out = live.call("logs", name).ok().out
    assert out.endswith("\0end\n") and 8 << 20 < len(out) < 17 << 20
    assert {"log", "log.1"} == {f.name for f in live.directory(name).iterdir() if f.name.startswith("log")}


def test_logs_whose_reader_has_gone(live):
    """cleave logs ... | head"""
    name = live.sh("head -c 300000 /dev/zero")
    live.call("wait", name).ok()
    read, write = os.pipe()
    os.close(read)
    try:
        live.call("logs", name, stdout=write).ok()
    finally:
        os.close(write)


def test_wait(live):
    name = live.sh("sleep 1.5; exit 8")
    begin = time.monotonic()
    assert live.call("wait", "--timeout", "200ms", name).status == 124
    assert time.monotonic() - begin < 1.4
    done = live.call("wait", "--json", name)
    assert done.status == 8
    result = json.loads(done.out)
    assert result["status"] == "exited" and result["exit_code"] == 8 and result["wall_ns"] > 1e9
    assert live.call("wait", name).status == 8


def test_limits_of_the_main_command(live):
    name = live.sh("sleep 1000", "--timeout", "500ms")
    done = live.call("wait", name)
    assert done.status == 124 and "time limit" in done.err
    assert live.state(name) == "exited"


# ---- stop, kill, pause, resume ----

def test_stop_lets_it_say_goodbye(live):
    name = live.sh("trap 'echo bye; exit 3' TERM; " + READY + "while :; do sleep 0.1; done")
    wait_ready(live, name)
    live.call("stop", name).ok()
    assert live.state(name) == "exited"
    assert live.call("wait", name).status == 3
    assert live.call("logs", name).ok().out == "bye\n"
    live.call("stop", name)  # again: at worst a sentence
    assert live.state(name) == "exited"


def test_stop_kills_what_is_stubborn(live):
    name = live.sh("trap '' TERM; " + READY + "while :; do sleep 0.1; done")
    wait_ready(live, name)
    init = live.init(name)
    begin = time.monotonic()
    live.call("stop", "--timeout", "700ms", name).ok()
    assert 0.6 < time.monotonic() - begin < 9
    assert not alive(init)
    assert live.call("wait", name).status == 137


def test_stop_an_idle_one(live):
    name, other = live.start(), live.start()
    begin = time.monotonic()
    live.call("stop", name, other).ok()
    assert time.monotonic() - begin < 8
    assert live.state(name) == live.state(other) == "exited"


def test_kill(live):
    name = live.sh("trap 'echo usr1' USR1; " + READY + "while :; do sleep 0.1; done")
    wait_ready(live, name)
    live.call("kill", "-s", "USR1", name).ok()
    poll(lambda: live.call("logs", name).ok().out == "usr1\n", what="the signal")
    assert live.state(name) == "running"
    live.call("kill", "-s", "nonsense", name).refused()
    live.call("kill", name).ok()
    wait_state(live, name, "exited")
    assert live.call("wait", name).status == 137
    idle = live.start()
    live.call("kill", idle).ok()
    wait_state(live, idle, "exited")


def test_pause_and_resume(live):
    directory = live.box.directory("count", 0o777)
    live.box.own(live.box.file("0", "n", 0o666, directory))
    name = live.sh("i=0; while :; do i=$((i+1)); echo $i > /c/n; sleep 0.01; done", "--rw", f"{directory}:/c")
    poll(lambda: (directory / "n").read_text().strip() not in ("", "0"), what="the counter")
    live.call("pause", name).ok()
    assert live.state(name) == "paused"
    time.sleep(0.2)  # what was under way has landed
    before = (directory / "n").read_text()
    time.sleep(0.5)
    assert (directory / "n").read_text() == before
    assert "paused" in live.exec(name, "true").refused()
    assert "paused" in live.call("pause", name).refused()
    live.call("resume", name).ok()
    assert live.state(name) == "running"
    poll(lambda: (directory / "n").read_text() not in ("", before), what="the counter")
    live.call("resume", name).refused()


def test_pause_of_what_starts_programs(live):
    """A parent that goes into vfork() in the moment of the freeze waits for a child that is frozen already."""
    name = live.sh("for i in 1 2 3; do while :; do sleep 0.01; done & done; wait")
    for _ in range(30):
        live.call("pause", name).ok()
        live.call("resume", name).ok()


def test_a_paused_one_can_be_stopped_and_removed(live):
    for verb in (["stop", "--timeout", "5"], ["kill"], ["rm", "-f"]):
        name = live.sh("trap 'exit 3' TERM; while :; do sleep 0.1; done")
        init = live.init(name)
        live.call("pause", name).ok()
        live.call(*verb, name).ok()
        poll(lambda: not alive(init), what="the end")


# ---- ps, inspect, stats, events ----

def test_ps(live):
    first = live.start("--label", "team=a", "--label", "x=1")
    second = live.sh("exec sleep 1000", "--label", "team=b")
    third = live.sh("exit 0")
    live.call("wait", third).ok()
    wait_state(live, third, "exited")
    assert live.names() == [first, second]
    assert live.names("-a") == [first, second, third]
    assert live.names("--filter", "label=team=a") == [first]
    assert live.names("--filter", "label=team") == [first, second]
    assert live.names("--filter", "state=exited") == [third]
    assert live.names("--filter", f"name={second}", "--filter", "label=team=b") == [second]
    assert live.names("--filter", "name=t*") == [first, second]
    live.call("ps", "--filter", "colour=red").refused()
    table = live.call("ps").ok().out.splitlines()
    assert table[0].split() == ["NAME", "ID", "STATE", "PID", "AGE", "COMMAND"]
    rows = {line.split()[0]: line.split() for line in table[1:]}
    assert set(rows) == {first, second}
    assert rows[second][1:4] == [live.inspect(second)["id"], "running", str(live.init(second))]
    assert rows[second][5:] == ["sleep", "1000"] or "sleep 1000" in " ".join(rows[second][5:])
    assert re.fullmatch(r"\d+[smhd]", rows[second][4])


def test_inspect(live):
    name = live.start("--pids", "50", "--degrade", "--label", "a=b", command=["sleep", "1000"])
    row = live.inspect(name)
    assert set(row) >= {"id", "name", "state", "keeper_pid", "init_pid", "created", "labels", "spec", "limits",
                        "layers", "lineage"}
    assert row["name"] == name and re.fullmatch(r"[0-9a-f]{12}", row["id"]) and row["state"] in STATES
    assert row["labels"] == {"a": "b"}
    assert row["spec"]["argv"] == ["sleep", "1000"]
    assert alive(row["keeper_pid"]) and alive(row["init_pid"])
    assert row["layers"]["seccomp"]["state"] == "on"
    assert row["limits"]["pids"]["asked"] == 50
    assert abs(row["created"] / 1e9 - time.time()) < 600


def test_inspect_shows_no_secret(live):
    name = live.start("-e", "TOKEN=hunter2", command=["sleep", "1000"])
    assert live.execsh(name, "echo $TOKEN; tr '\\0' '\\n' < /proc/2/environ | grep TOKEN || true")
    for text in (live.call("inspect", name).out, live.call("ps", "--json").out,
                 (live.directory(name) / "journal").read_text()):
        assert "hunter2" not in text


def test_stats(live):
    name = live.sh(COUNTER)
    one = json.loads(live.call("stats", name).ok().out)
    cpu = [k for k in one if "cpu" in k]
    assert cpu and any("memory" in k for k in one) and "pids" in str(one)
    process = live.box.start("--stream", name, verb="stats")
    lines = [json.loads(process.popen.stdout.readline()) for _ in range(2)]
    assert set(lines[0]) == set(one)
    live.call("kill", name).ok()
    assert process.popen.wait(20) == 0


def test_events(live):
    name = live.sh("read x; exit 3", "-i")
    fds = Path(f"/proc/{live.keeper(name)}/fd")
    before = len(list(fds.iterdir()))
    process = live.box.start(name, verb="events")
    every = live.box.start(verb="events")
    poll(lambda: len(list(fds.iterdir())) == before + 2 and sleeps(process.popen.pid) and sleeps(every.popen.pid),
         what="two that listen")
    live.call("pause", name).ok()
    live.call("resume", name).ok()
    live.exec(name, "true").ok()
    live.call("kill", "-s", "TERM", name).ok()
    done = process.wait()
    seen = [json.loads(line) for line in done.out.splitlines()]
    assert done.status == 0 and all(e["name"] == name for e in seen)
    kinds = " ".join(e["event"] for e in seen)
    assert kinds.split()[0] == "paused" and kinds.split()[-1] == "exited" and "running" in kinds, seen
    assert sorted(e["time_ns"] for e in seen) == [e["time_ns"] for e in seen]
    every.popen.terminate()
    assert f'"{name}"' in every.wait().out


def test_events_of_what_comes_later(live):
    process = live.box.start(verb="events")
    poll(lambda: sleeps(process.popen.pid) and any("inotify" in f for f in descriptors(process.popen.pid).values()),
         what="one that listens")
    for _ in range(2):
        name = live.start()
        poll(lambda: any(f.startswith("socket:") for f in descriptors(process.popen.pid).values()), what="a connection")
        live.usable(name)
        live.call("rm", "-f", name).ok()
        for line in process.popen.stdout:
            event = json.loads(line)
            assert event["name"] == name
            if event["event"] == "exited":
                break
        poll(lambda: not any(f.startswith("socket:") for f in descriptors(process.popen.pid).values()), what="its end")
    process.popen.terminate()
    process.wait()


def test_events_of_those_among_many_that_have_ended(live):
    """A file system lists what is new first, last or anywhere."""
    own = live.directory(live.start())
    ended = [own.with_name(f"{number:0{len(own.name)}x}") for number in range(2000)]
    for path in ended:
        path.mkdir(mode=0o700)
    try:
        live.start()
        process = live.box.start(verb="events")
        poll(lambda: sum(f.startswith("socket:") for f in descriptors(process.popen.pid).values()) == 2, what="both")
        process.popen.terminate()
        process.wait()
    finally:
        for path in ended:
            path.rmdir()


def test_events_of_many(live):
    """All of them, however many, or a word about why not."""
    for _ in range(20):
        live.start()
    process = live.box.start(verb="events")
    poll(lambda: sum(f.startswith("socket:") for f in descriptors(process.popen.pid).values()) == 20, what="all")
    process.popen.terminate()
    process.wait()
    few = live.call("events", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30)))
    assert re.search("listen to 1[0-9] sandboxes: (Too many open files|No file descriptors available)", few.refused())  # glibc, musl


def test_events_into_a_full_disk(live):
    name = live.sh("read x", "-i")
    with open("/dev/full", "w") as full:
        process = live.box.start(name, verb="events", stdout=full)
        poll(lambda: sleeps(process.popen.pid) and any(f.startswith("socket:") for f in descriptors(process.popen.pid).values()))
        live.call("pause", name).ok()
        done = process.wait()
    assert done.status == 125 and "No space left" in done.err, done


@pytest.mark.parametrize("words", [
    ["exec", "nobody", "true"], ["attach", "nobody"], ["logs", "nobody"], ["wait", "nobody"], ["stop", "nobody"],
    ["kill", "nobody"], ["rm", "nobody"], ["rm", "-f", "nobody"], ["pause", "nobody"], ["resume", "nobody"],
    ["inspect", "nobody"], ["stats", "nobody"], ["events", "nobody"], ["diff", "nobody"], ["fork", "nobody"],
    ["cp", "nobody:/tmp/x", "."], ["snapshot", "nobody", "s"], ["rollback", "nobody", "s"]])
def test_a_sandbox_that_does_not_exist(live, words):
    assert "nobody" in live.call(*words).refused()


def test_closed_and_full_output(live):
    name = live.start()
    with open("/dev/full", "w") as full:
        assert live.call("ps", stdout=full).status == 125
        assert live.call("inspect", name, stdout=full).status == 125
    live.usable(name)


def test_a_reader_that_went_away(live):
    """cleave exec ... | head"""
    name = live.start()
    read, write = os.pipe()
    process = live.box.start(name, "yes", verb="exec", stdout=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    process.popen.wait(20)
    poll(lambda: "yes" not in live.comms(name), what="the end of yes")
