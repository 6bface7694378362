# SPDX-License-Identifier: Apache-2.0
"""What can't be done: one clear sentence, status 125 to 127, nothing left behind."""
import ctypes
import json
import os
import re
import resource
import subprocess

import pytest
from conftest import BUILD, PYTHON, SLOW, TOP


def refused(box, *words, status=125, says=(), **more):
    line = box.run(*words, **more).refused(status)
    for text in [says] if isinstance(says, str) else says:
        assert text in line, line
    return line


# ---- the command line ----

HABITS = dict(re.findall(r'^H\("([\w-]+)", "([^"]+)"\)', (TOP / "src/cli/habits.def").read_text(), re.M))


@pytest.mark.parametrize("option", HABITS)
def test_options_of_other_tools_that_there_are_none_of(box, option):
    said = box.run(f"--{option}=x", "true").refused()
    assert f"--{option}: {HABITS[option]}" in said
    assert "unknown option" in box.call("ps", f"--{option}").refused()


@pytest.mark.parametrize("words, says", [
    (["--memroy", "5", "true"], ["--memroy: unknown option", "--memory"]),
    (["--cpu", "5", "true"], "did you mean"),
    (["--zzzzzz", "true"], "unknown option"),
    (["-Z", "true"], "-Z: unknown option"),
    (["--memory"], "it needs"),
    (["--degrade=1", "true"], "no value"),
    ([], "no command to run"),
    (["--memory", "lots", "true"], ["--memory 'lots'", "a size like"]),
    (["--memory", "-5", "true"], "--memory '-5'"),
    (["--memory", "5x", "true"], "a size like"),
    (["--memory", "99999999999999999999", "true"], "--memory"),
    (["--memory", "17179869184g", "true"], "--memory"),
    (["--memory", "", "true"], "--memory"),
    (["--memory", "0", "true"], "--memory"),
    (["--timeout", "soon", "true"], "a time like"),
    (["--timeout", "0", "true"], "--timeout"),
    (["--timeout", "-1", "true"], "--timeout"),
    (["--timeout", "99999999999h", "true"], "--timeout"),
    (["--pids", "0", "true"], "a whole number from 1"),
    (["--pids", "1.5", "true"], "a whole number from 1"),
    (["--cpus", "0", "true"], "a number of processors"),
    (["--cpus", "many", "true"], "a number of processors"),
    (["--disk", "1", "true"], "--disk"),
    (["--disk", "1M,inodes=x", "true"], "inodes=N"),
    (["--disk", "1M,foo=1", "true"], "inodes=N"),
    (["--env", "=x", "true"], "NAME"),
    (["--user", "daemon", "true"], "'user'"),
    (["--net", "host", "true"], "only 'none' exists"),
    (["--root", "alpine", "true"], "alpine': No such file"),
    (["--hostname", "a b", "true"], "no host name"),
    (["--hostname", "", "true"], "no host name"),
    (["--hostname", "x" * 65, "true"], "no host name"),
    (["--name", "../x", "true"], "is no name"),
    (["--name", "-x", "true"], "is no name"),
    (["--workdir", "relative", "true"], "must be absolute"),
    (["--workdir", "/a/../b", "true"], "'..'"),
    (["--stdio", "magic", "true"], "'relay'"),
    (["--tty", "--capture", "true"], "exclude each other"),
    (["--stdio", "inherit", "--output-limit", "1k", "true"], "limit of output"),
    (["--stdio", "inherit", "--stderr-limit", "1k", "true"], "limit of output"),
    (["--nofile", "2", "true"], "--nofile"),
    (["--json=fd:77", "true"], "no such descriptor"),
    (["--json=fd:x", "true"], "not a descriptor"),
    (["--json=/no/such/dir/file", "true"], "/no/such/dir/file"),
    (["--env-file", "/no/such/file", "true"], "/no/such/file"),
])
def test_wrong_option(box, words, says):
    refused(box, *words, says=says)


def test_sizes_and_times_that_are_right(box):
    for size in ("64m", "64M", "64MiB", "67108864", "0.5g", "1g"):
        box.run("--disk", size, "/bin/true").ok()
    for when in ("10", "10s", "1.5", "2000ms", "1m", "1h"):
        box.run("--timeout", when, "/bin/true").ok()


