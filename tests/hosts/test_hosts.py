# SPDX-License-Identifier: Apache-2.0
"""Inside other people's sandboxes, and on hosts that forbid things: it works, or one sentence has the remedy, and with
the remedy applied it works.

The containers are made by runc and by crun with what docker and podman give by default. A docker daemon is not needed:
what counts is what the kernel is told. Podman itself, where it is installed, makes one in test_podman.py.
"""
import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import BUILD, TOP

DOCKER_CAPABILITIES = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
                       "SYS_CHROOT KILL AUDIT_WRITE").split()
# What the filters forbid without CAP_SYS_ADMIN, as far as anything here asks for it; podman's lets namespaces pass.
DOCKER_DENIES = ("bpf fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree "
                 "perf_event_open quotactl setdomainname sethostname setns syslog umount umount2 unshare").split()
PODMAN_DENIES = "bpf fanotify_init lookup_dcookie perf_event_open quotactl setdomainname sethostname kcmp process_madvise".split()
MASKED = ("/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
          "/proc/sched_debug /proc/scsi /sys/firmware").split()
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
NEW_NAMESPACES = 0x7E020000


def podman_filter():
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"names": PODMAN_DENIES, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}


def docker_filter():
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"names": DOCKER_DENIES, "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        *({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [
            {"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"}]}
          for bit in range(32) if NEW_NAMESPACES >> bit & 1)]}


def tmpfs(path, mode="755"):
    return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", f"mode={mode}"]}


def bound(host, inside):
    return {"destination": inside, "type": "bind", "source": host, "options": ["rbind", "ro"]}


# crun runs on a hybrid host only where the hierarchy of cgroup v2 is out of its sight.
HIDE_V2 = ["unshare", "--mount", "sh", "-c", '! mountpoint -q "$0" || umount "$0"; exec "$@"', "/sys/fs/cgroup/unified"]
RUNTIMES = {"runc": ["runc"], "crun": [*HIDE_V2, "crun"]}


class Container:
    """A container as docker run makes it, with cleave in /opt."""

    def __init__(self, box, runtime):
        self.runtime, self.bundle, self.count = runtime, box.directory("bundle"), 0
        root = self.bundle / "rootfs"
        for name in ("usr", "etc", "opt", "proc", "dev", "sys", "tmp", "run", "root", "home"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to("usr/" + name)

    def config(self, argv, uid, seccomp, unmasked, cgroup):
        capabilities = ["CAP_" + name for name in DOCKER_CAPABILITIES] if uid == 0 else []
        linux = {"namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount", "cgroup")]}
        if seccomp:
            linux["seccomp"] = seccomp
        if not unmasked:
            linux.update(maskedPaths=MASKED, readonlyPaths=READ_ONLY)
        return {
            "ociVersion": "1.0.0", "hostname": "outer", "linux": linux, "root": {"path": "rootfs", "readonly": False},
            "process": {"terminal": False, "user": {"uid": uid, "gid": uid}, "args": argv, "cwd": "/",
                        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
                        "capabilities": {name: capabilities for name in ("bounding", "effective", "permitted")}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"}, tmpfs("/dev"), tmpfs("/run"),
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                 "options": ["nosuid", "noexec", "nodev", cgroup]},
                tmpfs("/tmp", "1777"), bound("/usr", "/usr"), bound("/etc", "/etc"), bound(str(BUILD.parent), "/opt")]}

    def call(self, *words, uid=0, seccomp=None, unmasked=False, cgroup="ro"):
        argv = ["/opt/" + BUILD.name, *words]
        (self.bundle / "config.json").write_text(json.dumps(self.config(argv, uid, seccomp, unmasked, cgroup)))
        self.count += 1
        name = f"cleave-test-{os.getpid()}-{id(self):x}-{self.count}"
        run = [*RUNTIMES[self.runtime], "--root", self.bundle / "state", "run", "--bundle", self.bundle, name]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def works(self, **how):
        done = self.call("run", "sh", "-c", "echo inside; hostname; id -u", **how)
        assert (done.returncode, done.stdout) == (0, "inside\nsandbox\n1000\n"), done

    def refused(self, *words, **how):
        done = self.call(*words, **how)
        assert done.returncode == 125 and done.stdout == "", done
        assert done.stderr.startswith("cleave ") and done.stderr.count("\n") == 1, done
        return done.stderr

    def layers(self, **how):
        done = self.call("doctor", "--json", **how)
        return json.loads(done.stdout)["layers"]


@pytest.fixture(params=RUNTIMES)
def container(box, request):
    return Container(box, request.param)


pytestmark = pytest.mark.host_only  # runc and crun want cgroups of its own; the VM lane has none of these programs


