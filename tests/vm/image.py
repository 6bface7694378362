# SPDX-License-Identifier: Apache-2.0
"""Builds what the guest boots from, out of installed Debian packages: an ext4 root, an initramfs.

Owns build/vm/cache. Never changes anything outside it: the kernel's files are only read, and
installing packages is the caller's affair. The root holds no file of the host that a package
does not own, but for the few of /etc that are named here, so no secret gets in.
"""
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT_BYTES = 6 << 30  # sparse; what a test may fill
NOT_COPIED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/",
              "/usr/share/lintian/", "/usr/share/bug/", "/var/lib/dpkg/", "/boot/")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# The disks and the channels; what these need is read from modules.dep.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")

PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
user:x:1234:1234:an ordinary user:/home/user:/bin/bash
"""
GROUP = """root:x:0:
daemon:x:1:
tty:x:5:
disk:x:6:
nogroup:x:65534:
user:x:1234:
"""


class ImageError(Exception):
    """Something that the person who runs the lane has to mend."""


def wanted_packages():
    lines = (HERE / "packages").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


class Dpkg:
    """What dpkg knows of the installed packages."""

    def __init__(self):
        fields = "${Package}\t${Architecture}\t${db:Status-Abbrev}\t${Version}\t" \
                 "${Pre-Depends}, ${Depends}\t${Provides}\n"
        text = subprocess.run(["dpkg-query", "-W", "-f", fields], check=True,
                              capture_output=True, text=True).stdout
        self.version, self._needs, self._by_virtual = {}, {}, {}
        for line in text.splitlines():
            name, arch, status, version, needs, provides = line.split("\t")
            if not status.startswith("ii") or arch not in ("amd64", "all"):
                continue
            self.version[name] = version
            self._needs[name] = needs
            for virtual in provides.split(","):
                virtual = virtual.split("(")[0].strip()
                if virtual:
                    self._by_virtual.setdefault(virtual, name)

    def _resolve(self, name):
        return name if name in self.version else self._by_virtual.get(name)

    def closure(self, names):
        """The installed packages among names and all that they depend on."""
        seen, todo = set(), [self._resolve(name) for name in names]
        while todo:
            name = todo.pop()
            if name is None or name in seen:
                continue
            seen.add(name)
            for clause in self._needs[name].split(","):
                choices = [re.split(r"[ (:]", c.strip())[0] for c in clause.split("|")]
                todo.append(next((self._resolve(c) for c in choices if self._resolve(c)), None))
        return sorted(seen)

    @staticmethod
    def files(names):
        text = subprocess.run(["dpkg-query", "-L", *names], check=True, capture_output=True,
                              text=True).stdout
        return sorted({line for line in text.splitlines() if line.startswith("/")})


def _kernel_newest(top, flavour="cloud-amd64"):
    """(release, vmlinuz, module directory) of the newest kernel of a flavour below top, or None."""
    def key(path):
        return [int(n) for n in re.findall(r"\d+", path.name)]
    for image in sorted(top.glob(f"boot/vmlinuz-*-{flavour}"), key=key, reverse=True):
        release = image.name[len("vmlinuz-"):]
        modules = top / "lib/modules" / release
        if (modules / "modules.dep").exists() and os.access(image, os.R_OK):
            return release, image, modules
    return None


def _kernel_fetch(top):
    """Unpacks Debian's newest cloud kernel below top. It isn't installed: that would change what
    this machine boots."""
    text = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], text=True,
                          capture_output=True).stdout
    found = re.search(r"Depends: (linux-image-(\S+))", text)
    if not found:
        raise ImageError("apt-cache knows no linux-image-cloud-amd64 (as root: apt-get update)")
    partial = top.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if subprocess.run(["apt-get", "-q", "download", found[1]], cwd=partial,
                      stdout=subprocess.DEVNULL).returncode != 0:
        raise ImageError(f"apt-get could not download {found[1]} (as root: apt-get update)")
    deb = next(partial.glob("*.deb"))
    subprocess.run(["dpkg-deb", "-x", deb, partial], check=True)
    deb.unlink()
    subprocess.run(["/sbin/depmod", "-b", partial, found[2]], check=True)
    shutil.rmtree(top, ignore_errors=True)
    partial.rename(top)


def kernel_find(cache):
    """The kernel to boot: the one of CLEAVE_VM_KERNEL (a directory with an unpacked package), this machine's own
    cloud kernel, or one unpacked in the cache."""
    asked = os.environ.get("CLEAVE_VM_KERNEL")
    if asked:
        kernel = _kernel_newest(Path(asked), "*")
        if not kernel:
            raise ImageError(f"CLEAVE_VM_KERNEL: no kernel with modules.dep below {asked}")
        return kernel
    for top in (Path("/"), cache / "kernel"):
        kernel = _kernel_newest(top)
        if kernel:
            return kernel
    _kernel_fetch(cache / "kernel")
    kernel = _kernel_newest(cache / "kernel")
    if not kernel:
        raise ImageError("the downloaded kernel package has no cloud kernel")
    return kernel


def _merged(path):
    """Where a file that a package lists as /bin/x really lies."""
    first = path.split("/", 2)[1]
    return "/usr" + path if first in MERGED else path


def _bytecode(path):
    """The compiled twins of a Python file: made at installation, so in no package's list."""
    if not path.endswith(".py"):
        return []
    directory, name = os.path.split(path)
    cache = os.path.join(directory, "__pycache__")
    twin = os.path.join(cache, name[:-3] + ".cpython-311.pyc")
    return [cache, twin] if os.path.exists(twin) else []