# ---- the program ----

def test_missing_program(box):
    line = refused(box, "no-such-program", status=127, says="no-such-program")
    assert "No such file" in line
    refused(box, "/opt/no-such-program", status=127, says="/opt/no-such-program")
    refused(box, "", status=127)
    refused(box, "/usr/bin/env/x", status=127)


def test_name_too_long(box):
    refused(box, "x" * 300, status=127)
    refused(box, "/" + "x/" * 3000, status=127)


def test_program_that_can_not_be_executed(box):
    refused(box, "/etc/passwd", status=126, says=["/etc/passwd", "Permission denied"])


def test_directory_as_program(box):
    refused(box, "/usr/bin", status=126, says="directory")
    refused(box, "/", status=126)


def test_foreign_architecture(box):
    program = bytearray((BUILD.parent / "tests/payload/probe").read_bytes()[:4096])
    program[18:20] = (183).to_bytes(2, "little")  # aarch64
    path = box.file(bytes(program), "foreign", 0o755)
    refused(box, "--ro", f"{path}:/opt/foreign", "/opt/foreign", status=126, says="processor")


def test_no_program_at_all(box):
    path = box.file("just text\n", "text", 0o755)
    refused(box, "--ro", f"{path}:/opt/text", "/opt/text", status=126, says="#!")


def test_missing_interpreter(box):
    path = box.file("#!/opt/no/such/interpreter\n", "script", 0o755)
    line = refused(box, "--ro", f"{path}:/opt/script", "/opt/script", status=127)
    assert "/opt/script" in line


def test_program_of_the_host_only(box):
    """The message shows the option that would show it."""
    path = box.file("#!/bin/sh\necho ran\n", "only-here", 0o755)
    line = refused(box, path, status=127, says=["host", "--ro"])
    option = line.split("--ro ")[1].split()[0].rstrip(")")
    assert box.run("--ro", option, path).ok().out == "ran\n"
    line = refused(box, "only-here", status=127, says=[str(path), "--ro"],
                   env={"PATH": f"/usr/bin:{path.parent}"})
    option = line.split("--ro ")[1].split()[0].rstrip(")")
    assert box.run("--ro", option, path).ok().out == "ran\n"


def test_working_directory_that_does_not_exist(box):
    refused(box, "--workdir", "/no/such/place", "true", says=["/no/such/place", "--workdir"])
    refused(box, "--workdir", "/etc/passwd", "true", says="/etc/passwd")


# ---- what should enter ----

@pytest.mark.parametrize("option", ["--ro", "--rw", "--file"])
def test_missing_source(box, option):
    source = box.directory() / "missing"
    refused(box, option, f"{source}:/mnt/x", "true", says=[option, str(source), "No such file"])


@pytest.mark.parametrize("option, target", [
    ("--ro", "/mnt/../../x"), ("--rw", "/.."), ("--tmpfs", "/a/../b"), ("--ro", "relative"), ("--ro", ""),
    ("--ro", "/"), ("--rw", "/proc"), ("--ro", "/proc/self"), ("--tmpfs", "/dev"), ("--ro", "/dev/null"),
    ("--tmpfs", "/dev/pts"), ("--ro", "/proc/../proc"), ("--ro", "/x" * 3000),
])
def test_destination_that_can_not_be(box, option, target):
    word = target if option == "--tmpfs" else f"{box.directory()}:{target}"
    refused(box, option, word, "true")


@pytest.mark.parametrize("link", ["/etc", "../../../../../../etc", "/proc/1/root/etc", "/proc/self/cwd"])
def test_destination_below_a_symlink_stays_inside(box, link):
    """A link in a directory that the caller shows can't lead the next mount out of the root."""
    shown, other = box.directory("shown"), box.directory("other")
    (other / "mark").write_text("x")
    (shown / "link").symlink_to(link)
    before = sorted(os.listdir("/etc"))
    done = box.run("--rw", f"{shown}:/mnt/shown", "--ro", f"{other}:/mnt/shown/link/made", "/bin/sh", "-c",
                   "find / -xdev -name mark 2>/dev/null; ls /etc/made")
    assert sorted(os.listdir("/etc")) == before
    assert not os.path.exists("/etc/made")
    if done.status:
        assert done.status == 125 or done.err.startswith("ls:"), done


