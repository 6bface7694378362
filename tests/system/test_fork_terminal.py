# SPDX-License-Identifier: Apache-2.0
"""Forks of sandboxes with terminals: the main command's own, and pairs that programs inside made."""
import pexpect
import pytest
from conftest import SLOW

from forks import PYTHON, forks, poll  # noqa: F401


class Attached:
    """A person at a terminal of 100x30 who is attached."""

    def __init__(self, forks, name):
        argv = forks.box.argv("attach", "-i", name)
        self.child = pexpect.spawn(argv[0], argv[1:], env=forks.box.environment(), cwd=str(forks.box.dir), dimensions=(30, 100),
                                   timeout=10 * SLOW, encoding="utf-8")

    def type(self, line):
        self.child.sendline(line)

    def see(self, pattern):
        self.child.expect(pattern)
        return self.child.match

    def end(self):
        self.child.close(force=True)


@pytest.fixture
def attach(forks):
    made = []

    def make(name):
        made.append(Attached(forks, name))
        return made[-1]
    yield make
    for a in made:
        a.end()


def bash(forks, name="a"):
    return forks.start("-t", name=name, command=["/bin/bash", "--norc", "--noprofile", "-i"])


def test_a_shell_with_job_control(forks, attach):
    a = bash(forks)
    one = attach(a)
    one.type("x=40; sleep 1000 & stty -echo erase ^H; PS1='r''eady> '")
    one.see("ready> ")
    answer = forks.fork_json(a, "b")
    assert any("/dev/pts/0 leads to the clone's keeper" in l for l in answer["recreated"]) and answer["broken"] == []
    two = attach("b")
    for who, n in ((two, 1), (one, 2)):
        who.type(f"x=$((x+{n})); echo \"<$x $(tty) $(stty -a | grep -Eo 'rows [0-9]+|-echo |erase = .H' | tr '\\n' ' ')>\"")
        who.see(rf"<{40 + n} /dev/pts/0 rows 30 erase = .H -echo +>")
        who.type("jobs | sed 's/^/J:/'; kill %1; wait; echo $$ $(ps -o tpgid= -p $$) | sed 's/^/P:/'")
        who.see(r"J:\[1\]\+? +Running +sleep 1000")
        who.see(r"P:2 ")
    two.type("sleep 999")
    poll(lambda: "sleep" in forks.comms("b"))
    two.child.sendintr()
    poll(lambda: "sleep" not in forks.comms("b"))
    two.type("exit 7")
    assert forks.call("wait", "b").status == 7
    assert forks.state(a) == "running"
    one.type("echo 'st'ill")
    one.see("still")


def test_a_program_in_the_foreground(forks, attach):
    """It is in the foreground of the clone too: ^C reaches it, and not the shell."""
    a = bash(forks)
    one = attach(a)
    one.type(f"{PYTHON} -qic 'import os, signal'")
    one.see(">>> ")
    forks.fork(a, "b")
    c = forks.fork("b")[0]
    for name in ("b", c):
        two = attach(name)
        two.type("print('fg', os.tcgetpgrp(0) == os.getpgrp(), os.isatty(0), os.get_terminal_size(0).columns)")
        two.see("fg True True 100")
        two.type("print('wa' + 'its', flush=True); signal.pause()")
        two.see("waits")
        two.child.sendintr()
        two.see("KeyboardInterrupt")
        two.type("exit()")
        two.type("echo 'back'-in-bash")
        two.see("back-in-bash")


PAIRS = """
import pty, termios, tty, select
m, s = os.openpty(); tty.setraw(s); termios.tcsetwinsize(s, (11, 22))
m2, s2 = os.openpty(); os.close(s2)
m3, s3 = os.openpty()
pid, child = pty.fork()
if pid == 0:
    os.close(m3); os.close(s3)
    for line in sys.stdin: print('child', line.strip(), os.tcgetpgrp(0) == os.getpid(), os.ctermid(), flush=True)
    os._exit(0)
os.close(m3); os.close(s3)
def both(text):
    os.write(m, text); a = os.read(s, 100); os.write(s, text[::-1]); return [a.decode(), os.read(m, 100).decode()]
def talk(text):
    os.write(child, text + b'\\n'); got = b''
    while b'child' not in got or not got.endswith(b'\\n'): got += os.read(child, 1000)
    return got.decode().split('\\r\\n')
def dead():
    try: return os.read(m2, 10).decode()
    except OSError as e: return e.errno
look = lambda: [os.ttyname(s), termios.tcgetattr(s)[:4], termios.tcgetwinsize(m), sorted(os.listdir('/dev/pts'))]
"""


def test_pairs_inside(forks):
    a = forks.program(PAIRS)
    assert "child hello True /dev/tty" in forks.ask(a, "talk(b'hello')")  # it has closed what it inherited
    want = forks.ask(a, "look()")
    assert want[0] == "/dev/pts/0" and want[2] == [11, 22] and want[3] == ["0", "1", "3", "ptmx"]
    answer = forks.fork_json(a, "b", "c")
    assert sum("fd-pty" in l for l in answer["recreated"]) == 3 and answer["broken"] == []
    d, = forks.fork("b", "d")
    for name in (a, "b", "c", d):
        assert forks.ask(name, "look()") == want, name
        assert forks.ask(name, f"both(b'{name}12')") == [f"{name}12", f"{name}12"[::-1]]
        assert forks.ask(name, "dead()") == 5, "EIO: the other side was closed"
        assert f"child {name} True /dev/tty" in forks.ask(name, f"talk(b'{name}')")
    forks.ask("b", "termios.tcsetwinsize(s, (1, 2))")
    assert forks.ask(a, "termios.tcgetwinsize(m)") == [11, 22]
    assert forks.ask("b", "[os.close(child), os.waitpid(pid, 0)[1]]")[1] == 1, "SIGHUP"
    assert "child x True /dev/tty" in forks.ask(a, "talk(b'x')")


def test_a_client_of_the_source_stays_with_the_source(forks):
    """exec -t: the clone's copy of that shell hangs up, which ends it; the clone lives on."""
    a = forks.program()
    argv = forks.box.argv("exec", "-i", "-t", a, "/bin/bash", "--norc", "-i")
    person = pexpect.spawn(argv[0], argv[1:], env=forks.box.environment(), cwd=str(forks.box.dir), timeout=10 * SLOW, encoding="utf-8")
    person.expect(r"\$ ")
    person.sendline("echo 'he''re'")
    person.expect("here")
    answer = forks.fork_json(a, "b")
    assert any("hangs up" in l for l in answer["broken"]), answer["broken"]
    poll(lambda: "bash" not in forks.comms("b"))
    assert forks.ask("b", "1 + 1") == 2
    person.sendline("echo 'aga''in'")
    person.expect("again")
    person.sendline("exit")
    person.expect(pexpect.EOF)
    person.close()


def test_snapshot_of_a_terminal(forks, attach):
    a = bash(forks)
    one = attach(a)
    one.type("x=7; PS1='r''eady> '")
    one.see("ready> ")
    forks.call("snapshot", a, "s").ok()
    one.type("x=8; exit 3")
    assert forks.call("wait", a).status == 3
    forks.fork("s", "b")
    two = attach("b")
    two.type("echo \"=$x=\"")
    two.see("=7=")
