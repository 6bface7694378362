# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: they build, say what is in them, and come out the same twice."""
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent


def run(*argv, **more):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, **more)


def build(directory):
    done = run(TOP / "tools/package", directory, env=dict(os.environ, DEB_BUILD_OPTIONS=f"parallel={os.cpu_count()}"))
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return build(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """What the three packages put into a root."""
    root = tmp_path_factory.mktemp("root")
    for package in packages.glob("*.deb"):
        if "dbgsym" not in package.name:
            assert run("dpkg-deb", "-x", package, root).returncode == 0
    return root


def test_lintian_has_nothing_to_say(packages):
    done = run("lintian", "--allow-root", "--fail-on", "error,warning", next(packages.glob("*.changes")))
    assert done.returncode == 0 and done.stdout == "", done.stdout


def test_the_same_sources_make_the_same_packages(packages, tmp_path_factory):
    """Built again in a directory with another name, at another time."""
    again = build(tmp_path_factory.mktemp("another-place-with-a-longer-name"))

    def sums(directory):
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.glob("*.deb")}
    assert len(sums(packages)) >= 3 and sums(packages) == sums(again)


def test_program_and_documents(installed):
    cleave = installed / "usr/bin/cleave"
    assert run(cleave, "run", "echo", "inside").stdout == "inside\n"
    assert run("file", cleave).stdout.count("statically linked") == 1
    for name in ("man/man1/cleave.1.gz", "man/man3/cleave.3.gz", "bash-completion/completions/cleave",
                 "zsh/vendor-completions/_cleave"):
        assert (installed / "usr/share" / name).stat().st_size > 1000
    profile = (installed / "usr/share/cleave/apparmor").read_text()
    assert "profile cleave /usr/bin/cleave " in profile and "userns," in profile


def test_what_is_linked_statically_is_listed(installed):
    sbom = json.loads((installed / "usr/share/cleave/cleave.spdx.json").read_text())
    linked = {r["relatedSpdxElement"] for r in sbom["relationships"] if r["relationshipType"] == "STATIC_LINK"}
    assert linked == {"SPDXRef-jansson", "SPDXRef-libseccomp", "SPDXRef-musl"}
    for package in sbom["packages"]:
        assert package["versionInfo"][0].isdigit() and package["licenseDeclared"] in ("Apache-2.0", "MIT", "LGPL-2.1-only")
    symbols = run("nm", TOP / "build/cleave").stdout
    assert " T json_loads\n" in symbols and " T seccomp_init\n" in symbols


def test_a_program_that_uses_the_library(installed, tmp_path):
    lib = installed / "usr/lib/x86_64-linux-gnu"
    env = dict(os.environ, PKG_CONFIG_PATH=str(lib / "pkgconfig"), PKG_CONFIG_SYSROOT_DIR=str(installed),
               LD_LIBRARY_PATH=str(lib), PATH=f"{installed}/usr/bin:{os.environ['PATH']}", CLEAVE_STATE=str(tmp_path))
    flags = run("pkg-config", "--cflags", "--libs", "libcleave", env=env)
    assert flags.returncode == 0, flags.stderr
    done = run("cc", "-o", tmp_path / "api", TOP / "examples/api.c", *flags.stdout.split())
    assert done.returncode == 0, done.stderr
    done = run(tmp_path / "api", env=env)
    assert done.returncode == 0 and "42\n" in done.stdout, done
