# SPDX-License-Identifier: Apache-2.0
"""tools/deps on a machine where something is missing: root gets it, anybody else the line that gets it, before
anything is built. dpkg-query and apt-get are stand-ins: nothing is asked of this machine's packages."""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
LINE = "apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300"


@pytest.fixture
def machine(base_directory):
    """call(ARGV..., have=, user=): runs it where only `have` is installed; how it ended and what apt-get was told."""
    top = Path(tempfile.mkdtemp(dir=base_directory))
    top.chmod(0o755)
    programs, told = top / "bin", top / "told"
    programs.mkdir()
    told.touch()
    told.chmod(0o666)
    tools = {"dpkg-query": 'for p in $HAVE; do echo "installed $p"; done', "apt-get": f'echo "apt-get $*" >>{told}'}
    for name, script in tools.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    for name in ("Makefile", "tools/deps"):
        (top / name).parent.mkdir(exist_ok=True)
        shutil.copy(TOP / name, top / name)

    def call(*argv, have="", user=None, **more):
        env = {"PATH": f"{programs}:/usr/bin:/bin", "HAVE": have, **more}
        who = {"user": user, "group": user, "extra_groups": []} if user is not None and os.geteuid() == 0 else {}
        done = subprocess.run(argv, cwd=top, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False, **who)
        return done, told.read_text().splitlines()
    return call


@pytest.mark.parametrize("target, one_of_it", [("all", "ninja-build"), ("demo", "python3-pandas"), ("test", "bubblewrap"),
                                               ("dev", "libcmocka-dev"), ("fuzzers", "clang")])
def test_a_user_is_told_what_is_missing(machine, target, one_of_it):
    done, told = machine("make", target, user=65534)
    assert done.returncode != 0 and told == []
    assert "packages are missing; as root:\n    " + LINE in done.stderr
    line, = [l for l in done.stderr.splitlines() if LINE in l]
    assert one_of_it in line.split() and "gcc" in line.split()
    assert "meson setup" not in done.stdout  # it ended there


def test_root_may_be_treated_so_too(machine):
    done, told = machine("tools/deps", "build", CLEAVE_NO_INSTALL="1")
    assert (done.returncode, told) == (1, []) and LINE in done.stderr


def everything(machine):
    done, _ = machine("tools/deps", CLEAVE_NO_INSTALL="1")
    return done.stderr.split(LINE)[1].split()


def test_only_what_is_missing_is_named(machine):
    want = everything(machine)
    done, _ = machine("tools/deps", have=" ".join(set(want) - {"git", "perl"}), CLEAVE_NO_INSTALL="1")
    assert done.stderr.splitlines()[-1].split() == [*LINE.split(), "git", "perl"]
    done, told = machine("tools/deps", have=" ".join(want))
    assert (done.returncode, done.stdout, done.stderr, told) == (0, "", "", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="pytest runs as an ordinary user")
def test_root_gets_it(machine):
    want = everything(machine)
    done, told = machine("tools/deps", have=" ".join(set(want) - {"git", "perl"}))
    assert done.returncode == 0, done
    assert told == [LINE + " git perl"]