def test_file_that_is_no_file(box):
    refused(box, "--file", f"{box.directory()}:/mnt/x", "true", says="no regular file")
    fifo = box.directory() / "fifo"
    os.mkfifo(fifo)
    refused(box, "--file", f"{fifo}:/mnt/x", "true", says="no regular file")
    refused(box, "--file", "/dev/zero:/mnt/x", "true", says="no regular file")


def test_source_without_permission(box, differs):
    path = box.directory("closed") / "secret"
    path.write_text("s")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    if differs and os.geteuid() == 0:
        refused(box, "--file", f"{path}:/mnt/x", "true", says="Permission denied")
    else:
        assert box.sh("cat /mnt/x", "--file", f"{path}:/mnt/x") == "s"


# ---- arguments and environment ----

def test_long_argument(box):
    most = 128 * 1024 - 1
    assert box.run("/usr/bin/wc", "-c", input="").ok()
    assert box.run("/bin/sh", "-c", "echo ${#1}", "sh", "x" * most).ok().out == f"{most}\n"


def test_total_of_arguments(box):
    words = ["x" * 100000] * 18
    assert box.run("/bin/sh", "-c", "echo $#", "sh", *words).ok().out == "18\n"


def test_ten_thousand_variables(box):
    path = box.file("".join(f"VARIABLE_{i}=value {i}\n" for i in range(10000)), "env")
    out = box.sh("env | grep -c ^VARIABLE_; echo $VARIABLE_9999", "--env-file", path)
    assert out == "10000\nvalue 9999\n"


def test_more_than_the_kernel_takes(box):
    path = box.file("".join(f"VARIABLE_{i}={'x' * 1000}\n" for i in range(9000)), "env")
    refused(box, "--env-file", path, "true", says="Argument list too long")


def test_one_argument_or_variable_longer_than_the_kernel_takes(box):
    """No command line brings it here: a line of --batch and a file can."""
    most = 128 * 1024 - 1
    jobs = [{"argv": ["/bin/sh", "-c", "echo ${#1}", "sh", "x" * n]} for n in (most, most + 1, 10 << 20)]
    done = box.call("run", "--batch", "-", input="".join(json.dumps(job) + "\n" for job in jobs))
    seen = {record["index"]: record for record in map(json.loads, done.out.splitlines())}
    assert seen[0]["result"]["stdout"] == f"{most}\n"
    for i in (1, 2):
        error = seen[i]["result"]["error"]
        assert seen[i]["result"]["status"] == "setup_error" and error["errno"] == "E2BIG", error
        assert error["text"] == "one argument is longer than the 128 KiB that the kernel takes"
    for name, size in (("most", most), ("more", most + 1)):
        path = box.file(f"V={'x' * (size - 2)}\n", name)
        if name == "most":
            assert box.sh("echo ${#V}", "--env-file", path) == f"{size - 2}\n"
        else:
            refused(box, "--env-file", path, "true", says="one environment variable is longer than the 128 KiB that the kernel takes")


def test_bytes_in_arguments(box):
    words = ["a\nb", "tab\there", b"\xff\xfe".decode(errors="surrogateescape"), "", "ä", "\x1b[31m", "'\"\\$`"]
    done = box.run("/usr/bin/printf", "%s|", *words).ok()
    assert done.out_bytes == b"".join(os.fsencode(w) + b"|" for w in words)


def test_bytes_in_a_message_are_escaped(box):
    line = refused(box, "no\nsuch\x1b[31m", status=127)
    assert "\\x0a" in line and "\x1b" not in line
    done = box.run(b"\xff\xfe".decode(errors="surrogateescape"))
    assert done.status == 127 and done.err_bytes.count(b"\n") == 1


def test_environment_values(box):
    out = box.run("--env", "A=x y", "--env", "B=", "--env", "C=a=b\nc", "--env", "PATH=/usr/bin", "/usr/bin/env",
                  "-0").ok().out.split("\0")
    assert {"A=x y", "B=", "C=a=b\nc", "PATH=/usr/bin"} <= set(out)


# ---- a poor caller ----