@pytest.mark.root_only
def test_podmans_default(container):
    """Its filter lets namespaces pass, but not what a UTS namespace is for, and parts of /proc are covered."""
    assert "unmask=ALL" in container.refused("run", "true", seccomp=podman_filter())
    assert "seccomp=unconfined" in container.refused("run", "true", seccomp=podman_filter(), unmasked=True)
    layers = container.layers(seccomp=podman_filter())
    for layer, remedy in {"proc": "unmask=ALL", "uts_ns": "seccomp=unconfined"}.items():
        assert layers[layer]["state"] == "off" and remedy in layers[layer]["remedy"]
    container.works(unmasked=True)


@pytest.mark.root_only
def test_dockers_default(container):
    """Its filter forbids namespaces and mounts, and parts of /proc are covered: two remedies, each named when it is the
    one that is missing."""
    said = container.refused("run", "true", seccomp=docker_filter())
    assert "seccomp=unconfined" in said
    layers = container.layers(seccomp=docker_filter())
    assert layers["user_ns"]["state"] == "off" and "seccomp=unconfined" in layers["user_ns"]["remedy"]
    assert "systempaths=unconfined" in container.refused("run", "true")
    container.works(unmasked=True)


@pytest.mark.root_only
def test_a_user_of_a_container(container):
    container.works(unmasked=True, uid=1000)


@pytest.mark.root_only
def test_limits_in_a_container(container):
    """Cgroups are read-only there by default."""
    said = container.refused("run", "--memory", "64m", "true", unmasked=True)
    assert "--memory" in said and "--degrade" in said, said
    done = container.call("run", "--memory", "64m", "--degrade", "--json", "true", unmasked=True)
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["limits"]["memory"]["enforced"] is False
    assert result["layers"]["cgroup_memory"]["state"] == "degraded"
    done = container.call("run", "--memory", "64m", "--json", "true", unmasked=True, cgroup="rw")
    assert json.loads(done.stdout)["limits"]["memory"]["enforced"] is True, done


def bwrap(box, *options):
    return [*box.prefix, "bwrap", "--unshare-all", *options, str(BUILD)]


def wrapped(box, argv, *words):
    env = box.environment({"CLEAVE_STATE": "/tmp/state"})
    return subprocess.run([*argv, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          cwd="/")


def test_in_bwrap(box):
    """As an ordinary user it leaves its /proc whole; root's has covers, which the sentence says."""
    argv = bwrap(box, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--ro-bind",
                 str(BUILD.parent), str(BUILD.parent))
    done = wrapped(box, argv, "run", "sh", "-c", "echo inside; hostname")
    if box.is_user:
        assert (done.returncode, done.stdout) == (0, "inside\nsandbox\n"), done
    else:
        assert done.returncode == 125 and "as an ordinary user" in done.stderr, done


def test_with_the_proc_of_another_namespace(box):
    """Numbers there mean other processes: nothing is written to any of them."""
    argv = bwrap(box, "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", str(BUILD.parent),
                 str(BUILD.parent))
    done = wrapped(box, argv, "run", "true")
    assert done.returncode == 125 and done.stderr.count("\n") == 1 and "--proc /proc" in done.stderr, done
    layers = json.loads(wrapped(box, argv, "doctor", "--json").stdout)["layers"]
    assert layers["ids"]["state"] == "off" and "--proc /proc" in layers["ids"]["remedy"]


def in_user_namespace(box, script):
    argv = [*box.prefix, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(BUILD)]
    return subprocess.run(argv, env=box.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60)


def test_in_a_user_namespace(box):
    done = in_user_namespace(box, '"$1" run sh -c "echo inside; id -u"')
    assert (done.returncode, done.stdout) == (0, "inside\n1000\n"), done


def test_user_namespaces_forbidden_by_sysctl(box):
    """The setting is the namespace's own, so this touches nothing of the host; the remedy is the line as it is said."""
    done = in_user_namespace(box, """
        echo 0 > /proc/sys/user/max_user_namespaces
        "$1" run true; echo "status $?"
        line=$("$1" doctor | sed -n 's/^ *mend: \\(sysctl .*\\)/\\1/p' | head -n 1)
        echo "$line"
        echo "${line##*=}" > /proc/sys/user/max_user_namespaces
        "$1" run echo inside
        """)
    assert done.returncode == 0, done
    assert done.stdout == "status 125\nsysctl -w user.max_user_namespaces=15000\ninside\n"
    assert "sysctl -w user.max_user_namespaces=15000" in done.stderr


def test_namespaces_used_up(box):
    done = in_user_namespace(box, 'echo 0 > /proc/sys/user/max_net_namespaces; "$1" run true')
    assert done.returncode == 125 and "max_net_namespaces" in done.stderr, done
