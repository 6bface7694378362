# SPDX-License-Identifier: Apache-2.0
"""The result record: every field, of the right type, for every kind of end; and the exit statuses."""
import base64
import json
import os
import signal

import pytest
from conftest import PYTHON, TOP

NUMBER, TEXT, FLAG, NULL = int, str, bool, type(None)
FIELDS = {
    "schema": (NUMBER,), "status": (TEXT,), "exit_code": (NUMBER, NULL), "signal": (NUMBER, NULL),
    "signal_name": (TEXT, NULL), "cleave_status": (NUMBER,), "wall_ns": (NUMBER, NULL),
    "cpu_user_ns": (NUMBER, NULL), "cpu_system_ns": (NUMBER, NULL), "memory_peak_bytes": (NUMBER, NULL),
    "pids_peak": (NUMBER, NULL), "oom_kills": (NUMBER, NULL), "stdout": (TEXT, NULL),
    "stdout_encoding": (TEXT, NULL), "stdout_truncated": (FLAG,), "stderr": (TEXT, NULL),
    "stderr_encoding": (TEXT, NULL), "stderr_truncated": (FLAG,), "layers": (dict,), "limits": (dict,),
    "timing": (list,), "error": (dict, NULL), "out": (list,), "ended_ns": (NUMBER, NULL),
    "csw_voluntary": (NUMBER, NULL), "csw_forced": (NUMBER, NULL),
}
STATUSES = {"exited", "signaled", "timeout", "cpu_limit", "memory_limit", "output_limit", "disk_limit", "setup_error"}
LIMITS = {"timeout", "memory", "pids", "cpus", "disk", "inodes", "cpu-time", "output-limit", "nofile", "fsize", "stack",
          "stdout-limit", "stderr-limit", "swap", "cpuset", "io"}


def layer_names():
    import re
    return set(re.findall(r'^L\(\w+, +"(\w+)"', (TOP / "src/spec/layers.def").read_text(), re.M))


def typed(value, types):
    return any(type(value) is t for t in types)


def check(r):
    assert set(r) == set(FIELDS)
    for name, types in FIELDS.items():
        assert typed(r[name], types), f"{name}: {r[name]!r}"
    assert r["schema"] == 1
    assert r["status"] in STATUSES
    for name in ("wall_ns", "cpu_user_ns", "cpu_system_ns", "memory_peak_bytes", "pids_peak", "oom_kills"):
        assert r[name] is None or r[name] >= 0, name
    assert set(r["layers"]) == layer_names()
    for name, layer in r["layers"].items():
        assert set(layer) == {"state", "how", "remedy"}, name
        assert layer["state"] in ("on", "off", "degraded"), name
        assert typed(layer["how"], (TEXT, NULL)) and typed(layer["remedy"], (TEXT, NULL)), name
        assert layer["state"] == "on" or layer["how"], f"{name} is {layer['state']} and does not say why"
    assert set(r["limits"]) == LIMITS
    for name, limit in r["limits"].items():
        assert set(limit) == {"asked", "enforced", "by", "hit"}, name
        assert typed(limit["asked"], (NUMBER, NULL)) and typed(limit["by"], (TEXT, NULL)), name
        assert typed(limit["enforced"], (FLAG,)) and typed(limit["hit"], (FLAG,)), name
        assert not limit["enforced"] or (limit["asked"] is not None and limit["by"]), name
        assert not limit["hit"] or limit["enforced"], name
    for row in r["timing"]:
        assert set(row) == {"step", "side", "ns"}
        assert row["side"] in ("keeper", "init", "command") and typed(row["ns"], (NUMBER,)) and row["ns"] >= 0
    assert (r["status"] == "setup_error") == (r["error"] is not None)
    if r["error"]:
        assert set(r["error"]) == {"id", "step", "errno", "text", "hint"}
        assert r["error"]["id"] and r["error"]["text"]
        assert all(typed(r["error"][k], (TEXT, NULL)) for k in r["error"])
        assert r["exit_code"] is None and r["signal"] is None
    assert (r["signal"] is None) == (r["signal_name"] is None)
    return r