def test_few_descriptors(box):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    done = box.run("/bin/echo", "hello", preexec_fn=few)
    assert done.out == "hello\n" if done.status == 0 else done.refused(), done


def test_no_descriptors(box):
    """Too few even for that: still a sentence."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
    box.run("/bin/echo", "hello", preexec_fn=few).refused()


def test_no_processes(box):
    """The caller may have no further process; root is not bound by that."""
    argv = box.argv("run", "/bin/echo", "hello")
    argv[len(box.prefix):len(box.prefix)] = ["prlimit", "--nproc=0", "--"]
    done = subprocess.run(argv, capture_output=True, text=True, env=box.environment(), timeout=30 * SLOW, cwd=box.dir,
                          check=False)
    if done.returncode == 0:
        assert done.stdout == "hello\n"
    else:
        assert done.returncode == 125 and done.stdout == "", done
        assert done.stderr.startswith("cleave run: ") and done.stderr.count("\n") == 1, done


def test_small_address_space(box):
    def small():
        resource.setrlimit(resource.RLIMIT_AS, (16 << 20, 16 << 20))
    done = box.run("/bin/echo", "hello", preexec_fn=small)
    assert done.out == "hello\n" if done.status == 0 else done.status in (125, 127, 139), done


@pytest.mark.root_only
@pytest.mark.parametrize("setup, says", [
    ("umount -l /proc", "/proc"),
    ("mount -t tmpfs -o size=4k none /run; mount -t tmpfs -o size=4k none \"$CLEAVE_STATE\"", ""),
], ids=["no-proc", "full-state"])
def test_poor_host(box, setup, says):
    """In a mount namespace of its own, so that nobody else is poor."""
    argv = box.argv("run", "/bin/echo", "hello")
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "/bin/sh", "-ec", f'{setup}; exec "$@"', "sh",
                           *argv], capture_output=True, text=True, env=box.environment(), timeout=30 * SLOW, cwd="/")
    if done.returncode == 0:
        assert done.stdout == "hello\n"
    else:
        assert done.returncode == 125 and done.stdout == "", done
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("cleave run: "), done
        assert says in done.stderr


@pytest.mark.root_only
def test_full_state_directory(box):
    """The journal can't be written: nothing is made that nobody could find again."""
    argv = box.argv("run", "--memory", "64M", "/bin/echo", "hello")
    script = 'mount -t tmpfs -o size=4k,nr_inodes=3 none "$CLEAVE_STATE"; exec "$@"'
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "/bin/sh", "-ec", script, "sh", *argv],
                          capture_output=True, text=True, env=box.environment(), timeout=30 * SLOW, cwd="/")
    assert done.returncode == 125 and done.stdout == "", done
    assert done.stderr.count("\n") == 1, done


def test_state_directory_that_others_can_write(box):
    bad = box.directory("bad", 0o777)
    bad.chmod(0o777)
    if box.delegated:
        done = box.run("--memory", "64M", "true", env={"CLEAVE_STATE": str(bad)})
        assert "can be written by others" in done.refused(), done


def test_working_directory_that_was_removed(box):
    gone = box.directory("gone")
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    argv = box.argv("run", "/bin/echo", "hello")
    done = subprocess.run(["/bin/sh", "-c", script, "sh", str(gone), *argv], capture_output=True, text=True,
                          env=box.environment(), timeout=30 * SLOW)
    assert done.stdout == "hello\n" and done.returncode == 0, done


@pytest.mark.parametrize("words", [["--rw", "."], ["--ro", "etc:/mnt/e"], ["--root", "usr"], ["--file", "etc/passwd:/mnt/p"]])
def test_path_from_a_working_directory_that_was_removed(box, words):
    """It is not read as one from the root of the host."""
    gone = box.directory()
    line = box.run(*words, "/bin/true", cwd=gone, preexec_fn=lambda: os.rmdir(gone)).refused()
    assert words[0] in line and "the working directory has no path" in line


def test_nothing_given_at_all(box):
    """No words, no environment."""
    code = f"import os; os.execve({str(BUILD)!r}, ['x'], {{}})"
    done = subprocess.run([*box.prefix, PYTHON, "-c", code], capture_output=True, text=True, timeout=30 * SLOW)
    assert done.returncode == 125 and done.stderr.count("\n") == 1, done
