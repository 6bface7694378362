# SPDX-License-Identifier: Apache-2.0
"""--ids range: which ids are mapped, what root may do with them and what not, what is said where they can't be had;
and packages that apt-get and dpkg install in a debootstrap'd root."""
import json
import os
import pwd
import shutil
import subprocess

import pytest
from live import live  # noqa: F401 (a fixture)
from roots import busybox_root, debian_root, listing
from subids import FIRST, NEWUIDMAP, ranged, subids  # noqa: F401 (a fixture)

CAPS = 0xdb      # CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID
AS_ROOT = ("--ids", "range", "--user", "root")


def outside(box, inside, own=0):
    """What an id inside is on the host, for the ordinary user; own: the caller's id inside."""
    return box.uid if inside == own else FIRST + inside - (inside > own)


# ---- what is mapped ----

@pytest.mark.parametrize("own", [0, 1000], ids=["root", "user"])
def test_maps(ranged, own):  # noqa: F811
    out = ranged.sh("cat /proc/self/uid_map; echo; cat /proc/self/gid_map; echo; id -u; id -g; id -G;"
                    "sed -n 's/^[UG]id:.//p' /proc/1/status", "--ids", "range", "--user", "root" if own == 0 else "user")
    uids, gids, rest = out.split("\n\n")
    assert rest.split("\n") == [str(own)] * 3 + ["\t".join(["65533"] * 4)] * 2 + [""]
    for lines in (uids, gids):
        rows = [tuple(map(int, line.split())) for line in lines.strip().splitlines()]
        assert sum(row[2] for row in rows) == 65536
        if ranged.is_user:
            want = [(0, FIRST, own), (own, ranged.uid, 1), (own + 1, FIRST + own, 65535 - own)]
            assert rows == [row for row in want if row[2]]
        else:
            assert len(rows) == 1 and rows[0][1] >= 0x70000000


def test_layers(ranged):  # noqa: F811
    for user, state in (("root", "degraded"), ("user", "on")):
        done = ranged.result("--ids", "range", "--user", user, "true")
        rows = done.ok().result["layers"]
        assert rows["capabilities"]["state"] == state
        if user == "root":
            assert rows["capabilities"]["how"] == ("--ids range --user root: root has CHOWN, DAC_OVERRIDE, FOWNER, "
                                                   "FSETID, SETGID, SETUID")
        assert rows["ids"]["state"] == "on"
        assert rows["ids"]["how"] == ("a range of 65536 ids by newuidmap" if ranged.is_user else "a slot of 65536 ids")


RIGHTS = "sed -n -e 's/^Cap\\(...\\):.0*\\(.*\\)$/\\1 \\2/p' -e 's/^NoNewPrivs:./nnp /p' -e 's/^Seccomp:./seccomp /p' /proc/self/status"


def test_rights(ranged):  # noqa: F811
    """A few in root's sets and in the bounding set, none in those that exec would hand on to others; `user` has none."""
    out = ranged.sh(RIGHTS, *AS_ROOT)
    assert out.split("\n") == ["Inh ", "Prm db", "Eff db", "Bnd db", "Amb ", "nnp 1", "seccomp 2", ""]
    assert f"{CAPS:x}" == "db"
    out = ranged.sh(RIGHTS, "--ids", "range")
    assert out.split("\n") == ["Inh ", "Prm ", "Eff ", "Bnd ", "Amb ", "nnp 1", "seccomp 2", ""]
    # and root without the range
    out = ranged.sh(RIGHTS, "--user", "root")
    assert out.split("\n") == ["Inh ", "Prm ", "Eff ", "Bnd ", "Amb ", "nnp 1", "seccomp 2", ""]


