# SPDX-License-Identifier: Apache-2.0
"""A pipeline of bash."""
import pytest

from real import FEW, forks, in_the_middle, load, tally  # noqa: F401

pytestmark = pytest.mark.slow


def test_bash_pipeline(forks, tally):
    script = "for i in $(seq 1 12000); do echo $(( (i * 7919) % 100003 )) $i; test $((i % 100)) != 0 || echo $i >> /tmp/progress; done " \
             "| tee /tmp/all | while read a b; do echo $a $((b * 3)); done | sort -n | awk '{ s += $1 * NR; print s }' | md5sum; " \
             "cat /tmp/all /tmp/progress | md5sum"
    assert in_the_middle(forks, tally, script) * 2 >= FEW
