# SPDX-License-Identifier: Apache-2.0
"""Limits of sandboxes that live: of the whole, and of one exec."""
import json
import os
from pathlib import Path

import pytest
from conftest import PAYLOAD, PYTHON, SLOW
from live import live, poll, sleeps  # noqa: F401

PROBE = ("--ro", f"{PAYLOAD}/probe:/opt/probe")


def ended(live, name):
    """The record of a sandbox that came to its end."""
    live.call("wait", name)
    return json.loads((live.directory(name) / "result.json").read_text())


def cpu_of(result):
    return result["cpu_user_ns"] + result["cpu_system_ns"]


# ---- the whole sandbox ----

def test_cpu_time_of_the_main_tree(live):
    name = live.start(*PROBE, "--cpu-time", "0.5", command=["/opt/probe", "scatter", "8", "500", "stay"])
    result = ended(live, name)
    assert result["status"] == "cpu_limit" and result["cleave_status"] == 124, result
    assert result["limits"]["cpu-time"]["hit"] is True
    assert 0.45e9 < cpu_of(result) < 0.5e9 + 0.5e9 * SLOW


def test_cpu_time_of_the_sandbox_counts_what_execs_burn(live):
    name = live.start(*PROBE, "--cpu-time", "0.5", command=["sleep", "1000"])
    live.exec(name, "/opt/probe", "scatter", "8", "500", "leave")
    assert ended(live, name)["status"] == "cpu_limit"


def test_cpu_time_not_reached(live):
    name = live.start(*PROBE, "--cpu-time", "60", command=["sleep", "1000"])
    live.exec(name, "/opt/probe", "scatter", "4", "50", "leave").ok()
    assert live.state(name) == "running"


def test_output_limit(live):
    """The log keeps exactly what was allowed; what is beyond ends the sandbox."""
    name = live.start(*PROBE, "--output-limit", "1M", command=["/opt/probe", "spew", "600000", "10000000"])
    result = ended(live, name)
    assert result["status"] == "output_limit" and result["cleave_status"] == 124, result
    assert result["limits"]["output-limit"]["hit"] is True
    done = live.call("logs", name).ok()
    assert len(done.out_bytes) + len(done.err_bytes) == 1 << 20
    assert live.call("wait", name).status == 124


def test_output_limit_of_a_daemon(live):
    """It is not only the main command that writes to its streams."""
    name = live.start("--output-limit", "64k", command=["/bin/sh", "-c", "setsid yes & sleep 1000"])
    assert ended(live, name)["status"] == "output_limit"


def test_output_limit_exactly_reached(live):
    name = live.start(*PROBE, "--output-limit", "1M", command=["/opt/probe", "spew", "0", str(1 << 20)])
    result = ended(live, name)
    assert result["status"] == "exited" and result["exit_code"] == 0, result
    assert len(live.call("logs", name).ok().out_bytes) == 1 << 20


def test_what_ends_it_counts(live):
    """The main command dies for memory: memory_limit. It survives a kill of another and is killed by us: killed."""
    if not live.box.delegated:
        pytest.skip("no cgroup: an error that names the command to paste")
    hog = live.start("--memory", "64M", command=[PYTHON, "-c", HOG])
    result = ended(live, hog)
    assert (result["status"], result["signal"]) == ("memory_limit", 9), result
    for option, status in (None, "signaled"), ("--timeout", "timeout"):
        name = live.start("--memory", "64M", *([option, "5"] if option else []), command=["sleep", "1000"])
        assert live.exec(name, PYTHON, "-c", HOG).status == 137
        poll(lambda: live.inspect(name)["oom_kills"] >= 1, what="the count of kills")
        if not option:
            live.call("kill", name).ok()
        result = ended(live, name)
        assert (result["status"], result["signal"]) == (status, 9) and result["oom_kills"] >= 1, result


HOG = "x = []\nwhile True: x.append(bytearray(1 << 20))"


@pytest.mark.parametrize("group", [False, True], ids=["alone", "oom-group"])
def test_memory_runs_out(live, differs, group):
    """The kernel kills one process of it; --oom-group takes that for the end of all. Whoever listens is told."""
    words = ["--memory", "64M", *(["--oom-group"] if group else [])]
    if not live.box.delegated:
        line = live.call("start", *words, "c").refused()
        assert differs and "--memory can't be enforced" in line and "--degrade" in line, line
        return
    name = live.start(*words, command=["sleep", "1000"])
    fds = Path(f"/proc/{live.keeper(name)}/fd")
    before = len(list(fds.iterdir()))
    listener = live.box.start(name, verb="events")
    poll(lambda: len(list(fds.iterdir())) == before + 1 and sleeps(listener.popen.pid), what="who listens")
    hog = live.exec(name, PYTHON, "-c", HOG)
    assert hog.status == 137 or group and "ended" in hog.refused(), hog
    if group:
        result = ended(live, name)
        assert result["status"] == "memory_limit" and result["cleave_status"] == 137 and result["oom_kills"] >= 1, result
        assert live.call("wait", name).status == 137
    else:
        poll(lambda: live.inspect(name)["oom_kills"] >= 1, what="the count of kills")
        assert live.state(name) == "running" and "sleep" in live.comms(name)
        live.call("kill", "-s", "TERM", name).ok()
        result = ended(live, name)
        assert result["oom_kills"] >= 1 and result["limits"]["memory"]["hit"] is True, result
        assert (result["status"], result["signal"]) == ("signaled", 15), result
    seen = [json.loads(line) for line in listener.wait().ok().out.splitlines()]
    kinds = [event["event"] for event in seen]
    assert kinds[0] == "oom" and seen[0]["detail"]["oom_kills"] >= 1 and kinds[-1] == "exited", seen


