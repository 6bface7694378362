# SPDX-License-Identifier: Apache-2.0
"""Hosts without something that is not required: each such row of src/kern/probe.def answers "absent" in turn. What needs
it goes another way, or one sentence says what is missing; nothing else notices. Development build.
"""
import json
import re

import pytest
from conftest import TOP

TABLE = (TOP / "src/kern/probe.def").read_text()
OPTIONAL = re.findall(r'^F\(\w+, "(\w+)", "[^"]*", (?:LAYER|EXTRA|FORK),', TABLE, re.M)
# Only doctor asks for them: a launch or a fork tries the thing itself, and its row says what failed (test_launch_rows.py,
# system/test_fork_rows.py, enosys).
TRIED = {"ns_limits", "idmapped_mounts", "overlay", "set_tid", "ptrace"}
LIMITS = {"--memory": "64m", "--pids": "50", "--cpus": "1"}
# What is refused without it, and words of the sentence. All the rest is done without it.
REFUSED = {"cgroup_memory": {"run": "--memory can't be enforced"}, "cgroup_pids": {"run": "--pids can't be enforced"},
           "cgroup_cpu": {"run": "--cpus can't be enforced"}}


@pytest.mark.parametrize("name", [name for name in OPTIONAL if name not in TRIED])
def test_without(box, name):
    def call(*words):
        return box.call(*words, dev=True, env={"CLEAVE_TEST_NO": name})

    def done_or_refused(verb, want, done):
        said = REFUSED.get(name, {}).get(verb)
        if said is None:
            assert (done.status, done.out, done.err) == (0, want, ""), done
        else:
            assert said in done.refused(125), done

    limits = [word for pair in LIMITS.items() for word in pair] if box.delegated else []
    if limits or name not in ("cgroup_memory", "cgroup_pids", "cgroup_cpu"):
        done_or_refused("run", "inside\n", call("run", *limits, "echo", "inside"))
    try:
        call("start", "a", "--", "sleep", "1000").ok()
        done_or_refused("exec", "inside\n", call("exec", "a", "sh", "-c", "echo kept >/tmp/kept; echo inside"))
        done_or_refused("fork", "b\n", call("fork", "a", "b"))
        assert call("exec", "b", "cat", "/tmp/kept").ok().out == "kept\n"
        assert call("exec", "a", "echo", "on").ok().out == "on\n"
        assert call("pause", "a").ok() and call("resume", "a").ok()
    finally:
        call("rm", "-f", "a", "b")


def test_the_others_are_told_by_doctor(box):
    for name in TRIED:
        done = box.call("doctor", "--json", dev=True, env={"CLEAVE_TEST_NO": name})  # 1: something is absent
        feature = json.loads(done.out)["features"][name]
        assert feature["state"] == "unknown" or (feature["state"] == "absent" and feature["remedy"]), (name, feature)


def test_no_row_is_left_out():
    assert len(OPTIONAL) == len(re.findall(r"^F\(", TABLE, re.M)) - len(re.findall(r", REQUIRED,", TABLE))
    assert set(OPTIONAL) > TRIED
