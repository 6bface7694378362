# SPDX-License-Identifier: Apache-2.0
"""An ordinary user with subordinate ids of its own, whatever the host's /etc/subuid says."""
import contextlib
import os
from pathlib import Path

import pytest

FIRST = 3000000  # of the ids that the tests give to the ordinary user
NEWUIDMAP = Path("/usr/bin/newuidmap")
# Files over /etc/subuid and /etc/subgid in a mount namespace that ends with the program.
COVER = 'mount --bind "$1" /etc/subuid && mount --bind "$2" /etc/subgid && shift 2 && exec "$@"'


@contextlib.contextmanager
def subids(box, uids, gids=None):
    """The calls of this box in between see these lines of /etc/subuid and /etc/subgid."""
    if os.geteuid():
        pytest.skip("pytest runs as an ordinary user")
    files = [box.file(text, name) for name, text in (("subuid", uids), ("subgid", uids if gids is None else gids))]
    before = box.prefix
    box.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", COVER, "sh", *map(str, files), *before]
    try:
        yield box
    finally:
        box.prefix = before


@pytest.fixture
def ranged(box):
    """Root, or the ordinary user with a range of its own."""
    if not box.is_user:
        yield box
        return
    if not NEWUIDMAP.exists():
        pytest.skip("uidmap is not installed")
    with subids(box, f"{box.uid}:{FIRST}:65536\n"):
        yield box
