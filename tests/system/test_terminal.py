# SPDX-License-Identifier: Apache-2.0
"""-t: a terminal of its own, as a person uses it. tmux shows what is on the screen; pexpect types."""
import os
import re
import shlex
import subprocess
import time

import pexpect
import pytest
from conftest import SLOW, poll


class Screen:
    """A real terminal of 80x24 with a shell of the host in it, read as a person reads it."""

    def __init__(self, box):
        self.box = box
        self.socket = str(box.directory("tmux") / "socket")
        env = box.environment({"SHELL": "/bin/bash"})
        subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
                        "env", "PS1=host> ", "bash", "--norc", "--noprofile"],
                       check=True, env=env, cwd=box.dir)

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *words], check=True, capture_output=True, text=True).stdout

    def text(self):
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, line):
        self.tmux("send-keys", "-l", line)
        self.keys("Enter")

    def see(self, pattern, seconds=10):
        """The screen once it shows the pattern."""
        last = [""]

        def shown():
            last[0] = self.text()
            return re.search(pattern, last[0], re.M)
        try:
            poll(shown, seconds)
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not on the screen:\n{last[0]}") from None
        return last[0]

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def screen(box):
    made = Screen(box)
    made.see(r"^host>")
    yield made
    made.end()
    poll(lambda: subprocess.run(["tmux", "-S", made.socket, "ls"], capture_output=True, check=False).returncode,
         what="tmux's end")


def line(box, *words):
    return " ".join(shlex.quote(w) for w in box.argv("run", *words))


def spawn(box, *words, **more):
    argv = box.argv("run", *words)
    child = pexpect.spawn(argv[0], argv[1:], env=box.environment(), cwd=str(box.dir), timeout=15 * SLOW,
                          encoding="utf-8", **more)
    child.delaybeforesend = None
    return child


def end_of(child):
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus


# ---- on the screen ----

def test_vim_on_the_screen(screen, box):
    directory = box.directory("work")
    screen.type("clear; " + line(box, "-t", "--rw", f"{directory}:/mnt/work", "vim", "-u", "NONE", "-c", "set showmode", "/mnt/work/hello.txt"))
    screen.see(r'"/mnt/work/hello.txt" \[New')
    shown = screen.see(r"^~\s*$")
    assert shown.count("\n~") > 15, "the whole screen is vim's"
    screen.tmux("send-keys", "-l", "ihello from vim")
    screen.see(r"^hello from vim")
    screen.see(r"-- INSERT --")
    screen.keys("Escape")
    screen.type(":set lines? columns?")
    screen.see(r"columns=80")
    screen.keys("Enter")
    screen.type(":wq")
    screen.see(r"^host> *$")
    assert (directory / "hello.txt").read_text() == "hello from vim\n"
    assert (directory / "hello.txt").stat().st_uid == box.uid
    screen.type("echo still a $((40 + 2)) terminal")
    screen.see(r"^still a 42 terminal")


def test_resize_reaches_the_program(screen, box):
    screen.type("clear; " + line(box, "-t", "bash", "--norc", "-c",
                                 "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"))
    screen.see(r"^24 80")
    screen.tmux("resize-window", "-x", "100", "-y", "30")
    screen.see(r"^30 100")
    screen.keys("C-c")
    screen.see(r"host> *$")


def test_interactive_shell_with_job_control(screen, box):
    screen.type("clear; " + line(box, "-t", "bash", "--norc"))
    screen.see(r"^bash-[\d.]+\$ $|^bash-[\d.]+\$")
    assert "no job control" not in screen.text()
    screen.type("sleep 100")
    poll(lambda: box_has_sleep(os.getpid()), what="sleep")
    screen.keys("C-z")
    screen.see(r"Stopped +sleep 100")
    screen.type("jobs; tty; echo $TERM")
    screen.see(r"^/dev/pts/0\n(tmux|screen|xterm)")
    screen.type("kill -9 %1; sleep 0.3")
    screen.see(r"Killed +sleep 100")
    screen.type("exit 3")
    screen.see(r"^host> *$")
    screen.type("echo status $?")
    screen.see(r"^status 3")


def test_ctrl_c(screen, box):
    screen.type("clear; " + line(box, "-t", "sleep", "100") + "; echo status $?")
    poll(lambda: "cleave-init" in subprocess.run(["ps", "-eo", "comm"], capture_output=True, text=True,
                                                 check=True).stdout)
    time.sleep(0.2 * SLOW)
    screen.keys("C-c")
    screen.see(r"status 130$")


