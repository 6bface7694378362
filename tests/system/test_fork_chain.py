# SPDX-License-Identifier: Apache-2.0
"""Forks of clones: at once, while their tasks still leave the restorer, and many generations deep."""
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import rounds
from forks import forks  # noqa: F401

# Threads that wait, one that computes, a child in a group of its own: each leaves the restorer in its own time.
TREE = """
state['n'] = 0
for i in range(6): threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)], daemon=True).start()
if os.fork() == 0:
    os.setpgid(0, 0)
    while True: time.sleep(0.05)
def look(): return [state['n'], threading.active_count(), os.getpid(), len(os.listdir('/proc/self/task')), os.path.exists('/proc/9/stat')]
"""
WHOLE = [7, 2, 7, True]


def discard(forks, *names):
    for name in names:
        forks.hang_up(name)
    forks.call("rm", "-f", *names).ok()


def test_fork_of_a_clone_that_was_just_let_go(forks):
    """`cleave fork` has returned: its clone is a sandbox like any other, also for the next fork. 50 rounds."""
    a = forks.program(TREE)
    assert forks.ask(a, "look()") == [0, *WHOLE]
    for i in range(rounds(50)):
        b, = forks.fork(a, "b")
        c, = forks.fork(b, "c")
        d, = forks.fork(c, "d") if i % 5 == 0 else [None]
        for name in filter(None, (b, c, d)):
            assert forks.ask(name, f"[state.update(n={i}), look()][1]") == [i, *WHOLE], (i, name)
        discard(forks, *filter(None, (b, c, d)))
    assert forks.ask(a, "look()") == [0, *WHOLE]


def test_snapshot_and_pause_of_a_clone_that_was_just_let_go(forks):
    a = forks.program(TREE)
    for i in range(rounds(10)):
        b, = forks.fork(a, "b")
        forks.call("snapshot", b, "s").ok()
        c, = forks.fork("s", "c")
        forks.call("pause", c).ok()
        d, = forks.fork(c, "d")
        assert forks.state(c) == "paused"
        forks.call("resume", c).ok()
        for name in (b, c, d):
            assert forks.ask(name, "look()") == [0, *WHOLE], (i, name)
        discard(forks, b, c, d)
        forks.call("snapshot", "rm", "s").ok()


def test_a_clone_of_many_is_forked_while_its_siblings_still_come(forks):
    a = forks.program(TREE)
    names = forks.fork(a, "-n", "6")
    with ThreadPoolExecutor(6) as pool:
        children = [n for out in pool.map(lambda n: forks.fork(n, "-n", "2"), names) for n in out]
    assert len(children) == 12
    for i, name in enumerate(names + children):
        assert forks.ask(name, f"[state.update(n={i}), look()][1]") == [i, *WHOLE]
    assert forks.ask(a, "look()") == [0, *WHOLE]


@pytest.mark.parametrize("depth", [12])
def test_twelve_generations(forks, depth):
    """Nothing piles up: mappings, descriptors and the size of the image stay what they were."""
    a = forks.program(TREE + "big = bytearray(b'x' * (4 << 20)); path = []", name="g0")
    figures = []
    for i in range(1, depth + 1):
        source = f"g{i - 1}"
        forks.ask(source, f"[path.append({i}), big.__setitem__({i} * 4096, 121)] and None")
        answer = forks.fork_json(source, f"g{i}")
        figures.append((answer["memory"]["maps"], answer["memory"]["bytes"], len(answer["recreated"])))
        assert answer["broken"] == []
        assert forks.inspect(f"g{i}")["lineage"]["generation"] == i
    for i in range(depth + 1):
        n = min(i + 1, depth)
        assert forks.ask(f"g{i}", "[path, big.count(121), look()]") == [list(range(1, n + 1)), n, [0, *WHOLE]], i
    fds = "sorted(int(f) for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f))"
    assert forks.ask(f"g{depth}", fds) == forks.ask(a, fds)
    first, last = figures[2], figures[-1]
    assert last[0] <= first[0] + 8 and last[1] <= first[1] * 1.05 + (1 << 20) and last[2] == first[2], figures
