# SPDX-License-Identifier: Apache-2.0
"""Real programs: started, asked, forked into five in the middle of their work, and all six give what a run that
was never forked gives. What is refused must be refused by name.

CLEAVE_REAL_N rounds each (5), while CLEAVE_REAL_LOAD (0) busy loops for each processor take their share of it. The
closing run is `make real`: 100 rounds under twice as many loops as there are processors. Each test says how many
moments were forked and how many were refused (pytest -rP shows it).
"""
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))

from conftest import SLOW  # noqa: E402
from forks import PYTHON, forks, poll  # noqa: E402,F401

ROUNDS = int(os.environ.get("CLEAVE_REAL_N", "5"))
LOAD = int(os.environ.get("CLEAVE_REAL_LOAD", "0"))
FEW = min(ROUNDS, 2) if ROUNDS <= 5 else ROUNDS  # of what takes seconds
PR_SET_PDEATHSIG = 1
pytestmark = pytest.mark.slow


def busy_loop():
    """They end with us, whatever ends us."""
    return subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], stdin=subprocess.DEVNULL,
                            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


@pytest.fixture(scope="module", autouse=True)
def load(boxes):
    """Loops of the same priority as ours, there before the first look at what a test leaves behind."""
    loops = [busy_loop() for _ in range(LOAD * len(os.sched_getaffinity(0)))]
    yield
    assert [p.poll() for p in loops] == [None] * len(loops), "the load was there all the time"
    for p in loops:
        p.kill()
        p.wait()


def refused_by_name(done):
    """A process, or the sandbox that ended while it was asked."""
    return re.search(r"(process|thread) \d+|the sandbox (is ending|is exited|is stopping|has ended)|sandbox '\w+' has ended", done.refused()) is not None


def fork_five(forks, source, tally):
    """Names of the clones, or None when this moment was refused by name."""
    done = forks.call("fork", source, "-n", "5")
    if done.status:
        assert refused_by_name(done), done
        tally.append(done.err.strip())
        return None
    tally.append(None)
    return done.out.split()


@pytest.fixture
def tally():
    """What each fork of the test came to: None, or the sentence that refused it."""
    outcomes = []
    yield outcomes
    refused = [re.sub(r"[0-9]+", "N", o) for o in outcomes if o]
    print(f"{ROUNDS} rounds, load {LOAD}: {len(outcomes)} forks into five, {len(refused)} refused by name")
    for sentence in sorted(set(refused)):
        print(f"  {refused.count(sentence)} x {sentence}")


def remove(forks, names):
    for name in names:
        forks.hang_up(name)
    forks.call("rm", "-f", *names).ok()


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


def output(forks, name):
    return forks.call("logs", name).ok().out


def finished(forks, source, clones, told, want):
    """All end as the run that was never forked. What the source had written by the fork is in its log, the rest in each clone's."""
    for name in [source, *clones]:
        assert forks.call("wait", name, timeout=120).status == 0, forks.call("logs", name)
    assert output(forks, source) == want
    for name in clones:
        own = output(forks, name)
        assert want.endswith(own) and told.startswith(want[:len(want) - len(own)]), (name, own, told)


def begun(forks, name, progress):
    """It wrote its first line of progress; or it is over already, which is no moment to fork at."""
    done = forks.exec(name, "test", "-s", f"/tmp/{progress}")
    return done.status == 0 or done.status == 125 and refused_by_name(done)


def in_the_middle(forks, tally, script, files=(), progress="progress"):
    """Forks again and again while the script runs; all that was forked ends as one that was not. Rounds that were forked."""
    options = [w for f, inside in files for w in ("--file", f"{f}:{inside}")]
    want = forks.box.run(*options, "/bin/bash", "-c", script).ok().out
    assert want
    forked = 0
    for _ in range(FEW):
        a = forks.start(*options, command=["/bin/bash", "-c", script])
        poll(lambda: begun(forks, a, progress), 30, "the first step")
        clones = None
        for _ in range(40):
            clones = fork_five(forks, a, tally)
            if clones or forks.state(a) != "running":
                break
        finished(forks, a, clones or [], output(forks, a), want)
        forked += bool(clones)
        forks.call("rm", a, *(clones or [])).ok()
    return forked


def test_bash_pipeline(forks, tally):
    script = "for i in $(seq 1 12000); do echo $(( (i * 7919) % 100003 )) $i; test $((i % 100)) != 0 || echo $i >> /tmp/progress; done " \
             "| tee /tmp/all | while read a b; do echo $a $((b * 3)); done | sort -n | awk '{ s += $1 * NR; print s }' | md5sum; " \
             "cat /tmp/all /tmp/progress | md5sum"
    assert in_the_middle(forks, tally, script) * 2 >= FEW


def test_gcc_build_half_way(forks, box, tally):
    """vfork in flight is waited for; what it can't wait for is refused by name and tried again."""
    source = box.file("#include <stdio.h>\n#ifdef MAIN\nint f0(void), f1(void), f2(void), f3(void);\nint main(void)\n{\n\tprintf(\"%d\\n\", f0() + f1() * 3 + f2() * 5 "
                      "+ f3() * 7);\n}\n#else\nint N(void)\n{\n\tint s = 0;\n\tfor (int i = 0; i < 1000; i++)\n\t\ts += i * sizeof(#N);\n"
                      "\treturn s;\n}\n#endif\n".replace("sizeof(#N)", "__LINE__ % 7"), "part.c")
    script = "set -e; cd /tmp; for i in 0 1 2 3 0 1 2 3 0 1 2 3; do gcc -O2 -DN=f$i -c /home/user/part.c -o $i.o; echo $i >> progress; done; " \
             "gcc -DMAIN -O2 -c /home/user/part.c -o main.o; gcc main.o ?.o -o prog; ./prog"
    assert in_the_middle(forks, tally, script, [(source, "/home/user/part.c")]) * 2 >= FEW


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
