# SPDX-License-Identifier: Apache-2.0
"""The second boot of the power cut: what power_cut.py left is told, tidied away, and its names are free again."""
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from conftest import leaks  # noqa: E402
from power_cut import STATES, call, wait_for_count, well  # noqa: E402

LIVED = ("counting", "frozen", "late")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left():
    """At the end: no process, mount or cgroup more than at the beginning, and not one file of state."""
    before = {line for line in leaks.everything() if not line.startswith("state ")}
    yield
    assert leaks.check(before) == []
    for state in STATES.values():
        for part in ("sandboxes", "names", "snapshots"):
            assert os.listdir(state / part) == [], part


@pytest.fixture(params=STATES)
def who(request, record_property):
    record_property("who", request.param)
    return request.param


def before_of(who):
    return json.loads(Path(f"{STATES[who]}.json").read_text(encoding="utf-8"))


def refused(who, *words):
    status, out, err = call(who, *words)
    assert status == 125 and out == "" and err.startswith("cleave ") and err.count("\n") == 1, (words, status, out, err)
    return err


def test_the_power_was_cut(who):
    assert before_of(who)["boot"] != Path("/proc/sys/kernel/random/boot_id").read_text()
    assert not [name for _, name, _ in leaks.process_table().values() if name in leaks.NAMES]


def test_nothing_is_said_to_live(who):
    rows = {row["name"]: row["state"] for row in json.loads(well(who, "ps", "-a", "--json"))}
    assert {"counting", "frozen", "ended"} <= {name for name in os.listdir(STATES[who] / "names")}
    assert set(rows.values()) <= {"dead", "exited"}, rows
    assert json.loads(well(who, "ps", "--json")) == []
    refused(who, "exec", "counting", "true")
    assert "taken" in refused(who, "start", "counting")


def test_gc_frees_the_names(who):
    well(who, "gc")
    assert set(os.listdir(STATES[who] / "names")) <= {"ended"}
    assert [name for name in os.listdir(STATES[who] / "snapshots") if name.startswith(".")] == []
    assert well(who, "gc") == "", "the second one finds nothing"
    for name in LIVED:
        well(who, "start", name)
        assert well(who, "exec", name, "echo", "fine") == "fine\n"
        well(who, "rm", "-f", name)
    for name in os.listdir(STATES[who] / "names"):
        well(who, "rm", name)


def test_snapshots_survive_or_are_said_to_be_broken(who):
    rows = {row["name"]: row for row in json.loads(well(who, "snapshots", "--json"))}
    assert set(rows) == set(os.listdir(STATES[who] / "snapshots")), "one that takes a name is shown"
    assert "kept" in rows and set(rows) <= {"kept", "torn"}, rows
    for name, row in rows.items():
        assert not row.get("broken"), "it had a name, so all of it was on the disk"
        well(who, "fork", name, "again")
        lines = wait_for_count(who, "again", before_of(who)["count"])
        assert lines[0] > before_of(who)["count"], "it goes on where the snapshot stood"
        well(who, "rm", "-f", "again")
        well(who, "snapshot", "rm", name)
