# SPDX-License-Identifier: Apache-2.0
"""Settings of the whole machine that forbid what cleave needs: the sentence names the line that helps, which is then
applied as it stands."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

CLEAVE = Path(__file__).resolve().parent.parent.parent / "build/cleave"
USER = 1234
# setting: the value that forbids it, the line that doctor and run give for it
SETTINGS = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    "user/max_net_namespaces": ("0", "sysctl -w user.max_net_namespaces=15000"),
    "user/max_pid_namespaces": ("0", "sysctl -w user.max_pid_namespaces=15000"),
}


def cleave(*words, program=CLEAVE):
    environ = {"PATH": os.environ["PATH"], "HOME": "/tmp", "XDG_RUNTIME_DIR": f"/run/user/{USER}"}
    return subprocess.run([program, *words], user=USER, group=USER, extra_groups=[], env=environ, capture_output=True,
                          text=True, timeout=120, stdin=subprocess.DEVNULL)


@pytest.fixture(params=SETTINGS)
def setting(request, record_property):
    record_property("who", "user")
    path = Path("/proc/sys") / request.param
    before = path.read_text()
    value, remedy = SETTINGS[request.param]
    path.write_text(value)
    assert path.read_text().strip() == value
    yield remedy
    path.write_text(before)


def test_the_remedy_helps(setting):
    refused = cleave("run", "true")
    assert refused.returncode == 125 and refused.stderr.count("\n") == 1, refused
    assert setting in refused.stderr, refused
    layers = json.loads(cleave("doctor", "--json").stdout)["layers"]
    lines = {layer["remedy"] for layer in layers.values() if layer["state"] != "on"}
    assert setting in lines, lines
    name, value = re.fullmatch(r"sysctl -w (\S+)=(\d+)", setting).groups()
    (Path("/proc/sys") / name.replace(".", "/")).write_text(value)
    done = cleave("run", "echo", "inside")
    assert (done.returncode, done.stdout) == (0, "inside\n"), done
