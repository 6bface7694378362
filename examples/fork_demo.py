#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""fork_demo.py CLEAVE [COUNT]: a sandbox loads a data frame once and is forked COUNT times while it runs; each
clone answers a different question. The times stand beside what COUNT cold starts cost (three are measured)."""
import json
import subprocess
import sys
import time
from pathlib import Path

CLEAVE = sys.argv[1]
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 20
FRAME = Path(__file__).resolve().parent / "frame.py"
NAME = "demo-frame"
COLD = 3


def cleave(*words):
    return subprocess.run([CLEAVE, *words], check=True, capture_output=True, text=True).stdout


def question(number):
    return f"round(float(df[df.shop == {number % 20}].price.sum()), 2)\n"


def attach(name):
    return subprocess.Popen([CLEAVE, "attach", "-i", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(client, number):
    client.stdin.write(question(number))
    client.stdin.flush()
    return client.stdout.readline().strip()


def cold(number):
    began = time.monotonic()
    done = subprocess.run([CLEAVE, "run", "--file", f"{FRAME}:/home/user/frame.py", "python3", "frame.py"],
                          input=question(number), check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1], time.monotonic() - began


def wait_until_loaded():
    deadline = time.monotonic() + 60
    while "loaded" not in cleave("logs", NAME):
        if time.monotonic() > deadline:
            sys.exit("the data frame was not loaded in a minute")
        time.sleep(0.05)


def forks():
    began = time.monotonic()
    answer = json.loads(cleave("fork", NAME, "-n", str(COUNT), "--json"))
    forked = time.monotonic() - began
    names = [c["name"] for c in answer["clones"]]
    clients = [attach(name) for name in names]
    answers = [ask(client, i) for i, client in enumerate(clients)]
    answered = time.monotonic() - began
    source = attach(NAME)
    own = ask(source, 0)
    for client in clients + [source]:
        client.kill()
        client.wait()
    return answer, forked, answered, answers, own, names


def main():
    cleave("start", "-i", "--file", f"{FRAME}:/home/user/frame.py", NAME, "python3", "-u", "frame.py")
    names = []
    try:
        wait_until_loaded()
        answer, forked, answered, answers, own, names = forks()
        runs = [cold(i) for i in range(COLD)]
    finally:
        cleave("rm", "-f", NAME, *names)
    for number, (text, _) in enumerate(runs):
        if text != answers[number]:
            sys.exit(f"clone {number} said {answers[number]}, a cold start says {text}")
    if own != answers[0]:
        sys.exit(f"the source says {own} now, its clone said {answers[0]}")
    mean = sum(seconds for _, seconds in runs) / COLD
    memory = answer["memory"]
    print(f"  source stopped for              {answer['source']['paused_ns'] / 1e6:8.1f} ms "
          f"({memory['processes']} process, {memory['threads']} threads, {memory['bytes'] >> 20} MiB captured)")
    print(f"  {COUNT} clones made                  {forked * 1e3:8.1f} ms")
    print(f"  {COUNT} different questions answered {answered * 1e3:8.1f} ms")
    print(f"  {COUNT} cold starts would take       {mean * COUNT * 1e3:8.1f} ms ({mean * 1e3:.0f} ms each, {COLD} measured)")
    print(f"  clone 1 says {answers[1]}, clone {COUNT - 1} says {answers[-1]}; the first {COLD} agree with cold starts")


main()