def _file_list(dpkg, packages):
    paths = set()
    for path in dpkg.files(packages):
        if path.startswith(NOT_COPIED) or not os.path.lexists(path):
            continue
        path = _merged(path)
        paths.add(path)
        paths.update(_bytecode(path))
    paths |= _alternatives(paths)
    return sorted(p for p in paths if p != "/" and p.strip("/") not in MERGED)


def _alternatives(paths):
    """/usr/bin/vim -> /etc/alternatives/vim -> what is in paths: no package owns the first two."""
    found = set()
    for entry in os.scandir("/etc/alternatives"):
        if entry.is_symlink() and os.path.realpath(entry.path) in paths:
            found.add(entry.path)
    targets = {path for path in found}
    for directory in {os.path.dirname(p) for p in paths if p.startswith("/usr/")}:
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink() and os.readlink(entry.path) in targets:
                found.add(entry.path)
    return found


def _stage_fill(stage, paths):
    """Copies paths below stage, with mode, times and (for root) owner."""
    for name in MERGED:
        if os.path.islink("/" + name):
            (stage / name).symlink_to("usr/" + name)
    listing = stage.parent / "list"
    listing.write_bytes(b"\0".join(os.fsencode(p.lstrip("/")) for p in paths))
    source = subprocess.Popen(["tar", "-C", "/", "-c", "--no-recursion", "--null", "-T", listing,
                               "--ignore-failed-read", "-f", "-"], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-C", stage, "-x", "-f", "-", "--no-same-owner"],
                   stdin=source.stdout, check=True)
    source.stdout.close()
    if source.wait() != 0:
        raise ImageError("tar could not read the packages' files")
    listing.unlink()