# ---- one exec ----


def own(live, name, *words, **more):
    """The result of an exec: what it printed does not matter."""
    path = live.box.directory("json") / "result"
    done = live.call("exec", f"--json={path}", *words[:-1], name, *words[-1], **more)
    done.result = json.loads(path.read_text()) if path.exists() and path.read_text() else None
    return done


def limited(live, differs, name, *words):
    """The same for a limit that needs a cgroup; None after the error was looked at."""
    done = own(live, name, *words)
    if live.box.delegated:
        return done
    option = words[0].strip("-")
    line = done.refused(125)
    assert differs and f"--{option} can't be enforced" in line and "--degrade" in line, done
    assert "sudo" in line or "systemd-run" in line, f"no command to paste: {line}"
    return None


def groups(live, name):
    """Directories of execs in the cgroups of the sandbox."""
    sandbox = live.inspect(name)["id"]
    found = (Path(path) for path, _, _ in os.walk("/sys/fs/cgroup"))  # others come and go meanwhile
    return sorted(path for path in found if path.parent.name == sandbox and path.name.startswith("exec-"))


def scattered(live, name, n):
    """The main command says so when its daemons are there."""
    poll(lambda: "scattered" in live.call("logs", name).ok().out, what="the main command's daemons")
    poll(lambda: live.comms(name).count("probe") == n, what="the main command's daemons alone")


def test_exec_memory(live, differs):
    """The exec ends for memory; the sandbox and what else runs in it do not notice."""
    name = live.start("--oom-group", *PROBE, command=["/opt/probe", "scatter", "1", "0", "stay"])
    scattered(live, name, 2)
    done = limited(live, differs, name, "--memory", "64M", [PYTHON, "-c", HOG])
    if done:
        assert done.status == 137 and done.result["status"] == "memory_limit", done
        assert done.result["oom_kills"] >= 1
        limit = done.result["limits"]["memory"]
        assert (limit["asked"], limit["enforced"], limit["hit"]) == (64 << 20, True, True)
        assert limit["by"].startswith("cgroup v")
        assert 32 << 20 < done.result["memory_peak_bytes"] <= 66 << 20
        assert done.result["layers"]["cgroup_memory"]["state"] == "on"
        assert "memory limit of 64 MiB" in done.err
        assert groups(live, name) == []
    assert live.comms(name).count("probe") == 2
    live.call("kill", "-s", "USR1", name).ok()
    assert ended(live, name)["status"] == "signaled"


def test_exec_memory_kills_all_that_it_started(live, differs):
    name = live.start(*PROBE)
    done = limited(live, differs, name, "--memory", "64M",
                   ["/bin/sh", "-c", f"/opt/probe scatter 3 0 leave; {PYTHON} -c '{HOG}'; echo went on; sleep 100"])
    if done:
        assert done.status == 137 and done.result["status"] == "memory_limit" and "went on" not in done.out, done
        assert "probe" not in live.comms(name)


def test_exec_memory_not_reached(live, differs):
    name = live.start("--memory", "300M") if live.box.delegated else live.start()
    done = limited(live, differs, name, "--memory", "100M", ["/bin/echo", "hello"])
    if done:
        assert done.ok().out == "hello\n" and done.result["oom_kills"] == 0
        assert 0 < done.result["memory_peak_bytes"] < 100 << 20


def test_execs_have_limits_side_by_side(live, differs):
    """Each its own group, its own peak; the rest of the sandbox and unlimited execs go on."""
    name = live.start()
    eat = "import sys; x = bytearray(int(sys.argv[1]) << 20); print(len(x) >> 20, flush=True); sys.stdin.read()"
    running = [live.box.start("-i", "--memory", "200M", "--pids", "20", name, PYTHON, "-c", eat, str(mib), verb="exec")
               for mib in (20, 90)]
    if not live.box.delegated:
        assert differs and all(p.wait().status == 125 for p in running)
        return
    assert [p.popen.stdout.readline() for p in running] == [b"20\n", b"90\n"]
    assert live.execsh(name, "echo free") == "free\n"
    assert len({g.name for g in groups(live, name)}) == 2
    assert all(p.wait().status == 0 for p in running)
    assert groups(live, name) == []
    assert live.usable(name)