ENDS = {
    "success": (["/bin/true"], 0, "exited"),
    "failure": (["/bin/sh", "-c", "exit 42"], 42, "exited"),
    "255": (["/bin/sh", "-c", "exit 255"], 255, "exited"),
    "124-by-itself": (["/bin/sh", "-c", "exit 124"], 124, "exited"),
    "125-by-itself": (["/bin/sh", "-c", "exit 125"], 125, "exited"),
    "signal": (["/bin/sh", "-c", "kill -TERM $$"], 143, "signaled"),
    "segv": (["/bin/sh", "-c", "kill -SEGV $$"], 139, "signaled"),
    "realtime": (["/bin/sh", "-c", "kill -40 $$"], 168, "signaled"),
    "timeout": (["--timeout", "100ms", "/bin/sleep", "100"], 124, "timeout"),
    "output": (["--output-limit", "10", "/bin/sh", "-c", "yes"], 124, "output_limit"),
    "disk": (["--disk", "1M", "/bin/sh", "-c", "dd if=/dev/zero of=/tmp/x 2>/dev/null || exit 9"], 9, "disk_limit"),
    "not-found": (["no-such-program"], 127, "setup_error"),
    "not-executable": (["/etc/passwd"], 126, "setup_error"),
    "bad-option": (["--memory", "1", "/bin/true"], 125, "setup_error"),
}


@pytest.mark.parametrize("name", ENDS)
def test_end(box, name):
    words, status, state = ENDS[name]
    done = box.result(*words)
    r = check(done.result)
    assert (done.status, r["status"], r["cleave_status"]) == (status, state, status), done
    if state == "exited":
        assert (r["exit_code"], r["signal"]) == (status, None)
        assert done.err == ""
    if state == "signaled":
        assert (r["exit_code"], r["signal"]) == (None, status - 128)
        assert r["signal_name"].startswith("SIG") and done.err == ""
    if state in ("timeout", "output_limit", "disk_limit", "setup_error"):
        assert done.err.startswith("cleave run: ") and done.err.count("\n") == 1, done
    if state != "setup_error":
        assert r["wall_ns"] > 0 and r["cpu_user_ns"] is not None and r["cpu_system_ns"] is not None
        sides = {row["side"] for row in r["timing"]}
        assert sides == {"keeper", "init", "command"}
        steps = [row["step"] for row in r["timing"]]
        assert "CLONE" in steps and "PIVOT" in steps and "SECCOMP" in steps