USES = """
import json, os
os.makedirs('/tmp/w/d')
os.chmod('/tmp/w', 0o755)
for name, uid, gid in (('a', 33, 42), ('b', 65532, 65532), ('d', 33, 33)):
    path = '/tmp/w/' + name
    open(path, 'w').write('x') if name != 'd' else None
    os.chown(path, uid, gid)
    os.chmod(path, 0o6700 if name == 'a' else 0o700)
seen = {n: [os.stat('/tmp/w/' + n).st_uid, os.stat('/tmp/w/' + n).st_gid, oct(os.stat('/tmp/w/' + n).st_mode & 0o7777)]
        for n in 'abd'}
open('/tmp/w/d/of-root', 'w').write(open('/tmp/w/b').read())     # DAC_OVERRIDE, both ways
os.utime('/tmp/w/b', (1, 1))                                      # FOWNER
os.setgroups([5, 42]), os.setresgid(33, 33, 33), os.setresuid(33, 33, 33)
seen['caps'] = [l.split()[1].lstrip('0') for l in open('/proc/self/status') if l.startswith(('CapPrm', 'CapEff'))]
seen['ids'] = [os.getresuid(), os.getresgid(), sorted(os.getgroups())]
for path in ('/tmp/w/b', '/tmp/w/d/of-root', '/tmp/w/a'):
    try:
        open(path, 'a').close()
        seen[path] = 'open'
    except PermissionError:
        seen[path] = 'closed'
try:
    os.setresuid(0, 0, 0)
    seen['back'] = True
except PermissionError:
    seen['back'] = False
print(json.dumps(seen))
"""


def test_root_can_use_them(ranged):  # noqa: F811
    """Files of other owners, and becoming one: for good, and without root's capabilities."""
    seen = ranged.python(USES, *AS_ROOT)
    assert seen["a"] == [33, 42, "0o6700"] and seen["b"] == [65532, 65532, "0o700"] and seen["d"][:2] == [33, 33]
    assert seen["caps"] == ["", ""] and seen["back"] is False
    assert seen["ids"] == [[33] * 3, [33] * 3, [5, 42]]
    assert [seen[p] for p in ("/tmp/w/b", "/tmp/w/d/of-root", "/tmp/w/a")] == ["closed", "closed", "open"]


def test_files_of_the_caller(ranged):  # noqa: F811
    """With --rw the caller's files are the workload's, as without a range."""
    top = ranged.directory("shown", 0o700)
    ranged.file("mine\n", "f", 0o600, top)
    for user in ("root", "user"):
        ranged.sh(f"cat /mnt/f && echo by {user} >>/mnt/f && mkdir /mnt/{user} && stat -c %u /mnt/f", "--ids", "range",
                  "--user", user, "--rw", f"{top}:/mnt")
        assert (top / user).stat().st_uid == ranged.uid
    assert (top / "f").read_text() == "mine\nby root\nby user\n"
    done = ranged.run(*AS_ROOT, "--rw", f"{top}:/mnt", "chown", "33:33", "/mnt/f")
    if ranged.is_user:
        assert (top / "f").stat().st_uid == outside(ranged, 33)
    else:
        assert done.status == 1 and (top / "f").stat().st_uid == 0  # shown as the workload's, nobody else's


# ---- what root may not ----

REFUSED = """
import ctypes, errno, json, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
seen = {}
def call(name, nr, *args):
    ctypes.set_errno(0)
    r = libc.syscall(nr, *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    seen[name] = errno.errorcode[ctypes.get_errno()] if r < 0 else 'done'
def attempt(name, f, *args):
    try:
        f(*args)
        seen[name] = 'done'
    except OSError as e:
        seen[name] = errno.errorcode[e.errno]
    except ValueError:  # what resource makes of EPERM
        seen[name] = 'EPERM'
call('mount', 165, b'none', b'/tmp', b'tmpfs', 0, None)
call('unshare', 272, 0x10000000)
call('setns', 308, 3, 0)
call('sethostname', 170, b'x', 1)
call('chroot', 161, b'/tmp')
call('ptrace', 101, 16, 1, 0, 0)
call('syslog', 103, 3, None, 0)
call('reboot', 169, 0xfee1dead - (1 << 32), 672274793, 0x89abcdef - (1 << 32), None)
call('settime', 227, 0, b'\\0' * 16)
call('bpf', 321, 0, None, 0)
call('by_handle', 304, 3, None, 0)
attempt('device', os.mknod, '/tmp/sda', 0o60600, os.makedev(8, 0))
attempt('memory of init', open, '/proc/1/mem', 'r+b')
attempt('environment of init', open, '/proc/1/environ', 'rb')
attempt('sysctl', open, '/proc/sys/kernel/hostname', 'w')
attempt('nice', os.nice, -5)
attempt('limit', resource.setrlimit, resource.RLIMIT_NOFILE, (1 << 21, 1 << 21))
attempt('unmapped', os.chown, '/tmp', 70000, 70000)
attempt('become unmapped', os.setresuid, 70000, 70000, 70000)
class Head(ctypes.Structure): _fields_ = [('v', ctypes.c_uint32), ('p', ctypes.c_int)]
every = (ctypes.c_uint32 * 6)(*[0xffffffff] * 6)
call('capabilities', 126, ctypes.byref(Head(0x20080522, 0)), every)
# init's id is in the range, and root can take it; what it finds there is an init that needs nothing of its id
if os.fork() == 0:
    os.setresgid(65533, 65533, 65533), os.setresuid(65533, 65533, 65533)
    attempt('limit of init', resource.prlimit, 1, resource.RLIMIT_NOFILE, (1, 1))
    attempt('files of init', resource.prlimit, 1, resource.RLIMIT_FSIZE, (1, 1))
    attempt('processors of init', os.sched_setaffinity, 1, [0])
    attempt('priority of init', os.setpriority, os.PRIO_PROCESS, 1, 19)
    attempt('traced init', lambda: call('trace', 101, 0x4206, 1, 0, 0))
    attempt('its memory', open, '/proc/1/mem', 'rb')
    attempt('its root', os.listdir, '/proc/1/root/')
    for n in range(1, 65):
        try:
            os.kill(1, n)
        except OSError:
            pass
    print(json.dumps(seen), flush=True)
    os._exit(0)
os.wait()
"""


