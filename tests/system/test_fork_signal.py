# SPDX-License-Identifier: Apache-2.0
"""--fork-signal: whom it reaches in a clone, and when; what examples/reseed.py and examples/reseed.c make of it."""
import subprocess
from pathlib import Path

import pytest

from conftest import TOP
from forks import forks, poll  # noqa: F401

# Process 2 notes what it gets. Process 3 blocks everything, so what anybody sends to it stays to be seen.
SETUP = """
hits = []
for signo in (signal.SIGUSR1, signal.SIGUSR2): signal.signal(signo, lambda s, f: hits.append(s))
if os.fork() == 0:
    signal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))
    while True: time.sleep(1)
def seen():
    pending = [l.split()[1] for l in open('/proc/3/status') if l.startswith(('SigPnd', 'ShdPnd'))]
    return [hits, [int(p, 16) for p in pending]]
"""


def seen(forks, name):
    """What was sent by now: an exec's request goes to init the same way, after the signal's."""
    forks.usable(name)
    hits, pending_of_child = forks.ask(name, "seen()")
    assert pending_of_child == [0, 0], name
    return hits


def test_the_main_command_of_each_clone_gets_it(forks):
    a = forks.program(SETUP)
    for name in forks.fork(a, "-n", "2", "--fork-signal", "USR1"):
        assert seen(forks, name) == [10]
    for word in ("SIGUSR2", "12"):
        assert seen(forks, *forks.fork(a, "--fork-signal", word)) == [12]
    assert seen(forks, *forks.fork(a)) == [], "none unless one was asked for"
    assert seen(forks, a) == []


def test_a_sandbox_hands_it_down(forks):
    """Asked for at the start it holds for every clone, those of snapshots too, and what a rollback brings back is one."""
    a = forks.program(SETUP, "--fork-signal", "USR1", name="a")
    forks.fork(a, "b")
    assert seen(forks, "b") == [10]
    forks.fork("b", "c")
    forks.fork("b", "d", "--fork-signal", "USR2")
    forks.call("snapshot", a, "s").ok()
    forks.fork("s", "e")
    assert seen(forks, a) == []
    forks.hang_up(a)
    forks.call("rollback", a, "s").ok()
    assert [seen(forks, n) for n in (a, "b", "c", "d", "e")] == [[10], [10], [10, 10], [10, 12], [10]]


def test_nobody_to_send_it_to(forks):
    """Without a main command there is nobody; what an exec left running gets none."""
    a = forks.start()
    forks.execsh(a, "setsid sleep 1000 >/dev/null 2>&1 &")
    b, = forks.fork(a, "--fork-signal", "TERM")
    forks.usable(b)
    assert "sleep" in forks.comms(b)


@pytest.mark.parametrize("word", ["", "0", "65", "-1", "NONE", "SIG", "usr1", "USR1,USR2"])
def test_what_is_no_signal(forks, word):
    a = forks.program("")
    for line in (forks.refused(a, "b", "--fork-signal", word), forks.call("start", "--fork-signal", word, "b").refused()):
        assert "--fork-signal" in line and "a signal like USR1 or 10" in line, line
    assert forks.names("-a") == [a]


def compiled(forks, text, name):
    """Options that show the program inside, and its place there."""
    program = forks.box.directory("program") / name
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-o", program, forks.box.file(text, f"{name}.c")], check=True)
    program.chmod(0o755)
    return ["--ro", f"{program}:/opt/{name}"], f"/opt/{name}"


FIRST = r"""
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
static volatile sig_atomic_t seen;
static void note(int signo) { seen = signo; }
int main(void)
{
	struct timespec day = {86400, 0};
	signal(SIGUSR1, note);
	puts("ready"); fflush(stdout);
	nanosleep(&day, NULL); /* goes on in the source; has ended where a clone begins */
	printf("%d\n", seen); fflush(stdout);
	for (;;) pause();
}
"""


def test_it_comes_before_the_first_instruction(forks):
    """So that nothing is drawn from a generator that is to be seeded anew."""
    options, program = compiled(forks, FIRST, "first")
    a = forks.start(*options, command=[program])
    said = lambda name: forks.call("logs", name).ok().out  # noqa: E731
    poll(lambda: said(a) == "ready\n", what="the program")
    stat = Path(f"/proc/{forks.tasks(a)[0]}/stat")
    poll(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", what="the sleep")
    clones = forks.fork(a, "-n", "8", "--fork-signal", "USR1")
    poll(lambda: all(map(said, clones)), what="what each says")
    assert {said(name) for name in clones} == {"10\n"}
    assert said(a) == "ready\n"


def test_reseed_py(forks):
    """With it twins draw different numbers; without the signal the same, as the source does."""
    hook = forks.box.file((TOP / "examples/reseed.py").read_text(), "reseed.py")
    a = forks.program("import reseed, numpy, ssl\nnumpy.random.seed(5); ssl.RAND_bytes(8)", "--file", f"{hook}:/home/user/reseed.py")
    draw = "[random.random(), float(numpy.random.random()), ssl.RAND_bytes(16).hex()]"
    for words, different in ((["--fork-signal", "USR1"], 2), ([], 1)):
        drawn = forks.ask_all(forks.fork(a, "-n", "2", *words), draw)
        assert [len(set(column)) for column in zip(*drawn)] == [different] * 3, drawn
    assert forks.ask(a, draw) == drawn[0]


def test_reseed_c(forks):
    """The same. What was drawn before the fork may be a clone's first line, so the others count."""
    options, program = compiled(forks, (TOP / "examples/reseed.c").read_text(), "reseed")
    a = forks.start(*options, command=[program])
    lines = lambda name: forks.call("logs", name).ok().out.split("\n")[:-1]  # noqa: E731
    poll(lambda: lines(a), what="the first number")
    for words, same in ((["--fork-signal", "USR1"], False), ([], True)):
        twins = forks.fork(a, "-n", "2", *words)
        poll(lambda: all(len(lines(name)) > 3 for name in twins), what="some numbers of each")
        one, other = (lines(name)[1:4] for name in twins)
        assert [x == y for x, y in zip(one, other)] == [same] * 3, (one, other)
