# SPDX-License-Identifier: Apache-2.0
"""Group B: what a sandbox leaves for --out, which takes it out with the caller's rights."""
import os
import threading

import pytest
from conftest import PYTHON

SECRET = "the caller's own\n"


@pytest.mark.parametrize("leave", [
    "ln -s {secret} r", "ln -s ../../../../../../{secret} r", "ln -s /etc/passwd r", "mkfifo r", "mkdir r; mkfifo r/x",
    f"{PYTHON} -c \"import socket; socket.socket(socket.AF_UNIX).bind('r')\"", "mkdir r; ln -s {secret} r/x",
    "ln -s / up; ln -s /etc r"], ids=["link", "relative", "inside", "fifo", "fifo-below", "socket", "link-below", "directory"])
def test_b24_links_and_nodes_left_for_out(box, leave):
    """Refused by name, and nothing of the kind is made outside."""
    here, secret = box.directory(), box.file(SECRET)
    done = box.result("--out", f"/home/user/r:{here}/r", "/bin/sh", "-c", leave.format(secret=secret))
    assert done.status == 125 and done.result["out"][0]["error"], done
    for path, directories, files in os.walk(here):
        assert not files and not any(os.path.islink(os.path.join(path, d)) for d in directories), (path, files)


@pytest.mark.parametrize("inside", ["/home/user/way/passwd", "/proc/self/root/etc/passwd", "/proc/1/environ", "/dev/null", "/dev/fd/0"])
def test_b24_a_way_through_links_or_the_kernel(box, inside):
    here = box.directory()
    done = box.result("--out", f"{inside}:{here}/r", "/bin/sh", "-c", "ln -s /etc way")
    assert done.status == 125 and done.result["out"][0]["error"], done
    assert not (here / "r").exists()


@pytest.mark.parametrize("planted", ["link", "fifo", "directory"])
def test_b24_the_place_outside_is_a_trap(box, planted):
    """HOST lies where another sandbox may write: what stands there is not written through."""
    here, secret = box.directory(), box.file(SECRET)
    if planted == "link":
        (here / "r").symlink_to(secret)
    elif planted == "fifo":
        os.mkfifo(here / "r")
    else:
        (here / "d").symlink_to(secret.parent)
    target = "d/f" if planted == "directory" else "r"
    done = box.result("--out", f"/home/user/r:{here}/{target}", "/bin/sh", "-c", "echo mine >r")
    assert secret.read_text() == SECRET
    assert done.status == 125 and done.result["out"][0]["error"], done


def test_b25_file_replaced_by_a_link_meanwhile(box):
    """In a directory of the host that somebody else goes on changing: a file or nothing, never what a link leads to."""
    shared, here, secret = box.directory(), box.directory(), box.file(SECRET)
    over = threading.Event()

    def swap():
        while not over.is_set():
            (shared / "new").write_text("a file\n")
            os.rename(shared / "new", shared / "r")
            (shared / "new").symlink_to(secret)
            os.rename(shared / "new", shared / "r")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for i in range(30):
            box.run("--rw", f"{shared}:/mnt", "--out", f"/mnt/r:{here}/{i}", "/bin/true")
    finally:
        over.set()
        swapper.join()
    seen = list(here.iterdir())
    assert all(not p.is_symlink() and p.read_text() in ("a file\n", "") for p in seen), seen