def test_figures_are_right(box):
    done = box.result("/bin/sh", "-c", "sleep 0.3; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    r = done.ok().result
    assert r["wall_ns"] >= 300e6
    assert 10e6 < r["cpu_user_ns"] + r["cpu_system_ns"] < r["wall_ns"]


def test_figures_from_cgroups(box, differs):
    done = box.result("--memory", "256M", "--pids", "50", "--degrade", PYTHON, "-c",
                      "x = bytearray(64 << 20)\nimport os, time\nfor _ in range(5):\n"
                      "  if os.fork() == 0: time.sleep(0.3); os._exit(0)\ntime.sleep(0.1)").ok()
    r = check(done.result)
    if box.delegated:
        assert 64 << 20 <= r["memory_peak_bytes"] < 256 << 20
        assert r["oom_kills"] == 0
        assert r["pids_peak"] is None or 6 <= r["pids_peak"] <= 7
    else:
        assert differs
        assert r["memory_peak_bytes"] is r["pids_peak"] is r["oom_kills"] is None


def test_layers_are_all_on(box):
    r = box.result("/bin/true").ok().result
    off = {n: l for n, l in r["layers"].items() if l["state"] != "on"}
    assert set(off) <= {"landlock", "freezer", "cgroup_memory", "cgroup_pids", "cgroup_cpu"}, off


def test_same_layer_names_as_doctor(box):
    done = box.call("doctor", "--json")
    assert done.status in (0, 1), done
    assert set(json.loads(done.out)["layers"]) == layer_names()


# ---- where the record goes ----

def test_json_on_stdout_is_the_only_thing_there(box):
    done = box.run("--json", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.status == 3 and done.err == "", done
    r = check(json.loads(done.out))
    assert (r["stdout"], r["stderr"], r["exit_code"]) == ("out\n", "err\n", 3)
    assert done.out.count("\n") == 1


def test_json_to_a_file_leaves_the_streams_alone(box):
    done = box.result("/bin/sh", "-c", "echo out; echo err >&2")
    assert (done.out, done.err) == ("out\n", "err\n")
    assert done.result["stdout"] is None and done.result["stderr"] is None


def test_json_to_a_descriptor(box):
    read_fd, write_fd = os.pipe()
    done = box.run(f"--json=fd:{write_fd}", *box.payload("probe", "fds"), pass_fds=[write_fd])
    os.close(write_fd)
    with open(read_fd, "rb") as stream:
        check(json.loads(stream.read()))
    assert done.out.split() == ["0", "1", "2"], "the caller's descriptor is not the sandbox's"


def test_capture_is_bounded(box):
    done = box.run("--json", "--capture=1000", *box.payload("probe", "spew", "5", "5000000"))
    r = check(json.loads(done.ok().out))
    assert r["stdout"] == "o" * 1000 and r["stdout_truncated"] is True
    assert r["stderr"] == "eeeee" and r["stderr_truncated"] is False


def test_what_is_no_text_is_base64(box):
    done = box.run("--json", PYTHON, "-c", "import os; os.write(1, bytes(range(256))); os.write(2, b'\\xc3\\xa4')")
    r = check(json.loads(done.ok().out))
    assert r["stdout_encoding"] == "base64" and base64.b64decode(r["stdout"]) == bytes(range(256))
    assert r["stderr_encoding"] is None and r["stderr"] == "ä"


def test_text_may_hold_anything(box):
    done = box.run("--json", "/usr/bin/printf", r'a\0b"\\\n\033[1m\177')
    assert json.loads(done.ok().out)["stdout"] == 'a\0b"\\\n\033[1m\x7f'


def test_error_record(box):
    done = box.result("--ro", "/no/such/place", "/bin/true")
    assert done.status == 125
    error = check(done.result)["error"]
    assert (error["id"], error["step"], error["errno"]) == ("source", "OPEN_SOURCES", "ENOENT")
    assert "/no/such/place" in error["text"]


def test_setup_error_with_json_on_stdout(box):
    done = box.run("--json", "no-such-program")
    assert done.status == 127
    check(json.loads(done.out))
    assert done.err.count("\n") == 1


def test_signal_numbers_of_all_signals(box):
    for number in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 31):
        done = box.result("/bin/sh", "-c", f"kill -{number} $$")
        assert done.status == 128 + number, (number, done)
        assert done.result["signal_name"] == signal.Signals(number).name


# ---- explain ----

def test_explain_counts_what_it_would_list(box):
    for options in ([], ["--tmpfs", "/mnt/t", "--nofile", "10"]):
        listed = json.loads(box.call("explain", "--json", *options, "true").ok().out)
        assert len(box.call("explain", *options, "true").ok().out.splitlines()) == len(listed) > 40
        assert box.call("explain", "--count", *options, "true").ok().out == f"{len(listed)}\n"
        assert json.loads(box.call("explain", "--count", "--json", *options, "true").ok().out) == {"steps": len(listed)}
    assert int(box.call("explain", "--count", "--tmpfs", "/mnt/t", "true").ok().out) == 1 + int(box.call("explain", "--count").ok().out)
