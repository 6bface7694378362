# SPDX-License-Identifier: Apache-2.0
"""Sources that do all they can while they are captured, by the command line: each fork is made or refused by name, and
keeper and neighbours go on. What the engine does with more of them is proved in tests/fork.
"""
import subprocess
import sys

import pytest

from conftest import TOP
from forks import forks  # noqa: F401

sys.path.insert(0, str(TOP / "tests/fork"))

from test_engine import HOSTILE, TAKEN_AWAY  # noqa: E402

CASES = {
    **HOSTILE,
    "many mappings": "m = [mmap.mmap(-1, 4096, flags=0x22, prot=1 if i & 1 else 3) for i in range(30000)]\nwhile True: time.sleep(1)",
    "ends at any moment": "while True:\n    c = os.fork()\n    if not c: time.sleep(0.002); os.kill(os.getpid(), 9)\n    os.waitpid(c, 0)",
}
STEP = "[state.update(n=state['n'] + 1), 'its child has ended' if 'child' in state and state['child'].poll() is not None else state['n']][1]"


def forked_again_and_again(forks, a, neighbour):
    """Source and neighbour answer meanwhile, so do the clones, and no keeper is another one. Why each fork was refused;
    None for those that were made."""
    keepers, why = [forks.keeper(a), forks.keeper(neighbour)], []
    for i in range(1, 4):
        done = forks.call("fork", a, "-n", "2")
        why.append(done.refused() if done.status else None)
        if done.status:
            assert "capture." in why[-1] and ("process" in why[-1] or "thread" in why[-1]), why
        else:
            clones = done.out.split()
            assert forks.ask_all(clones, STEP) == [i] * 2
            for name in clones:
                forks.hang_up(name)
            forks.call("rm", "-f", *clones).ok()
        assert forks.ask_all([a, neighbour], STEP) == [i] * 2
        assert [forks.keeper(a), forks.keeper(neighbour)] == keepers
        assert [forks.state(a), forks.state(neighbour)] == ["running"] * 2
        forks.usable(neighbour)
    return why


@pytest.mark.parametrize("case", CASES)
def test_hostile_source(forks, case):
    body = "\n".join("    " + line for line in CASES[case].splitlines())
    neighbour = forks.program("state['n'] = 0")
    a = forks.program(f"state['n'] = 0\nif os.fork() == 0:\n{body}\n    os._exit(9)\ntime.sleep(0.05)")
    forked_again_and_again(forks, a, neighbour)


@pytest.mark.parametrize("mode", ["no stack", "stack elsewhere", "stack in the vdso", "no vdso", "damaged vdso", "nothing mapped", "no memory"])
def test_a_source_without_what_a_tracer_needs(forks, mode):
    """Stack pointer, vdso or memory of its child are not what they should be: the child goes on as it was, in clones too."""
    program = forks.box.directory("program") / "hostile"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, TOP / "tests/fork/programs/hostile.c"], check=True)
    program.chmod(0o755)
    neighbour = forks.program("state['n'] = 0")
    a = forks.program(f"""
import subprocess
state['n'] = 0; off = dict(GLIBC_TUNABLES="glibc.pthread.rseq=0")  # the kernel ends who unmaps what it writes to
state['child'] = p = subprocess.Popen(['/opt/hostile', {mode!r}], env=off, stdout=subprocess.PIPE); said = p.stdout.readline().decode()
""", "--ro", f"{program}:/opt/hostile")
    if forks.ask(a, "said") != "ready\n":
        pytest.skip(f"{mode}: this kernel does not let it")
    why, word = forked_again_and_again(forks, a, neighbour), TAKEN_AWAY[mode]
    if word:
        assert all(why) and all(word in line and "process 3" in line for line in why), why
    else:
        assert why == [None] * 3
