# SPDX-License-Identifier: Apache-2.0
"""Where AppArmor gives user namespaces only to programs with a profile that says so (Ubuntu 23.10 and newer), with
and without the profile that it puts upon all others there."""
import shutil
import subprocess
from pathlib import Path

import pytest
from test_forbidden import CLEAVE, cleave

SETTING = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
POLICY = Path("/etc/apparmor.d")
OF_OTHERS = POLICY / "unprivileged_userns"
INSTALLED = Path("/usr/local/bin/cleave")
PROFILE = Path("/usr/local/share/cleave/apparmor")
BY_PROFILE = f"cp {PROFILE} /etc/apparmor.d/cleave && apparmor_parser -r /etc/apparmor.d/cleave"
BY_SETTING = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"

pytestmark = pytest.mark.skipif(not SETTING.exists() or not (POLICY / "abi/4.0").exists() or not OF_OTHERS.exists(),
                                reason="neither Ubuntu's kernel nor its AppArmor policy")


def load(how, path):
    subprocess.run(["apparmor_parser", how, path], check=True)


def installed(*words):
    return cleave(*words, program=INSTALLED)


@pytest.fixture(params=["refused", "without rights"])
def restricted(request, record_property):
    """The namespace isn't made at all; or it is, and nothing may be done in it."""
    record_property("who", "user")
    before = SETTING.read_text()
    SETTING.write_text("1")
    if request.param == "without rights":
        load("-r", OF_OTHERS)
    PROFILE.parent.mkdir(parents=True)
    shutil.copy(CLEAVE, INSTALLED)
    shutil.copy(CLEAVE.parent / "share/apparmor", PROFILE)
    yield
    if (POLICY / "cleave").exists():
        load("-R", POLICY / "cleave")
        (POLICY / "cleave").unlink()
    INSTALLED.unlink()
    shutil.rmtree(PROFILE.parent)
    if request.param == "without rights":
        load("-R", OF_OTHERS)
    SETTING.write_text(before)


def refused_with(line, done):
    assert done.returncode == 125 and done.stderr.count("\n") == 1 and line in done.stderr, done


def test_the_profile_helps(restricted):
    refused_with(BY_PROFILE, installed("run", "true"))
    refused_with(BY_PROFILE, installed("start", "box"))
    assert f"mend: {BY_PROFILE}\n" in installed("doctor").stdout
    subprocess.run(BY_PROFILE, shell=True, check=True)
    done = installed("run", "cat", "/proc/self/attr/current")
    assert (done.returncode, done.stdout) == (0, "cleave (unconfined)\n"), done
    assert installed("start", "box", "--", "sleep", "1000").returncode == 0
    assert installed("fork", "box", "twin").returncode == 0
    done = installed("exec", "twin", "echo", "inside")
    assert (done.returncode, done.stdout) == (0, "inside\n"), done
    assert installed("rm", "-f", "box", "twin").returncode == 0
    done = installed("run", "--nest", "unshare", "-Ur", "echo", "nested")
    assert (done.returncode, done.stdout) == (0, "nested\n"), done
    refused_with(BY_SETTING, cleave("run", "true"))  # another program, to which the profile gives nothing


def test_the_setting_helps(restricted):
    refused_with(BY_SETTING, cleave("run", "true"))
    assert f"mend: {BY_SETTING}\n" in cleave("doctor").stdout
    SETTING.write_text("0")
    done = cleave("run", "echo", "inside")
    assert (done.returncode, done.stdout) == (0, "inside\n"), done
