# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets, a run of each that is the same every time: all seeds, then a fixed number of mutations from a fixed
seed, about CLEAVE_FUZZ seconds of them (1; in CI 60). `make fuzz` searches elsewhere each time. A crash that was found
and mended stays as a seed."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("CLEAVE_BUILD_FUZZ", TOP / "build-fuzz")) / "tests/fuzz"
SEEDS = Path(__file__).resolve().parent / "seeds"
SECONDS = int(os.environ.get("CLEAVE_FUZZ", "1"))
TARGETS = {  # mutations a second
    "spec": 17000, "options": 800, "arguments": 10000, "procfs": 40000, "cgroup": 20000, "subid": 60000, "elf": 50000, "ldconf": 150,
    "tar": 6500, "layer": 9500, "state": 3700, "image": 33000, "request": 4000, "reply": 8000, "profile": 16000,
    "accounts": 80000,
}


def call(target, *words, cwd):
    # The inputs of a run are ours: what it finds goes to a directory that dies with the test.
    argv = [str(BUILD / f"fuzz-{target}"), "-seed=1", "-close_fd_mask=3", "-timeout=30", "-rss_limit_mb=1024",
            f"-artifact_prefix={cwd}/", *map(str, words)]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=600 + 10 * SECONDS)


def covered(done):
    return int(re.findall(r"cov: (\d+)", done.stderr)[-1])


def test_every_target_has_a_row_and_seeds():
    sources = {p.stem for p in SEEDS.parent.glob("*.c")
               if "LLVMFuzzerTestOneInput(const" in p.read_text()}
    assert sources == set(TARGETS) == {p.name for p in SEEDS.iterdir()}
    assert all(any((SEEDS / t).iterdir()) for t in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_lead_somewhere(target, tmp_path):
    """A corpus that the code refuses at the door would make a fuzzer that tests the door."""
    nothing = call(target, "-runs=1", cwd=tmp_path)
    seeds = call(target, "-runs=0", SEEDS / target, cwd=tmp_path)
    assert nothing.returncode == 0 == seeds.returncode, seeds.stderr[-3000:]
    least = min(1.3 * covered(nothing) + 20, 2 * covered(nothing))  # the latter for small parsers
    assert covered(seeds) > least, (covered(nothing), covered(seeds))


@pytest.fixture(scope="module")
def mutated(request, tmp_path_factory):
    """{target: the run that has begun}, as many at a time as there are processors."""
    def mutate(target):
        cwd = tmp_path_factory.mktemp(target)
        (cwd / "corpus").mkdir()
        return cwd, call(target, f"-runs={TARGETS[target] * SECONDS}", cwd / "corpus", SEEDS / target, cwd=cwd)

    wanted = [item.callspec.params["target"] for item in request.session.items if "mutated" in item.fixturenames]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {target: pool.submit(mutate, target) for target in wanted}


@pytest.mark.parametrize("target", TARGETS)
def test_mutations(target, mutated):
    cwd, done = mutated[target].result()
    found = [p.read_bytes() for p in cwd.iterdir() if p.is_file()]
    assert done.returncode == 0 and not found, f"{found}\n{done.stderr[-4000:]}"
    assert "DONE" in done.stderr