def test_what_root_may_not(ranged):  # noqa: F811
    """The capabilities are six; nothing of the kernel's or of init's is in their reach."""
    done = ranged.result(*AS_ROOT, "python3", "-c", REFUSED).ok()
    seen = json.loads(done.out)
    assert "done" not in [value for name, value in seen.items() if name != "traced init"], seen
    assert seen["device"] in ("EPERM", "EACCES") and seen["trace"] == "EPERM" and seen["limit of init"] == "EPERM"
    assert done.result["status"] == "exited" and done.result["exit_code"] == 0


def test_the_range_is_out_of_reach_of_others(ranged):  # noqa: F811
    """A process of one of its ids has no more than that id: `user` inside can't take another one."""
    code = """
import json, os
seen = []
for f in (lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([]), lambda: os.setresgid(33, 33, 33),
          lambda: os.chown('/tmp/x', 33, 33), lambda: os.kill(1, 9)):
    open('/tmp/x', 'w').close()
    try:
        f()
        seen.append('done')
    except OSError as e:
        seen.append(e.errno)
print(json.dumps(seen))
"""
    assert ranged.python(code, "--ids", "range") == [1] * 5


# ---- what is said ----

@pytest.mark.parametrize("uids, gids, said", [
    ("", "", "/etc/subuid has no ids for 'nobody' (as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 nobody)"),
    ("65534:100000:65536\n", "x:900000:65536\n", "/etc/subgid has no ids for 'nobody' (as root: usermod --add-subuids 965536-"),
    ("nobody:100000:1000\n", "", "/etc/subuid gives 'nobody' 1000 ids, 65535 are needed (as root: usermod"),
    ("nobody:1:65536\n", None, "no ids for 'nobody'"),
    ("nobody:0:65536\n", None, "no ids for 'nobody'"),
    ("nobody:x:65536\nnobody:::\n", None, "no ids for 'nobody'"),
], ids=["no-line", "no-group", "too-small", "own", "root", "malformed"])
@pytest.mark.parametrize("verb", ["run", "start", "explain"])
def test_no_ids(box, verb, uids, gids, said):
    if not box.is_user:
        pytest.skip("root needs no newuidmap")
    if not NEWUIDMAP.exists():
        pytest.skip("uidmap is not installed")
    name = pwd.getpwuid(box.uid).pw_name
    uids, gids, said = (text and text.replace("nobody", name).replace("65534:", f"{box.uid}:") for text in (uids, gids, said))
    with subids(box, uids, gids):
        line = box.call(verb, "--ids", "range", *(["name"] if verb == "start" else []), "true").refused()
    assert said in line and "--ids range" in line


@pytest.mark.host_only  # needs the development build, which `make test` makes
def test_no_newuidmap(box):
    done = box.call("run", "--ids", "range", "true", dev=True, env={"CLEAVE_TEST_NO": "newuidmap"})
    if box.is_user:
        assert "/usr/bin/newuidmap" in done.refused() and "apt-get install uidmap" in done.err
    else:
        done.ok()


