# SPDX-License-Identifier: Apache-2.0
"""Reseeds a clone of `cleave fork`: start the sandbox with --fork-signal USR1 and import this module first.

A clone goes on with its source's memory, so with the state of every generator in it. The signal comes when the
clone goes on; the kernel's randomness, which differs by itself, seeds the generators anew.
"""
import os
import random
import signal
import ssl
import sys


def reseed(*_):
    random.seed(os.urandom(32))
    ssl.RAND_add(os.urandom(32), 32.0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(int.from_bytes(os.urandom(4), "little"))


signal.signal(signal.SIGUSR1, reseed)
