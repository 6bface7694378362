# SPDX-License-Identifier: Apache-2.0
"""The case `fork` of bench/run: what a fork costs the source, when the clones run, when they answer, what they hold.

One run measures all: as root (where the bench is run by root) and as uid 65534, on all processors and pinned to one,
one fork at a time, 24 forks of 24 sandboxes at once, and 5, 20 and 100 clones of one capture. A subject reads
"PROGRAM, root pinned: WHAT". Where a number was promised, ratio is p50 against it and target is 1. Times of the command line
count from before `cleave fork` is executed, those of its report from where it begins. The state directory is on a tmpfs,
as /run is. The peer is os.fork() after the same imports in one process: no sandbox, no other pid, shared descriptors.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

LOOP = "import sys\n%s\nfor line in sys.stdin: print(eval(line), flush=True)\n"
PANDAS = "import pandas; df = pandas.DataFrame({'a': range(1000)}); df.a.sum()"
NOBODY = 65534
# program: (set-up, rounds of one clone, is forked into many)
PYTHON = {
    "python": ("", 15, True),
    "python+pandas": (PANDAS, 15, True),
    "python, 100 MB": ("import os; big = os.urandom(100 << 20)", 7, False),
    "python, 1 GB": ("big = bytearray(b'x' * 4096) * (1 << 18)", 3, False),
}
TREE = "for i in 1 2 3 4 5 6 7 8 9; do (while :; do sleep 1000; done) & done; echo up; while read x; do echo $((x)); done"
MANY = {5: 5, 20: 5, 100: 3}  # clones: rounds
AT_ONCE = 24
MS = 1_000_000
PROMISED = {  # ns or bytes, of python+pandas, root and unpinned
    "restore: files opened, tasks made, mapped, confined": 2.5 * MS,
    "fork of 1, to its first reply": 45 * MS,
    "fork of 100, all run": 300 * MS,
    "memory of a clone, idle: keeper, init, own pages": 300 << 10,
}


class Way:
    """Who forks, and on how many processors."""

    def __init__(self, cleave, user, pinned, row):
        self.cleave, self.user, self.pinned, self.make_row, self.rows = cleave, user, pinned, row, []
        self.label = f"{'user' if user else 'root'}{' pinned' if pinned else ''}"
        self.before = ["taskset", "-c", str(max(os.sched_getaffinity(0)))] if pinned else []
        self.state = tempfile.mkdtemp(prefix="cleave-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        if user and os.geteuid() == 0:
            os.chown(self.state, NOBODY, NOBODY)
            self.before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *self.before]
        self.environment = {**os.environ, "CLEAVE_STATE": self.state}
        self.names, self.count = [], 0

    def popen(self, *words, **more):
        return subprocess.Popen([*self.before, self.cleave, *map(str, words)], env=self.environment, **more)

    def call(self, *words):
        process = self.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        out = process.communicate()[0]
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, [self.cleave, *words])
        return out

    def add(self, program, what, ns):
        goal = PROMISED.get(what) if program == "python+pandas" and self.label == "root" else None
        self.rows.append(self.make_row("fork", f"{program}, {self.label}: {what}", ns, goal, 1.0 if goal else None))

    def add_bytes(self, program, what, size, n):
        goal = PROMISED.get(what) if program == "python+pandas" and self.label == "root" else None
        ratio = round(size / goal, 3) if goal else None
        self.rows.append({**self.make_row("fork", f"{program}, {self.label}: {what}", [1]), "n": n, "p50_ns": None, "p99_ns": None,
                          "pss_bytes": int(size), "ratio": ratio, "target": 1.0 if goal else None, "met": ratio <= 1 if goal else None})

    def attach(self, name):
        return self.popen("attach", "-i", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(self, command):
        name = f"bench-{os.getpid()}-{self.count}"
        self.count += 1
        self.call("start", "-i", name, *command)
        self.names.append(name)
        return name

    def python(self, setup):
        name = self.start(["/usr/bin/python3", "-u", "-c", LOOP % setup])
        client = self.attach(name)
        answer([client])
        hang_up([client])
        return name

    def remove(self, names):
        for at in range(0, len(names), 50):
            self.call("rm", "-f", *names[at:at + 50])

    def fork(self, name, count):
        began = time.monotonic_ns()
        return json.loads(self.call("fork", "--json", name, "-n", count)), began

    def done(self):
        self.remove(self.names)
        shutil.rmtree(self.state, ignore_errors=True)


def answer(clients):
    for client in clients:
        client.stdin.write(b"6 * 7\n")
    for client in clients:
        assert client.stdout.readline() == b"42\n"


def hang_up(clients):
    for client in clients:
        client.kill()
        client.wait()
        client.stdin.close()
        client.stdout.close()


def available():
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 0


def below(pid):
    try:
        children = [int(c) for c in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        children = []
    return [pid, *[p for c in children for p in below(c)]]


def pss(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def restore_ns(clone):
    return sum(clone["times"][part] for part in ("open_ns", "spawn_ns", "map_ns"))


def one_at_a_time(way, program, name, rounds):
    pause, restore, run, reply = [], [], [], []
    for _ in range(rounds):
        told, began = way.fork(name, 1)
        clone = told["clones"][0]
        client = way.attach(clone["name"])
        answer([client])
        reply.append(time.monotonic_ns() - began)
        hang_up([client])
        pause.append(told["source"]["paused_ns"])
        restore.append(restore_ns(clone))
        run.append(clone["first_insn_ns"])
        way.remove([clone["name"]])
    way.add(program, "pause of the source", pause)
    way.add(program, "restore: files opened, tasks made, mapped, confined", restore)
    way.add(program, "fork of 1, it runs", run)
    way.add(program, "fork of 1, to its first reply", reply)


def memory(way, program, names, what, ask):
    """PSS by medians over some clones, of idle ones first: the first answer makes pages of the program's own."""
    if ask:
        clients = [way.attach(n) for n in names]
        answer(clients)
        hang_up(clients)
    sizes = {"keeper": [], "init": [], "own pages": []}
    for name in names[:20]:
        told = json.loads(way.call("inspect", name))
        sizes["keeper"].append(pss(told["keeper_pid"]))
        sizes["init"].append(pss(told["init_pid"]))
        sizes["own pages"].append(sum(pss(p) for p in below(told["init_pid"]) if p != told["init_pid"]))
    whole = [sum(parts) for parts in zip(*sizes.values())]
    way.add_bytes(program, f"memory of a clone, {what}: keeper, init, own pages", statistics.median(whole), len(whole))
    for part, size in sizes.items():
        way.add_bytes(program, f"memory of a clone, {what}: {part}", statistics.median(size), len(size))