def test_newuidmap_refuses(ranged):  # noqa: F811
    """Its own words, and what can be done: here no set-uid program works."""
    if not ranged.is_user:
        pytest.skip("root needs no newuidmap")
    ranged.prefix = [*ranged.prefix, "setpriv", "--no-new-privs"]
    line = ranged.run("--ids", "range", "true").refused()
    assert "/usr/bin/newuidmap said: newuidmap: " in line and "no_new_privs is set where cleave was started" in line
    assert "step ASK_UID_MAP" in line


def test_the_callers_path_is_not_asked(ranged):  # noqa: F811
    """A newuidmap in PATH, an environment that would change a program's libraries: neither is looked at."""
    bad = ranged.directory("bin")
    for name in ("newuidmap", "newgidmap"):
        ranged.file(f"#!/bin/sh\ntouch {bad}/asked\n", name, 0o755, bad)
    ranged.run("--ids", "range", "true", env={"PATH": f"{bad}:/usr/sbin:/usr/bin:/sbin:/bin", "LD_PRELOAD": f"{bad}/x"}).ok()
    assert not (bad / "asked").exists()


def test_words(box):
    line = box.run("--ids", "two", "true").refused(125)
    assert "'one'" in line and "'range'" in line
    assert "--nest" in box.run("--ids", "range", "--nest", "true").refused(125)
    box.run("--ids", "one", "true").ok()
    assert "--ids range" in box.run("--cap-add", "CHOWN", "true").refused(125)


# ---- sandboxes that live ----

def test_lives(ranged, live):  # noqa: F811
    """exec as either user, cp, a limit of one exec; a fork is refused by name."""
    name = live.start(*AS_ROOT)
    out = live.call("exec", "--user", "root", name, "sh", "-c", "id -u; grep ^CapEff: /proc/self/status").ok().out
    assert out.split() == ["0", "CapEff:", f"{CAPS:016x}"]
    assert live.call("exec", "--user", "user", name, "sh", "-c", "id -u; grep -c '^CapEff:.0*$' /proc/self/status").ok().out == "1000\n1\n"
    live.call("exec", "--user", "root", name, "sh", "-c", "echo x >/tmp/f; chown 33:33 /tmp/f; chmod 644 /tmp/f").ok()
    back = ranged.directory() / "f"
    live.call("cp", f"{name}:/tmp/f", back).ok()
    assert back.read_text() == "x\n" and back.stat().st_uid == ranged.uid
    # of another user, who may not enter the directory: the workload may, and so may the copy
    live.call("exec", "--user", "root", name, "sh", "-c", "mkdir -m 700 /tmp/d; cp -p /tmp/f /tmp/d/g").ok()
    live.call("cp", f"{name}:/tmp/d", back.parent / "d").ok()
    assert (back.parent / "d/g").read_text() == "x\n"
    for words in (("fork", name, "c"), ("snapshot", name, "s")):
        line = live.call(*words).refused(125)
        assert "--ids range" in line
    other = live.start("--ids", "range")
    assert live.call("exec", "--user", "root", other, "sh", "-c", "id -u; grep -c '^Cap...:.0*$' /proc/self/status").ok().out == "0\n5\n"


# ---- packages ----

POSTINST = """#!/bin/sh
set -e
adduser --system --group --quiet --no-create-home --home /nonexistent thing
install -d -o thing -g thing -m 0750 /var/lib/thing
chown thing:adm /usr/share/thing/log
chgrp tty /usr/bin/thing
chmod 2755 /usr/bin/thing
su -s /bin/sh thing -c 'id -un >/var/lib/thing/by-su'
setpriv --reuid thing --regid thing --init-groups sh -c 'id -gn >/var/lib/thing/by-setpriv'
runuser -u www-data -- id -u >/usr/share/thing/by-runuser
"""


def make_package(box, name, depends="adduser", postinst="#!/bin/sh\nexit 0\n"):
    top = box.directory(name)
    (top / "DEBIAN").mkdir()
    (top / "DEBIAN/control").write_text(f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\n"
                                        f"Depends: {depends}\nDescription: for a test\n")
    (top / "DEBIAN/postinst").write_text(postinst)
    (top / "DEBIAN/postinst").chmod(0o755)
    for path, uid, gid, mode in ((f"usr/share/{name}/log", 33, 4, 0o640), (f"usr/share/{name}/mail", 8, 8, 0o600),
                                 (f"usr/bin/{name}", 0, 0, 0o755)):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("#!/bin/sh\necho works\n")
        os.chown(top / path, uid, gid)
        (top / path).chmod(mode)
    for path in [top, *top.rglob("*")]:
        if path.is_dir() or path.parent.name == "DEBIAN":
            os.chown(path, 0, 0)
    done = subprocess.run(["dpkg-deb", "--build", top, box.dir / f"{name}.deb"], capture_output=True, text=True)
    assert done.returncode == 0, done
    return box.own(box.dir / f"{name}.deb")