def _stage_finish(stage, modules):
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "home/user", "srv/cleave", "mnt",
                 "var/tmp", "var/lib", "var/log", "etc", "opt"):
        (stage / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (stage / name).chmod(0o1777)
    (stage / "root").chmod(0o700)
    shutil.copytree(modules, stage / "usr/lib/modules" / modules.name, symlinks=True,
                    ignore=shutil.ignore_patterns("build", "source"))
    etc = stage / "etc"
    (etc / "passwd").write_text(PASSWD)
    (etc / "group").write_text(GROUP)
    for name in ("subuid", "subgid"):  # as useradd leaves them
        (etc / name).write_text("user:100000:65536\n")
    (etc / "hostname").write_text("guest\n")
    (etc / "hosts").write_text("127.0.0.1 localhost guest\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (etc / "os-release").unlink(missing_ok=True)
    (etc / "os-release").symlink_to("../usr/lib/os-release")
    for name in ("nsswitch.conf", "ld.so.conf", "profile", "shells", "localtime", "timezone"):
        if os.path.exists("/etc/" + name) and not (etc / name).exists():
            shutil.copy("/etc/" + name, etc / name, follow_symlinks=False)
    subprocess.run(["/sbin/ldconfig", "-r", stage], check=True)
    (stage / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-static", "-o",
                    stage / "usr/local/bin/as-user", HERE / "as-user.c"], check=True)


def root_build(target, packages, dpkg, modules):
    """Makes the root image at target (a Path). The stage is removed again."""
    stage = target.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        _stage_fill(stage, _file_list(dpkg, packages))
        _stage_finish(stage, modules)
        partial = target.with_suffix(".part")
        with open(partial, "wb") as image:
            image.truncate(ROOT_BYTES)
        command = ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", stage, "-L", "cleave-guest",
                   "-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", partial]
        if os.geteuid() != 0:  # the stage is the caller's; the guest's root must own it
            command = ["unshare", "--map-root-user", *command]
        subprocess.run(command, check=True)
        _stage_owner(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _stage_owner(image):
    """The ordinary user's home is the one directory that root does not own."""
    script = "sif /home/user uid 1234\nsif /home/user gid 1234\n"
    subprocess.run(["/sbin/debugfs", "-w", "-f", "-", image], input=script, text=True, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cpio_entry(name, mode, data=b""):
    name = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    out = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    out += b"\0" * (-len(out) % 4) + data
    return out + b"\0" * (-len(out) % 4)


def _module_order(modules):
    """The files of BOOT_MODULES and of what they need, each after those that it needs."""
    order = []
    for line in (modules / "modules.dep").read_text().splitlines():
        path, needs = line.split(":")
        if Path(path).name.removesuffix(".ko") in BOOT_MODULES:  # a built-in one has no line
            for word in (*reversed(needs.split()), path):
                if modules / word not in order:
                    order.append(modules / word)
    return order


def initramfs_build(target, modules):
    """busybox, the modules of BOOT_MODULES, and init."""
    busybox = Path("/bin/busybox").read_bytes()
    if b"/lib64/ld-linux" in busybox[:4096]:
        raise ImageError("/bin/busybox is not static (apt-get install busybox-static)")
    parts = [_cpio_entry(d, 0o040755) for d in ("bin", "dev", "proc", "sys", "lib", "root")]
    parts.append(_cpio_entry("bin/busybox", 0o100755, busybox))
    parts.append(_cpio_entry("bin/sh", 0o120777, b"busybox"))
    order = _module_order(modules)
    for path in order:
        parts.append(_cpio_entry("lib/" + path.name, 0o100644, path.read_bytes()))
    names = "".join(path.name + "\n" for path in order)
    parts.append(_cpio_entry("lib/order", 0o100644, names.encode()))
    parts.append(_cpio_entry("init", 0o100755, (HERE / "initramfs-init").read_bytes()))
    parts.append(_cpio_entry("TRAILER!!!", 0))
    partial = target.with_suffix(".part")
    partial.write_bytes(b"".join(parts))
    partial.rename(target)


def payload_build(target, top, job):
    """A tar of the build, the tests and the job (a dict of shell variables), for /srv/cleave."""
    def only(info):
        name = os.path.basename(info.name)
        if name in ("__pycache__", ".pytest_cache", ".git") or info.name.startswith(("./build/vm", "./build/roots")):
            return None
        if name.endswith((".o", ".p", ".d")) or info.name.startswith("./build/meson-"):
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        return info
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(os.listdir(top)):
            if name.startswith("build-") or name == ".git":
                continue
            tar.add(os.path.join(top, name), "./" + name, filter=only)
        text = "".join(f"{key}={_quote(value)}\n" for key, value in job.items()).encode()
        info = tarfile.TarInfo("./.vm-job")
        info.size, info.mode = len(text), 0o644
        tar.addfile(info, io.BytesIO(text))


def _quote(text):
    return "'" + str(text).replace("'", "'\\''") + "'"


def ensure(cache):
    """Paths (kernel, initramfs, root image), made when they are absent or out of date."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _ensure(cache)


def _ensure(cache):
    dpkg = Dpkg()
    release, vmlinuz, modules = kernel_find(cache)
    packages = dpkg.closure(wanted_packages())
    recipe = [f"{p} {dpkg.version[p]}" for p in packages] + [release]
    recipe += [Path(__file__).read_text(), (HERE / "as-user.c").read_text()]
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    root = cache / f"root-{digest}.img"
    if not root.exists():
        for old in cache.glob("root-*.img"):
            old.unlink()
        root_build(root, packages, dpkg, modules)
    digest = hashlib.sha256((release + (HERE / "initramfs-init").read_text()
                             + str(BOOT_MODULES)).encode()).hexdigest()[:16]
    initramfs = cache / f"initramfs-{digest}.cpio"
    if not initramfs.exists():
        for old in cache.glob("initramfs-*.cpio"):
            old.unlink()
        initramfs_build(initramfs, modules)
    return vmlinuz, initramfs, root
