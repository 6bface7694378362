# SPDX-License-Identifier: Apache-2.0
"""--bin: a root of exactly the programs named and what they need to start."""
import os
import shutil
import subprocess

import pytest
from live import live  # noqa: F401

SH = "/bin/sh"


def inside(box, *words, bins=("busybox",)):
    options = [w for b in bins for w in ("--bin", b)]
    return box.call("run", *options, "--", *words)


def build(where, name, text, *flags):
    (where / f"{name}.c").write_text(text)
    subprocess.run(["gcc", "-o", where / name, where / f"{name}.c", *flags], check=True)
    os.chmod(where / name, 0o755)
    return where / name


@pytest.fixture
def tree(box):
    """A directory that the sandbox's caller can read too."""
    return box.directory("programs")


def test_nothing_else_is_there(box):
    done = inside(box, "busybox", "find", "/usr", "/etc", "/opt", "/srv", "-type", "f", "-o", "-type", "l").ok()
    found = set(done.out.split())
    texts = {f"/etc/{n}" for n in ("passwd", "group", "nsswitch.conf", "resolv.conf", "hosts", "hostname", "machine-id")}
    assert found - texts <= {"/usr/bin/busybox", "/etc/mtab", "/etc/os-release"}, found
    assert "/usr/bin/busybox" in found


def test_a_dynamic_program_has_its_libraries_and_no_other(box):
    listed = subprocess.run(["/usr/bin/ldd", "/usr/bin/git"], capture_output=True, text=True, check=True).stdout
    want = {os.path.realpath(w) for line in listed.splitlines() for w in line.split() if w.startswith("/")}
    assert inside(box, "git", "--version", bins=("git", "busybox")).ok().out.startswith("git version")
    found = inside(box, "busybox", "find", "/usr", "-type", "f", bins=("git", "busybox")).ok().out.split()
    assert set(found) == {os.path.realpath(p) for p in want} | {"/usr/bin/git", "/usr/bin/busybox"}


def test_files_can_not_be_written(box):
    done = inside(box, "busybox", "sh", "-c", "echo x > /usr/bin/busybox; busybox rm /usr/bin/busybox; echo y > /usr/bin/new")
    assert done.status != 0 and not os.path.exists("/usr/bin/new")
    assert os.path.getsize("/usr/bin/busybox") > 100000


@pytest.mark.parametrize("rpath", ["RPATH", "RUNPATH"])
def test_origin(box, tree, rpath):
    """A library beside the program, found by $ORIGIN, which needs another one; the program named by a symlink."""
    (tree / "lib").mkdir()
    build(tree / "lib", "libinner.so", "int inner(void) { return 42; }", "-shared", "-fPIC")
    build(tree / "lib", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC",
          f"-L{tree}/lib", "-l:libinner.so", "-Wl,-rpath,$ORIGIN" if rpath == "RUNPATH" else "-Wl,--as-needed",
          "-Wl,--enable-new-dtags")
    flag = "--enable-new-dtags" if rpath == "RUNPATH" else "--disable-new-dtags"
    build(tree, "main", "int outer(void); int main(void) { return outer(); }", f"-L{tree}/lib", "-l:libouter.so",
          f"-Wl,{flag},-rpath,$ORIGIN/lib", f"-Wl,-rpath-link,{tree}/lib")
    (tree / "name").symlink_to("main")
    assert subprocess.run([tree / "name"]).returncode == 42  # the host's loader agrees
    assert inside(box, str(tree / "name"), bins=(str(tree / "name"),)).status == 42


def test_runpath_is_not_inherited(box, tree):
    (tree / "lib").mkdir()
    build(tree / "lib", "libinner.so", "int inner(void) { return 42; }", "-shared", "-fPIC")
    build(tree / "lib", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC",
          f"-L{tree}/lib", "-l:libinner.so")
    main = build(tree, "main", "int outer(void); int main(void) { return outer(); }", f"-L{tree}/lib", "-l:libouter.so",
                 "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib", f"-Wl,-rpath-link,{tree}/lib")
    assert subprocess.run([main], capture_output=True).returncode == 127  # the host's loader agrees
    line = inside(box, str(main), bins=(str(main),)).refused(125)
    assert "libinner.so" in line and "libouter.so" in line and "looked in" in line and "/usr/lib" in line