LOOK = ("dpkg -s thing other | grep -E '^(Package|Status):'; stat -c '%U %G %a %n' /usr/share/thing/log /usr/share/thing/mail "
        "/usr/bin/thing /var/lib/thing /usr/share/other/log; cat /var/lib/thing/by-su /var/lib/thing/by-setpriv "
        "/usr/share/thing/by-runuser; thing; getent passwd thing | cut -d: -f1,6,7; dpkg --audit; dpkg --verify thing other")
INSTALLED = ["Package: thing", "Status: install ok installed", "Package: other", "Status: install ok installed",
             "thing adm 640 /usr/share/thing/log", "mail mail 600 /usr/share/thing/mail", "root tty 2755 /usr/bin/thing",
             "thing thing 750 /var/lib/thing", "www-data adm 640 /usr/share/other/log", "thing", "thing", "33", "works",
             "thing:/nonexistent:/usr/sbin/nologin"]


@pytest.mark.parametrize("rw", [False, True], ids=["overlay", "root-rw"])
def test_packages(ranged, rw):  # noqa: F811
    """dpkg -i, then apt-get with a package that depends on the first, in a Debian that debootstrap made."""
    top = debian_root(ranged, True)
    packages = [make_package(ranged, "thing", postinst=POSTINST), make_package(ranged, "other", "thing, perl-base")]
    options = [*AS_ROOT, "--env", "DEBIAN_FRONTEND=noninteractive"]
    for path in packages:
        options += ["--ro", f"{path}:/mnt/{path.name}"]
    if rw:
        copy = ranged.dir / "debian"
        subprocess.run(["cp", "-a", "--reflink=auto", top, copy], check=True)
        options += ["--root-rw"]
        top = copy
    else:
        before = {name: row[:5] for name, row in listing(top / "etc").items()}
    try:
        script = "dpkg -i /mnt/thing.deb && apt-get install -y /mnt/other.deb && echo; echo '---'; " + LOOK
        done = ranged.run("--root", top, *options, "sh", "-c", script, timeout=200).ok()
        assert done.out.split("---\n")[-1].split("\n") == [*INSTALLED, ""], done
        if rw:  # another sandbox finds it so, and may take it away again
            script = "apt-get remove -y other && dpkg -P thing && ! dpkg -s thing 2>/dev/null && test ! -e /usr/bin/thing"
            out = ranged.run("--root", top, *options, "sh", "-c", LOOK, timeout=200).ok().out
            assert out.split("\n") == [*INSTALLED, ""]
            mail = (top / "usr/share/thing/mail").stat()
            assert (mail.st_uid, mail.st_gid) == ((outside(ranged, 8),) * 2 if ranged.is_user else (8, 8))
            ranged.run("--root", top, *options, "sh", "-c", script, timeout=200).ok()
        else:
            assert {name: row[:5] for name, row in listing(top / "etc").items()} == before
    finally:
        if rw:
            shutil.rmtree(top)


def test_packages_need_it(ranged):  # noqa: F811
    """Without the range the same fails, at the first file of another owner."""
    top = debian_root(ranged, True)
    path = make_package(ranged, "thing", postinst=POSTINST)
    done = ranged.run("--root", top, "--user", "root", "--ro", f"{path}:/mnt/thing.deb", "--env",
                      "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "dpkg", "-i", "/mnt/thing.deb")
    assert done.status != 0 and "dpkg: error" in done.err, done


def test_busybox(ranged):  # noqa: F811
    """A root whose passwd and group can be changed by root inside."""
    top = busybox_root(ranged)
    out = ranged.run("--root", top, *AS_ROOT, "sh", "-c", "echo thing:x:77:77::/:/bin/sh >>/etc/passwd && mkdir /srv && "
                     "touch /srv/a && ls -l /etc/passwd | cut -d' ' -f1; id thing; stat -c %u /bin/busybox").ok().out
    assert out.splitlines()[-1] == "0"
