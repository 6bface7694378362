# SPDX-License-Identifier: Apache-2.0
"""In a container that podman makes, with its own filter and masks: one sentence, and with the options that it names cleave
runs and forks. Optional: podman (11 MB of packages) is no dependency of the tests."""
import shutil
import subprocess

import pytest

from conftest import BUILD
pytestmark = [pytest.mark.host_only, pytest.mark.root_only,
              pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed (apt-get install podman)")]
# Out of sight: a hierarchy of cgroup v2 beside v1, which crun can't do with. The shell is process 1 in there: it collects
# podman's children, which podman waits for, and takes all of them along.
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
         '! mountpoint -q "$0" || umount "$0"; "$@"; exit $?', "/sys/fs/cgroup/unified"]
WORKS = ("sh", "-c", "echo inside; hostname; id -u")
FORKS = """export CLEAVE_STATE=/tmp/state; cd /tmp
cleave start source -- sh -c 'echo kept >/tmp/file; exec sleep 1000' >/dev/null
cleave exec source sh -c 'until test -s /tmp/file; do :; done' || exit
cleave fork source clone && cleave exec clone cat /tmp/file; cleave rm -f source clone"""


@pytest.fixture
def podman(box):
    """call(WORDS..., options): of a root directory, without image, network and cgroup; nothing of it is left anywhere."""
    top = box.directory("podman")
    root = top / "rootfs"
    for name in ("usr", "etc", "opt", "proc", "dev", "sys", "tmp", "run", "root", "home", "var"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to("usr/" + name)
    argv = [*ALONE, "podman", "--root", top / "store", "--runroot", top / "run", "--tmpdir", top / "tmp",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "crun",
            "--runtime-flag", f"root={top}/crun", "run", "--rm", "--timeout", "60", "--network", "none", "--cgroups", "disabled", "--log-driver", "none", "--no-hosts",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",  # nobody may have to raise any
            "--volume", "/usr:/usr:ro", "--volume", f"{BUILD.parent}:/opt:ro", "--tmpfs", "/tmp",
            "--env", "PATH=/opt:/usr/bin:/bin"]

    def call(*words, options=(), more=()):
        security = [word for option in options for word in ("--security-opt", option)]
        return subprocess.run([*argv, *security, *more, "--rootfs", root, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120, check=False)
    plain = call("echo", "hi")
    if plain.stdout != "hi\n":
        pytest.skip("podman can't make a container here: " + plain.stderr.strip().splitlines()[-1])
    return call


def test_each_option_is_named(podman):
    for options, named in (((), "unmask=ALL"), (("unmask=ALL",), "seccomp=unconfined"), (("seccomp=unconfined",), "unmask=ALL")):
        done = podman("cleave", "run", *WORKS, options=options)
        assert done.returncode == 125 and done.stdout == "", done
        assert done.stderr.count("\n") == 1 and named in done.stderr, done


@pytest.mark.parametrize("user", [(), ("--user", "1000")], ids=["root", "user"])
def test_with_them_it_runs_and_forks(podman, user):
    """Root there can't read all that is its sandboxes', which a fork says and has a third option for."""
    options = ("unmask=ALL", "seccomp=unconfined")
    done = podman("cleave", "run", *WORKS, options=options, more=user)
    assert (done.returncode, done.stdout) == (0, "inside\nsandbox\n1000\n"), done
    done = podman("sh", "-c", FORKS, options=options, more=user)
    if not user:
        assert done.stdout == "" and "--cap-add DAC_READ_SEARCH" in done.stderr, done
        done = podman("sh", "-c", FORKS, options=options, more=("--cap-add", "DAC_READ_SEARCH"))
    assert (done.returncode, done.stdout) == (0, "clone\nkept\n"), done