def test_ctrl_c_without_a_terminal_of_its_own(screen, box):
    screen.type("clear; " + line(box, "bash", "-c", "echo ready; sleep 100") + "; echo status $?")
    screen.see(r"^ready")
    screen.keys("C-c")
    screen.see(r"status 130$")


def test_ctrl_z_and_fg_without_a_terminal_of_its_own(screen, box):
    """The host's shell stops and continues us like any program."""
    screen.type("clear; " + line(box, "bash", "-c", "echo ready; sleep 1; echo done; exit 4"))
    screen.see(r"^ready")
    screen.keys("C-z")
    screen.see(r"Stopped")
    screen.type("echo the shell is back")
    screen.see(r"^the shell is back")
    screen.type("fg; echo status $?")
    screen.see(r"^done\nstatus 4")


# ---- typed ----

def test_terminal_is_its_own(box):
    child = spawn(box, "-t", "bash", "--norc", "-c",
                  "tty; stty size; ps -o tty= -p $$; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; ls -ln /dev/pts/0",
                  dimensions=(33, 77))
    child.expect_exact("/dev/pts/0\r\n33 77\r\npts/0")
    child.expect_exact("all")
    child.expect(r"crw--w---- 1 1000 ")
    assert end_of(child) == 0


def test_exit_status_and_signal_through_a_terminal(box):
    assert end_of(spawn(box, "-t", "sh", "-c", "exit 9")) == 9
    assert end_of(spawn(box, "-t", "sh", "-c", "kill -TERM $$")) == 143


def test_echo_and_end_of_file(box):
    child = spawn(box, "-t", "cat")
    child.sendline("hello")
    child.expect_exact("hello\r\nhello\r\n")
    child.sendcontrol("d")
    assert end_of(child) == 0


def test_raw_mode_is_given_back(box):
    """The caller's terminal is as it was, also after the program was killed."""
    for words in (["true"], ["sh", "-c", "stty raw -echo"], ["sh", "-c", "kill -9 $$"], ["no-such-program"],
                  ["--timeout", "0.2", "sleep", "100"]):
        before = "saved=$(stty -g); "
        script = before + line(box, "-t", *words) + '; [ "$saved" = "$(stty -g)" ] && echo the same || stty -a'
        child = pexpect.spawn("bash", ["-c", script], env=box.environment(), cwd=str(box.dir), timeout=15 * SLOW,
                              encoding="utf-8")
        child.expect_exact("the same")
        child.expect(pexpect.EOF)
        child.close()


@pytest.mark.slow
def test_large_output_through_a_terminal(box):
    child = spawn(box, "-t", "sh", "-c", "seq 1 50000; echo end")
    child.expect_exact("\r\nend\r\n")
    lines = [l for l in child.before.splitlines() if l]
    assert lines == [str(i) for i in range(1, 50001)]
    assert end_of(child) == 0


def test_output_limit_through_a_terminal(box):
    for option in "--output-limit", "--stdout-limit":
        done = box.result("-t", option, "1k", "--timeout", 5, "yes")
        assert done.status == 124 and done.result["status"] == "output_limit", done
        assert len(done.out) == 1024
        assert done.result["limits"][option[2:]] == {"asked": 1024, "enforced": True, "by": "relay", "hit": True}


def test_hangup_ends_the_program(box):
    child = spawn(box, "-t", "sleep", "100")
    poll(lambda: box_has_sleep(child.pid), what="sleep")
    child.close(force=False)
    poll(lambda: not child.isalive(), what="its end")


def box_has_sleep(pid):
    from conftest import leaks
    return any(row[1] == "sleep" for row in leaks.process_table(pid).values())


def test_t_without_a_terminal(box):
    """Input from a pipe: the program has its terminal all the same."""
    done = box.run("-t", "sh", "-c", "[ -t 1 ] && stty size; read x; echo got $x", input="word\n")
    assert done.status == 0, done
    assert "24 80" in done.out and "got word" in done.out


def test_no_typing_into_the_callers_terminal(box):
    """TIOCSTI, with and without the upper half set, and a terminal that is not ours."""
    child = spawn(box, "-t", "/usr/bin/python3", "-c",
                  "import fcntl\nfor n in (0x5412, 0x541c):\n"
                  "  try: fcntl.ioctl(0, n, b'x'); print('worked')\n"
                  "  except OSError as e: print('refused', e.errno)")
    child.expect_exact("refused 1\r\nrefused 1\r\n")
    assert end_of(child) == 0
