# SPDX-License-Identifier: Apache-2.0
"""python3 with pandas and OpenBLAS threads, in the middle of a computation."""
import pytest

from real import ROUNDS, fork_five, forks, load, remove, tally  # noqa: F401

pytestmark = pytest.mark.slow

PANDAS = """
import numpy, pandas, threading
numpy.random.seed(11)
df = pandas.DataFrame({'k': numpy.random.randint(0, 50, 60000), 'v': numpy.random.random(60000)})
m = numpy.random.random((120, 120))
rounds, crc, goal = 0, 0, 0
def work():
    global rounds, crc
    import zlib
    x = m
    while True:
        while rounds >= goal: time.sleep(0.001)
        means = df[df.v > (rounds % 10) / 10].groupby('k').v.mean()
        x = x @ m; x = x / x.max()
        crc = zlib.crc32(means.values.tobytes() + x.tobytes(), crc); rounds += 1
        seen[rounds] = crc
seen = {}
def aim(n):
    global goal
    goal = n
def after(n):
    aim(n)
    while rounds < n: time.sleep(0.001)
    return seen[n]
threading.Thread(target=work, daemon=True).start()
"""


def test_pandas_in_mid_computation(forks, tally):
    a = forks.program(PANDAS)
    cold = forks.program(PANDAS)
    for i in range(ROUNDS):
        goal = 12 * (i + 1)
        forks.ask(a, f"aim({goal})")
        clones = fork_five(forks, a, tally)  # while it works towards that
        assert clones, "threads, numbers and files are all carried"
        want = forks.ask(cold, f"after({goal})")
        assert forks.ask_all([a, *clones], f"after({goal})") == [want] * 6
        asked = [f"float(df[df.k == {i}].v.sum().round(6))" for i in range(5)]
        assert [forks.ask(n, q) for n, q in zip(clones, asked)] == [forks.ask(cold, q) for q in asked]
        remove(forks, clones)
