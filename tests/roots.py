# SPDX-License-Identifier: Apache-2.0
"""Directories that --root is given: a small one of busybox, and a Debian that debootstrap made, once for all runs."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import TOP

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh ls cat id mount touch find mkdir rm rmdir echo stat readlink head tail wc dd env grep mv ln chmod test "
           "true sleep sort mkfifo hostname").split()
CACHE = TOP / "build/roots"


def own_tree(box, top):
    for path in [top, *top.rglob("*")]:
        box.own(path)
    return top


def busybox_root(box, name="busybox"):
    """What an unpacked Alpine is like: no glibc, no bash, few directories. It belongs to the caller."""
    assert BUSYBOX.exists(), "busybox-static is not installed"
    top = box.directory(name)
    for place in ("bin", "etc", "lib", "usr/share/doc"):
        (top / place).mkdir(parents=True)
    if not (box.dir / "busybox").exists():
        shutil.copy(BUSYBOX, box.dir / "busybox")
        box.own(box.dir / "busybox")
    os.link(box.dir / "busybox", top / "bin/busybox")
    for applet in APPLETS:
        (top / "bin" / applet).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\n")
    (top / "etc/hostname").write_text("of-the-directory\n")
    (top / "usr/share/doc/file").write_text("kept\n")
    return own_tree(box, top)


def make_system(box):
    """A directory that is a system but for its programs; it has names and nodes that are not the sandbox's."""
    top = box.directory("system")
    for name in ("usr", "etc", "var/tmp", "mnt", "opt", "srv", "root", "dev"):
        (top / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink("/" + name):
            (top / name).symlink_to(os.readlink("/" + name))
    (top / "var/run").symlink_to("../run")
    (top / "var/tmp").chmod(0o1777)
    for name in ("hostname", "hosts", "machine-id", "resolv.conf"):
        (top / "etc" / name).write_text("of-the-directory\n")
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\ntty:x:5:\n")
    (top / "etc/nsswitch.conf").write_text("hosts: files\n")
    if not box.is_user:
        os.mknod(top / "dev/mem", 0o20666, os.makedev(1, 1))
    return own_tree(box, top)


def need(box, kind):
    """Skips what this host can't have, by doctor's word."""
    if not hasattr(box, "features"):
        box.features = json.loads(box.call("doctor", "--json").out)["features"]
    for name in ["overlay"] * (kind == "dir") + ["idmapped_mounts"] * (not box.is_user):
        if box.features[name]["state"] != "present":
            pytest.skip(f"{name}: {box.features[name]['how']}")


def root_options(box, kind):
    """Options for the same programs in a root of this kind: host, dir, dir-rw."""
    if kind == "host":
        return []
    need(box, kind)
    if not hasattr(box, "system"):
        box.system = make_system(box)
    options = ["--root", box.system, "--ro", "/usr"]
    for name in ("ld.so.cache", "alternatives", "localtime"):
        options += ["--ro", f"/etc/{name}"] if os.path.exists(f"/etc/{name}") else []
    return options + (["--root-rw"] if kind == "dir-rw" else [])


def bootstrap():
    """A Debian of root's below build/, made by the first who asks; the reason if that can't be."""
    top, log = CACHE / "debian", CACHE / "log"
    if top.exists():
        return top
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root, and nobody ran it here yet")
    CACHE.mkdir(parents=True, exist_ok=True)
    half = CACHE / "half"
    shutil.rmtree(half, ignore_errors=True)
    with open(log, "w", encoding="utf8") as out:
        status = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", half], stdout=out, stderr=out,
                                stdin=subprocess.DEVNULL, timeout=1800, check=False).returncode
    if status:
        said = log.read_text().strip().splitlines()
        if not any("Extracting" in line for line in said):
            pytest.skip(f"no mirror of Debian: {said[-1] if said else status}")
        raise AssertionError("\n".join(said[-10:]))
    half.rename(top)
    return top


def debian_root(box, own):
    """own: as the caller would have unpacked it, else root's."""
    top = bootstrap()
    if not own or not box.is_user or os.geteuid() != 0:
        return top
    copy = CACHE / f"debian-{box.uid}"
    if not copy.exists():
        half = CACHE / "half-copy"
        shutil.rmtree(half, ignore_errors=True)
        subprocess.run(["cp", "-a", top, half], check=True)
        subprocess.run(["chown", "-hR", f"{box.uid}:{box.gid}", half], check=True)
        half.rename(copy)
    return copy


def listing(top):
    """Everything that could be seen to change: name, type, mode, owner, size, time, content of small files."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        st = path.lstat()
        text = path.read_bytes() if path.is_file() and not path.is_symlink() and st.st_size < 4096 else b""
        found[str(path.relative_to(top))] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, text)
    return found