def test_exec_pids(live, differs):
    name = live.start()
    code = """if True:
        import os, time
        n = 1
        try:
            while n < 100:
                if os.fork() == 0: time.sleep(100)
                n += 1
        except BlockingIOError: pass
        print(n, flush=True)"""
    done = limited(live, differs, name, "--pids", "20", [PYTHON, "-c", code])
    if done:
        assert done.ok().out == "20\n"
        assert done.result["limits"]["pids"]["hit"] is True
        assert PYTHON.rsplit("/", 1)[1] not in live.comms(name), "what it left ended with it"


def test_exec_cpus(live, differs):
    name = live.start(*PROBE)
    done = limited(live, differs, name, "--cpus", "0.2", "--timeout", "1500ms", ["/opt/probe", "spin", "2", "60"])
    if done:
        assert done.status == 124 and done.result["limits"]["cpus"]["enforced"] is True, done
        assert cpu_of(done.result) < 0.7e9


def test_exec_degrade(live, differs):
    name = live.start()
    done = own(live, name, "--memory", "64M", "--degrade", ["/bin/echo", "on"])
    assert done.ok().out == "on\n"
    assert done.result["limits"]["memory"]["enforced"] is live.box.delegated
    assert differs == (not live.box.delegated)


def test_exec_timeout_reaches_everything_that_it_started(live):
    """Daemons in sessions of their own, too; and nothing else."""
    name = live.start(*PROBE, command=["/opt/probe", "scatter", "3", "0", "stay"])
    scattered(live, name, 4)
    done = own(live, name, "--timeout", "700ms", ["/opt/probe", "scatter", "8", "0", "stay"])
    assert done.status == 124 and done.result["status"] == "timeout", done
    assert done.result["limits"]["timeout"]["hit"] is True
    assert live.comms(name).count("probe") == 4
    assert groups(live, name) == []


def test_exec_timeout_of_what_stops_itself(live):
    name = live.start(*PROBE)
    done = own(live, name, "--timeout", "700ms", ["/opt/probe", "stop"])
    assert done.status == 124, done
    assert "probe" not in live.comms(name)


def test_what_an_exec_with_a_limit_left_ends_with_it(live):
    """A limit that nobody watches any more would be none; without one, daemons stay."""
    name = live.start(*PROBE)
    live.exec(name, "/opt/probe", "scatter", "2", "0", "leave").ok()
    own(live, name, "--timeout", "30", ["/opt/probe", "scatter", "4", "0", "leave"]).ok()
    assert live.comms(name).count("probe") == 2


def test_exec_timeout_of_many(live):
    """More than one look over /proc brings."""
    name = live.start(*PROBE)
    done = own(live, name, "--timeout", "1500ms", ["/opt/probe", "scatter", "400", "0", "stay"])
    assert done.status == 124, done
    assert "probe" not in live.comms(name)


def test_exec_cpu_time_of_a_scattered_tree(live):
    name = live.start(*PROBE, command=["/opt/probe", "scatter", "1", "1500", "stay"])
    done = own(live, name, "--cpu-time", "0.5", "--timeout", "60", ["/opt/probe", "scatter", "8", "500", "stay"])
    assert done.status == 124 and done.result["status"] == "cpu_limit", done
    row = done.result["limits"]["cpu-time"]
    assert row["hit"] and row["by"].startswith("cgroup v" if live.box.delegated else "sum of processes")
    assert 0.45e9 < cpu_of(done.result) < 0.5e9 + 0.5e9 * SLOW
    assert live.state(name) == "running"


def test_exec_cpu_time_not_reached(live):
    """The main command's time is not the exec's; what daemons burnt is."""
    name = live.start(*PROBE, command=["/bin/sh", "-c", "while :; do :; done"])
    script = "/opt/probe scatter 4 100 leave; while pgrep -x probe >/dev/null; do sleep 0.05; done"
    done = own(live, name, "--cpu-time", "5", ["/bin/sh", "-c", script]).ok()
    assert 0.4e9 <= cpu_of(done.result) < 2e9 * SLOW


def test_nobody_inside_can_change_the_tag(live):
    name = live.start()
    code = """if True:
        import errno, resource
        for pair in ((7, 7), (-1, -1)):
            try: resource.setrlimit(10, pair); print("set")
            except (OSError, ValueError) as e: print(type(e).__name__)"""
    done = own(live, name, "--timeout", "20", [PYTHON, "-c", code]).ok()
    assert "set" not in done.out


def test_plain_execs_have_no_group(live):
    name = live.start()
    process = live.box.start("-i", name, "/bin/sh", "-c", "echo on; cat", verb="exec")
    assert process.popen.stdout.readline() == b"on\n"
    assert groups(live, name) == []
    assert process.wait().status == 0


def test_the_sandbox_ends_while_a_bounded_exec_runs(live):
    name = live.start("--rm", *PROBE)
    process = live.box.start("--timeout", "100", name, "/opt/probe", "scatter", "3", "0", "stay", verb="exec")
    assert process.popen.stdout.readline() == b"scattered\n"
    live.call("rm", "-f", name).ok()
    assert process.wait().status in (125, 137)
