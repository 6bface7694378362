# SPDX-License-Identifier: Apache-2.0
"""A Python REPL driven over a pipe."""
import select

import pytest

from real import PYTHON, ROUNDS, SLOW, fork_five, forks, load, remove, tally  # noqa: F401

pytestmark = pytest.mark.slow


def type_half(forks, name, line):
    """The prompt for more says that the line arrived: what is still on its way to the source is not in its clones."""
    talk, seen = forks.talk(name), b""
    talk.say(line)
    while not seen.endswith(b"... "):
        assert select.select([talk.popen.stderr], [], [], 10 * SLOW)[0], seen
        seen += talk.popen.stderr.read(4096)


def test_repl_over_a_pipe(forks, tally):
    """Forked between the two halves of a function."""
    a = forks.start("-i", command=[PYTHON, "-i", "-q", "-u"])
    forks.talk(a).say("x, out = 40, []")
    for i in range(ROUNDS):
        type_half(forks, a, "def f(n):")
        type_half(forks, a, "    y = n + 1")
        clones = fork_five(forks, a, tally)
        assert clones
        for j, name in enumerate(clones + [a]):
            for line in (f"    return y * {j + 1}", "", f"out.append({i}); print(f(x), out == list(range({i + 1})))"):
                forks.talk(name).say(line)
        assert [forks.talk(n).line() for n in clones + [a]] == [f"{41 * (j + 1)} True" for j in range(6)]
        remove(forks, clones)
