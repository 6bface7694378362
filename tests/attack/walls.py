# SPDX-License-Identifier: Apache-2.0
"""The open half of an attack: the same in the development build with the named walls down."""
from conftest import BUILD_DEV


def without(*walls):
    """Arguments for Box.call: the development build without these (src/raw/without.h)."""
    assert BUILD_DEV.exists(), f"{BUILD_DEV} is not built"
    return {"dev": True, "env": {"CLEAVE_TEST_WITHOUT": ",".join(walls)}}


# The workload, called by --user root, keeps every right in its own user namespace.
RIGHTS = ("row:BOUNDING_SET", "row:INIT_CAPS", "row:INIT_IDS", "row:DROP_CAPS", "row:UID", "row:GID", "row:GROUPS")
NO_NEW_PRIVS = ("row:INIT_NO_NEW_PRIVS", "row:NO_NEW_PRIVS")
