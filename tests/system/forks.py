# SPDX-License-Identifier: Apache-2.0
"""What the tests of forks share: sandboxes whose program answers lines, and clients that stay attached."""
import json
import select
import subprocess

import pytest

from conftest import SLOW
from live import PYTHON, Live, poll

# Lines of its stdin are Python expressions; `state` is a place for what they make. Answers are JSON.
PROGRAM = """
import ctypes, errno, fcntl, hashlib, json, mmap, os, random, resource, secrets, signal, socket, stat, struct, sys, threading, time
state = {}
%s
for line in sys.stdin:
    try:
        answer = eval(line)
    except BaseException as error:
        answer = repr(error)
    print(json.dumps(answer, default=str), flush=True)
"""

# 96 files that are written in every way there is, by one thread that knows what each of them has to hold by now.
WRITER = r"""
SIZE, N = 64 << 10, 96
held, value, doing, run, count = {}, [0] * N, None, True, [0] * 6
path = lambda i: '/tmp/%d' % i
def fill(at): os.makedirs('/tmp/still', exist_ok=True); open('/tmp/still/' + at, 'wb').write(os.urandom(12 << 20))
fill('first')
for i in range(N): open(path(i), 'wb').write(bytes(SIZE))
fill('last')
for i in range(8):
    with open(path(i), 'r+b') as f: held[i] = mmap.mmap(f.fileno(), SIZE)
    held[i][:] = bytes(SIZE)
opened = {i: os.open(path(i), os.O_RDWR) for i in range(8, 12)}
def brief(i, data):
    # a page that was read is written without a fault: the file's times stay
    with open(path(i), 'r+b') as f, mmap.mmap(f.fileno(), SIZE) as m:
        m[::4096]
        m[:] = data
def rewrite(i, data):
    with open(path(i), 'r+b', 0) as f: f.write(data)
def descriptor(i, data): os.pwrite(opened[i], data, 0)
def mapping(i, data): held[i][:] = data
def cut(i, data):
    os.truncate(path(i), 0); os.truncate(path(i), SIZE)
    return 0
def replace(i, data):
    open(path(i) + '.new', 'wb').write(data); os.rename(path(i) + '.new', path(i))
ways = [mapping, descriptor, brief, rewrite, cut, replace]
def work():
    global doing
    draw = random.Random(1)
    while run:
        i, v = draw.randrange(N), draw.randrange(1, 256)
        way = 0 if i < 8 else 1 if i < 12 else draw.randrange(2, 6)
        doing = i
        value[i] = v if ways[way](i, bytes([v]) * SIZE) is None else 0
        doing = None
        count[way] += 1
thread = threading.Thread(target=work, daemon=True); thread.start()
def check():
    # whose files are not what it knows; the one that was being written when the clone began is finished by then
    global run
    run = False; thread.join()
    wrong = [i for i in range(N) if open(path(i), 'rb').read() != bytes([value[i]]) * SIZE]
    run = True; globals().update(thread=threading.Thread(target=work, daemon=True)); thread.start()
    return wrong
def still(): return [hashlib.sha256(open('/tmp/still/' + n, 'rb').read()).hexdigest() for n in ('first', 'last')]
"""


class Talk:
    """A client attached to a sandbox's main command. Killed, not closed: end of input would end the program."""

    def __init__(self, box, name):
        self.name = name
        self.popen = subprocess.Popen(box.argv("attach", "-i", name), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, cwd=box.dir, env=box.environment(), bufsize=0)
        self.rest = b""

    def say(self, line):
        self.popen.stdin.write(line.encode() + b"\n")

    def line(self, seconds=10):
        while b"\n" not in self.rest:
            ready = select.select([self.popen.stdout], [], [], seconds * SLOW)[0]
            assert ready, f"{self.name} is silent"
            more = self.popen.stdout.read(65536)
            assert more, f"{self.name} is gone: {self.popen.stderr.read()}"
            self.rest += more
        answer, self.rest = self.rest.split(b"\n", 1)
        return answer.decode()

    def ask(self, expression):
        self.say(expression)
        return json.loads(self.line())

    def end(self):
        self.popen.kill()
        self.popen.communicate()


class Forks(Live):
    """The living sandboxes, clones and snapshots of one test."""

    def __init__(self, box):
        super().__init__(box)
        self.talks = {}

    def talk(self, name):
        if name not in self.talks:
            self.talks[name] = Talk(self.box, name)
        return self.talks[name]

    def hang_up(self, name):
        if name in self.talks:
            self.talks.pop(name).end()

    def program(self, setup="", *options, name=None, **more):
        """A sandbox that runs PROGRAM; returns its name when the set-up is done."""
        path = self.box.file(PROGRAM % setup, "program.py")
        name = self.start("-i", "--file", f"{path}:/home/user/program.py", *options, name=name,
                          command=[PYTHON, "-u", "/home/user/program.py"], **more)
        assert self.ask(name, "1 + 1") == 2
        return name

    def ask(self, name, expression):
        return self.talk(name).ask(expression)

    def ask_all(self, names, expression):
        return [self.ask(name, expression) for name in names]

    def fork(self, source, *words, **more):
        """Names of the clones, as printed."""
        done = self.box.call("fork", source, *words, **more).ok()
        assert done.err == "" or "-v" in words, done
        return done.out.split()

    def fork_json(self, source, *words, **more):
        return json.loads(self.box.call("fork", "--json", source, *words, **more).ok().out)

    def refused(self, *words, **more):
        """A fork that must fail: the line on stderr. Nothing is there that was not before."""
        before = self.names("-a")
        line = self.box.call("fork", *words, **more).refused()
        assert self.names("-a") == before, line
        return line

    def snapshots(self):
        return json.loads(self.box.call("snapshots", "--json").ok().out)

    def tasks(self, name):
        """pids on the host of what runs below init."""
        def below(pid):
            for child in map(int, open(f"/proc/{pid}/task/{pid}/children").read().split()):
                yield child
                yield from below(child)
        return list(below(self.init(name)))

    def end(self):
        for talk in self.talks.values():
            talk.end()
        self.talks.clear()
        super().end()
        for row in self.snapshots():
            self.box.call("snapshot", "rm", row["name"]).ok()


@pytest.fixture
def forks(box):
    forks = Forks(box)
    yield forks
    forks.end()


__all__ = ["PROGRAM", "PYTHON", "WRITER", "Forks", "Talk", "forks", "poll"]