def bundle(tree, *links):
    """libouter needs libinner and does not say where it is; main has a RUNPATH and needs both."""
    (tree / "lib").mkdir()
    inner = "int inner(void) { return 42; }", "-shared", "-fPIC"
    build(tree / "lib", "libinner.so", *inner, "-Wl,-soname,libinner.so.1")
    (tree / "lib/libinner.so.1").symlink_to("libinner.so")
    outer = build(tree / "lib", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC",
                  f"-L{tree}/lib", "-l:libinner.so")
    for name in links:
        build(tree, name, "int inner(void); int outer(void); int main(void) { return inner() == outer() ? 42 : 1; }",
              f"-L{tree}/lib", "-l:libouter.so", "-l:libinner.so", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib")
        assert subprocess.run([tree / name]).returncode == 42  # the host's loader agrees
    return outer


def test_what_is_loaded_is_not_searched_for(box, tree):
    """By each of two programs; a library that is named for them finds there what it needs."""
    outer = bundle(tree, "main", "second")
    for bins in (("main",), ("main", "second"), ("lib/libouter.so", "second")):
        bins = tuple(str(tree / b) for b in bins)
        assert inside(box, bins[-1], bins=bins).status == 42
    line = inside(box, str(outer), bins=("busybox", str(outer))).refused(125)
    assert "libinner.so.1, needed by" in line and "not found" in line


def test_loaded_by_another_name(box, tree):
    """What counts is also what the library calls itself."""
    bundle(tree)
    stub = build(tree / "lib", "libreal.so", "int inner(void) { return 0; }", "-shared", "-fPIC")
    main = build(tree, "main", "int inner(void); int outer(void); int main(void) { return inner() == outer() ? 42 : 1; }",
                 f"-L{tree}/lib", "-l:libreal.so", "-l:libouter.so", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib",
                 f"-Wl,-rpath-link,{tree}/lib")
    stub.unlink()
    (tree / "lib/libinner.so").rename(stub)
    (tree / "lib/libinner.so.1").unlink()
    assert subprocess.run([main]).returncode == 42  # the host's loader agrees
    assert inside(box, str(main), bins=(str(main),)).status == 42


def test_a_second_name_of_a_library(box, tree):
    """Without a name of its own it is known by each that it was asked for by."""
    inner = "int inner(void) { return 42; }", "-shared", "-fPIC"
    (tree / "lib").mkdir()
    build(tree / "lib", "libx.so", *inner)
    build(tree / "lib", "libx.so.1", *inner)
    build(tree / "lib", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC",
          f"-L{tree}/lib", "-l:libx.so.1")
    main = build(tree, "main", "int inner(void); int outer(void); int main(void) { return inner() == outer() ? 42 : 1; }",
                 f"-L{tree}/lib", "-Wl,--no-as-needed", "-l:libx.so", "-l:libx.so.1", "-l:libouter.so",
                 "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib")
    (tree / "lib/libx.so.1").unlink()
    (tree / "lib/libx.so.1").symlink_to("libx.so")
    assert subprocess.run([main]).returncode == 42  # the host's loader agrees
    assert inside(box, str(main), bins=(str(main),)).status == 42


def test_origin_is_where_a_library_was_found(box, tree):
    for name in ("lib", "store"):
        (tree / name).mkdir()
    build(tree / "lib", "libinner.so", "int inner(void) { return 42; }", "-shared", "-fPIC")
    build(tree / "store", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC",
          f"-L{tree}/lib", "-l:libinner.so", "-Wl,--enable-new-dtags,-rpath,$ORIGIN")
    (tree / "lib/libouter.so").symlink_to("../store/libouter.so")
    main = build(tree, "main", "int outer(void); int main(void) { return outer(); }", f"-L{tree}/lib", "-l:libouter.so",
                 "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib", f"-Wl,-rpath-link,{tree}/lib")
    assert subprocess.run([main]).returncode == 42  # the host's loader agrees
    assert inside(box, str(main), bins=(str(main),)).status == 42


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-tools is not installed")
def test_musl_inherits_every_rpath(box, tree):
    """To musl RUNPATH is what RPATH is, also for the libraries of a library."""
    (tree / "lib").mkdir()
    build(tree / "lib", "libinner.so", "int inner(void) { return 42; }", "-shared", "-fPIC", "-nostdlib")
    build(tree / "lib", "libouter.so", "int inner(void); int outer(void) { return inner(); }", "-shared", "-fPIC", "-nostdlib",
          f"-L{tree}/lib", "-l:libinner.so")
    (tree / "main.c").write_text("int outer(void); int main(void) { return outer(); }")
    main = tree / "main"
    subprocess.run(["musl-gcc", "-o", main, tree / "main.c", f"-L{tree}/lib", "-l:libouter.so",
                    "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib", f"-Wl,-rpath-link,{tree}/lib"], check=True)
    main.chmod(0o755)
    assert subprocess.run([main]).returncode == 42  # its loader agrees
    assert inside(box, str(main), bins=(str(main),)).status == 42


def test_missing_library(box, tree):
    build(tree, "libgone.so", "int gone(void) { return 1; }", "-shared", "-fPIC")
    main = build(tree, "main", "int gone(void); int main(void) { return gone(); }", f"-L{tree}", "-l:libgone.so")
    (tree / "libgone.so").unlink()
    line = inside(box, str(main), bins=(str(main),)).refused(125)
    assert "libgone.so, needed by" in line and str(main) in line and "/etc/ld.so.cache" in line


@pytest.mark.parametrize("cache", ["without it", "none"])
def test_a_library_that_ldconfig_was_not_told_of(box, tree, cache):
    """In a directory of ld.so.conf, which is none of the loader's business; both files covered for this one call."""
    if os.geteuid() != 0:
        pytest.skip("only root can cover /etc/ld.so.conf")
    (tree / "lib").mkdir()
    build(tree / "lib", "liblate.so", "int late(void) { return 1; }", "-shared", "-fPIC")
    main = build(tree, "main", "int late(void); int main(void) { return late(); }", f"-L{tree}/lib", "-l:liblate.so")
    (tree / "more.conf").write_text(f"# late\n{tree}/lib\n")
    conf, empty = box.file(f"include {tree}/*.conf\n"), box.file("")
    script = f"mount --bind {conf} /etc/ld.so.conf && {{ test {cache!r} != none || mount --bind {empty} /etc/ld.so.cache; }} && exec \"$@\""
    argv = ["unshare", "-m", "sh", "-c", script, "sh", *box.argv("run", "--bin", main, "--", main)]
    done = subprocess.run(argv, env=box.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert f"liblate.so, needed by {main}, lies at {tree}/lib/liblate.so" in done.stderr and "run `ldconfig`" in done.stderr
    assert ("there is no /etc/ld.so.cache" in done.stderr) == (cache == "none")


def test_static_programs(box, tree):
    main = build(tree, "main", "int main(void) { return 7; }", "-static")
    assert inside(box, str(main), bins=(str(main),)).status == 7
    pie = build(tree, "pie", "int main(void) { return 8; }", "-static-pie")
    assert inside(box, str(pie), bins=(str(pie),)).status == 8


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-tools is not installed")
def test_musl(box, tree):
    (tree / "main.c").write_text("int main(void) { return 9; }")
    subprocess.run(["musl-gcc", "-o", tree / "main", tree / "main.c"], check=True)
    assert inside(box, str(tree / "main"), bins=(str(tree / "main"),)).status == 9


def script(tree, name, line, body="exit 3\n"):
    (tree / name).write_text(f"{line}\n{body}")
    (tree / name).chmod(0o755)
    return str(tree / name)


@pytest.mark.parametrize("line", ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S sh -e", "#!/usr/bin/env A=1 sh"])
def test_scripts(box, tree, line):
    if "A=1" in line:
        line = "#!/usr/bin/env -S A=1 sh"
    name = script(tree, "script", line)
    assert inside(box, name, bins=(name,)).status == 3


def test_scripts_of_scripts(box, tree):
    inner = script(tree, "inner", "#!/bin/sh", 'shift 0; . "$1" 2>/dev/null; exit 5\n')
    outer = script(tree, "outer", f"#!{inner}", "")
    assert inside(box, outer, bins=(outer,)).status == 5


def test_a_script_that_is_its_own_interpreter_ends(box, tree):
    name = str(tree / "loop")
    script(tree, "loop", f"#!{name}")
    done = inside(box, name, bins=(name,))
    assert done.status in (125, 126, 127), done  # ELOOP of the kernel, told by exec


@pytest.mark.parametrize("content", [b"", b"data", b"#!", b"#!\n", b"#!sh\n", b"\x7fELF", b"\x7fELF\x02\x01\x01" + b"\xff" * 57],
                         ids=["empty", "data", "bare", "line", "relative", "short", "wild"])
def test_what_is_no_program(box, tree, content):
    (tree / "file").write_bytes(content)
    (tree / "file").chmod(0o755)
    line = inside(box, str(tree / "file"), bins=(str(tree / "file"),)).refused(125)
    assert "--bin" in line and str(tree / "file") in line


def test_names_that_do_not_exist(box, tree):
    assert "there is no program 'no-such-program' in" in inside(box, "true", bins=("no-such-program",)).refused(125)
    assert str(tree / "gone") in inside(box, "true", bins=(str(tree / "gone"),)).refused(125)
    assert str(tree) in inside(box, "true", bins=(str(tree),)).refused(125)


def test_set_id_bits_are_void(box, tree):
    copy = tree / "busybox-set-id"
    shutil.copy("/usr/bin/busybox", copy)
    copy.chmod(0o4755)  # of root for root, of the caller for the caller
    assert inside(box, str(copy), "id", "-u", bins=(str(copy),)).ok().out == "1000\n"
    mounts = inside(box, str(copy), "cat", "/proc/self/mounts", bins=(str(copy),)).ok().out
    line = [m for m in mounts.splitlines() if m.split()[1] == str(copy)]
    assert line and "nosuid" in line[0] and "ro" in line[0].split()[3].split(",")


def test_with_other_mounts(box, tree):
    (tree / "data").write_text("data of the host\n")
    done = box.call("run", "--bin", "busybox", "--ro", f"{tree}:/mnt/here", "--", "busybox", "cat", "/mnt/here/data").ok()
    assert done.out == "data of the host\n"


def test_python_with_its_library(box):
    done = box.call("run", "--bin", "/usr/bin/python3", "--ro", "/usr/lib/python3.11", "--", "python3", "-c",
                    "import json; print(json.dumps([1]))")
    assert done.ok().out == "[1]\n"


def test_forks_have_it_too(live):
    source = live.start("--bin", "busybox")
    clone = f"{source}-clone"
    live.call("fork", source, clone).ok()
    try:
        listing = "busybox find /usr -type f; busybox echo on"
        assert live.exec(clone, "busybox", "sh", "-c", listing).ok().out == "/usr/bin/busybox\non\n"
    finally:
        live.call("rm", "-f", clone)


SECRET = "secret of the host\n"


def asks_for(tree, how, path):
    """A stranger's program that names `path` as what it needs."""
    if how == "library":
        build(tree, "libx.so", "int x(void) { return 1; }", "-shared", "-fPIC", f"-Wl,-soname,{path}")
        return str(build(tree, "main", "int x(void); int main(void) { return x(); }", str(tree / "libx.so")))
    if how == "loader":
        return str(build(tree, "main", "int main(void) { return 1; }", f"-Wl,--dynamic-linker={path}"))
    return script(tree, "main", f"#!{path}")


@pytest.mark.parametrize("how", ["library", "loader", "script"])
@pytest.mark.parametrize("what", ["text", "program", "script"])
def test_a_strangers_program_shows_no_file_of_the_caller(box, tree, how, what):
    """What it names is its own choice: a secret, or a program that only the caller may read."""
    private = box.directory("private", mode=0o700)
    secret = private / "secret"
    if what == "program":
        shutil.copy("/usr/bin/busybox", secret)
    else:
        secret.write_text(("#!/bin/sh\n" if what == "script" else "") + SECRET)
    secret.chmod(0o644)  # the directory alone is closed
    box.own(secret)
    program = asks_for(tree, how, secret)
    line = inside(box, "busybox", "cat", str(secret), bins=("busybox", program)).refused(125)
    assert str(secret) in line and "secret of" not in line, line
    if what == "program" and how != "script":
        # the caller's own word is enough
        inside(box, "busybox", "true", bins=("busybox", str(secret), program)).ok()


def test_what_is_no_file_is_not_opened(box, tree):
    os.mkfifo(tree / "pipe")
    for how in ("library", "loader", "script"):
        assert "pipe" in inside(box, "true", bins=(asks_for(tree, how, tree / "pipe"),), ).refused(125)
