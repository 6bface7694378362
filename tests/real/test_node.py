# SPDX-License-Identifier: Apache-2.0
"""node with timers and a worker."""
import pytest

from real import ROUNDS, fork_five, forks, load, poll, remove, tally  # noqa: F401

pytestmark = pytest.mark.slow

NODE = """
const { Worker } = require('worker_threads');
let ticks = 0, crc = 7;
const far = { n: 0, crc: 7, waiting: [] };
const step = (crc, n) => (crc * 31 + n) % 1000003;
setInterval(() => { ticks++; crc = step(crc, ticks); }, 5);
const worker = new Worker(`
  const { parentPort } = require('worker_threads');
  let ticks = 0, n = 0, crc = 7;
  setInterval(() => { ticks++; }, 5);
  parentPort.on('message', () => { n++; crc = (crc * 31 + n) % 1000003; parentPort.postMessage([n, crc, ticks]); });`, { eval: true });
worker.on('message', (m) => far.waiting.shift()(m));
const ask = () => new Promise((done) => { far.waiting.push(done); worker.postMessage(0); });
const rl = require('readline').createInterface({ input: process.stdin });
rl.on('line', async (line) => console.log(JSON.stringify(await eval(line))));
function want(n) { let c = 7; for (let i = 1; i <= n; i++) c = step(c, i); return c; }
"""


def test_node_with_timers_and_a_worker(forks, box, tally):
    """Timers of both threads go on in all six, and the worker counts its messages where it stood."""
    script = box.file(NODE, "p.js")
    start = lambda: forks.start("-i", "--file", f"{script}:/home/user/p.js", command=["node", "/home/user/p.js"])  # noqa: E731
    a, cold = start(), start()
    for i in range(ROUNDS):
        want = forks.ask(cold, "ask()")[:2]
        assert want[0] == i + 1
        clones = fork_five(forks, a, tally)
        assert clones, "timers, threads, their pipes and event loops are all carried"
        look = lambda n: forks.ask(n, "[ticks, crc == want(ticks)]")  # noqa: E731
        begin = {n: [look(n)[0], forks.ask(n, "ask()")] for n in [a, *clones]}
        for name, (ticks, answer) in begin.items():
            assert answer[:2] == want, name
            poll(lambda name=name, ticks=ticks: look(name)[0] > ticks, 10, f"the timers of {name}")
            assert look(name)[1] is True
        for name in clones:
            poll(lambda name=name: forks.ask(name, "ask()")[2] > begin[name][1][2], 10, f"the worker's timers of {name}")
        remove(forks, clones)