def many(way, program, name, count, rounds):
    run, replies = [], []
    for at in range(rounds):
        before = available()
        told, began = way.fork(name, count)
        names = [c["name"] for c in told["clones"]]
        run.append(max(c["first_insn_ns"] for c in told["clones"]))
        if at == rounds - 1 and count == 100 and not way.pinned:
            memory(way, program, names, "idle", False)
            way.add_bytes(program, "MemAvailable that a clone takes", max(0, before - available()) / count, count)
            memory(way, program, names, "after its first answer", True)
        else:
            clients = [way.attach(n) for n in names]
            answer(clients)
            replies.append(time.monotonic_ns() - began)
            hang_up(clients)
        way.remove(names)
    way.add(program, f"fork of {count}, all run", run)
    way.add(program, f"fork of {count}, all answered", replies)


def at_once(way, program, setup):
    """24 sandboxes are forked by 24 commands that begin together."""
    sources = [way.python(setup) for _ in range(AT_ONCE)]
    began = time.monotonic_ns()
    forks = [way.popen("fork", "--json", s, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for s in sources]
    told = [json.loads(f.communicate()[0]) for f in forks]
    whole = time.monotonic_ns() - began
    clients = [way.attach(t["clones"][0]["name"]) for t in told]
    answer(clients)
    answered = time.monotonic_ns() - began
    hang_up(clients)
    way.add(program, f"{AT_ONCE} forks at once: pause of each source", [t["source"]["paused_ns"] for t in told])
    way.add(program, f"{AT_ONCE} forks at once: restore", [restore_ns(t["clones"][0]) for t in told])
    way.add(program, f"{AT_ONCE} forks at once: each runs", [t["clones"][0]["first_insn_ns"] for t in told])
    way.add(program, f"{AT_ONCE} forks at once: all run", [whole])
    way.add(program, f"{AT_ONCE} forks at once: all answered", [answered])
    way.remove([t["clones"][0]["name"] for t in told] + sources)
    way.names = [n for n in way.names if n not in sources]


def tree(way):
    name = way.start(["/bin/bash", "-c", TREE])
    deadline = time.monotonic() + 20
    while b"up" not in way.call("logs", name) and time.monotonic() < deadline:
        time.sleep(0.01)
    one_at_a_time(way, "bash and 9 below it", name, 15)


PEER = """
import os, sys, time
%s
for _ in range(15):
    r, w = os.pipe()
    began = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        os.write(w, str(6 * 7).encode())
        os._exit(0)
    os.read(r, 9)
    print(time.monotonic_ns() - began)
    os.waitpid(pid, 0); os.close(r); os.close(w)
"""


def peers(row):
    rows = []
    for program, (setup, _, _) in PYTHON.items():
        out = subprocess.run(["/usr/bin/python3", "-c", PEER % setup], stdout=subprocess.PIPE, check=True).stdout
        rows.append(row("fork", f"{program}: os.fork in one process, to its first reply", [int(n) for n in out.split()]))
    return rows


def measure(cleave, scratch, row, absent):
    rows, users = [], [False, True] if os.geteuid() == 0 else [True]
    for user, pinned in [(u, p) for u in users for p in (False, True)]:
        way = Way(cleave, user, pinned, row)
        print(f"  ... {way.label}", file=sys.stderr)
        try:
            for program, (setup, rounds, into_many) in PYTHON.items():
                name = way.python(setup)
                one_at_a_time(way, program, name, rounds)
                for count, times in MANY.items() if into_many else []:
                    many(way, program, name, count, times)
                way.remove([name])
                way.names.remove(name)
            tree(way)
            at_once(way, "python+pandas", PANDAS)
        finally:
            way.done()
        rows += way.rows
    if os.geteuid():
        rows.append(absent("fork", "everything as root", "the bench was not run by root"))
    rows += peers(row)
    rows.append(absent("fork", "criu: dump and restore", "none that works was found: Debian's 3.17 does not start on Linux 6.18"))
    return rows
