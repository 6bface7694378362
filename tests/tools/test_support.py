# SPDX-License-Identifier: Apache-2.0
"""tools/gen-support: the page says what the results say, and results that contradict it are noticed."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
HERE, OLDER = "Linux 9.9, cgroup v2, user", "Linux 8.1, cgroup v1, user"
ENDS = {"passed": "", "failed": "<failure/>", "skipped": '<skipped message="feature: no\n such call"/>',
        "aside": '<skipped message="musl-tools is not installed"/>',
        "differs": '<properties><property name="differs" value="no cgroup: refused"/></properties>'}


def results(path, environment=HERE, **ends):
    """The JUnit file of a lane `system` in which each file NAME=END has one case of the user's."""
    cases = "".join(f'<testcase classname="tests.system.test_{name}" name="test_it[user]">{ENDS[end]}<properties>'
                    f'<property name="who" value="user"/></properties></testcase>' for name, end in ends.items())
    cases = cases.replace("</properties><properties>", "")
    path.write_text(f'<testsuites><testsuite><properties><property name="user" value="{environment}"/></properties>'
                    f"{cases}</testsuite></testsuites>")
    return path


def support(*words):
    return subprocess.run([TOP / "tools/gen-support", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.fixture
def page(tmp_path):
    """Of two environments: in both --bin works, --root was not tried, limits differ from root's here."""
    path = tmp_path / "page.md"
    for environment in (OLDER, HERE):
        seen = results(tmp_path / "first.xml", environment, bin="passed", limits="differs", limits_more="passed")
        assert support("--page", path, seen).returncode == 0
    return path


def row(page, title):
    line, = [l for l in page.read_text().splitlines() if l.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_page(page, tmp_path):
    assert row(page, "what") == [HERE, OLDER]
    assert row(page, "`--bin`") == ["yes", "yes"] and row(page, "`--root DIR`") == ["", ""]
    assert row(page, "limits") == ["part (1)", "part (1)"]
    assert page.read_text().endswith("\n1. no cgroup: refused\n")
    text = page.read_text()
    assert support("--page", page).returncode == 0 and page.read_text() == text
    support("--page", page, results(tmp_path / "new.xml", OLDER, bin="skipped", root="skipped", limits="passed"))
    assert row(page, "`--bin`") == ["yes", ""] and row(page, "limits") == ["part (1)", "part (2)"]
    assert page.read_text().endswith("\n1. no cgroup: refused\n2. not tried: tests/system/test_limits_more\n")


@pytest.mark.parametrize("ends, complaint", [
    ({"bin": "passed", "limits": "differs", "limits_more": "passed"}, None),
    ({"bin": "failed", "limits": "passed", "limits_more": "passed"}, "`--bin`: fails: tests/system/test_bin.py::test_it"),
    ({"bin": "skipped", "limits": "passed", "limits_more": "passed"}, "`--bin`: none of its tests ran"),
    ({"bin": "aside", "limits": "passed", "limits_more": "passed"}, "`--bin`: none of its tests ran"),
    ({"limits": "passed", "limits_more": "passed"}, "`--bin`: none of its tests ran"),
])
def test_contradictions(page, tmp_path, ends, complaint):
    done = support("--check", "--page", page, results(tmp_path / "last.xml", HERE, **ends))
    assert done.stdout == (f"page.md: {HERE}: {complaint}\n" if complaint else "")
    assert done.returncode == bool(complaint)


@pytest.mark.parametrize("ends, told", [
    ({"bin": "passed", "root": "failed", "limits": "passed", "limits_more": "aside"},
     "limits: not tried: tests/system/test_limits_more"),
    ({"bin": "passed", "limits": "passed", "limits_more": "skipped"}, "limits: not tried: tests/system/test_limits_more"),
    ({"bin": "differs", "limits": "passed", "limits_more": "passed"}, "`--bin`: no cgroup: refused"),
])
def test_a_page_that_is_old(page, tmp_path, ends, told):
    """What the machine of the last results lacks is no fault of the page's."""
    done = support("--check", "--page", page, results(tmp_path / "last.xml", HERE, **ends))
    assert (done.returncode, done.stdout) == (0, f"page.md is older than these results: {HERE}: {told}\n")


def test_what_is_no_contradiction(page, tmp_path):
    """Another kernel; another lane; nothing at all."""
    newer = results(tmp_path / "a.xml", "Linux 10.1, cgroup v2, user", bin="failed")
    assert support("--check", "--page", page, newer).returncode == 0
    other = results(tmp_path / "b.xml", HERE, bin="failed")
    other.write_text(other.read_text().replace("tests.system", "tests.elsewhere"))
    assert support("--check", "--page", page, other).returncode == 0
    assert support("--check", "--page", page).returncode == 0


def test_claims_about_the_guest(tmp_path):
    """What the VM lane no longer runs is noticed without it."""
    for name in ("tools/gen-support", "docs/SUPPORT.md", "tests/vm/selection"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tmp_path / name)
    check = [tmp_path / "tools/gen-support", "--check"]
    assert subprocess.run(check, check=False).returncode == 0
    selection = tmp_path / "tests/vm/selection"
    lines = selection.read_text().splitlines()
    taken, = [line for line in lines if line.startswith("run tests/system/test_bad_input.py v2")]
    selection.write_text("\n".join(line for line in lines if line != taken))
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "user, delegated: what can't be done is refused in one sentence: selection has no test of it" in done.stdout


def test_a_page_that_was_written_by_hand(page):
    page.write_text(page.read_text().replace("| `--root DIR` |  |", "| `--root DIR` | works |"))
    done = support("--check", "--page", page)
    assert done.returncode == 1 and "not as tools/gen-support makes it" in done.stdout


def test_real_results(tmp_path):
    """What tests/conftest.py writes is what is read: a case that ends differently for a user without cgroups."""
    seen = tmp_path / "real.xml"
    case = "tests/system/test_limits.py::test_tiny_memory_is_clear"
    pytest_argv = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1",
                   f"--junitxml={seen}", case]
    subprocess.run(pytest_argv, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=240, check=True)
    assert support("--page", tmp_path / "page.md", seen).returncode == 0
    columns = dict(zip(row(tmp_path / "page.md", "what"), row(tmp_path / "page.md", "limits")))
    users, = [cell for environment, cell in columns.items() if ", user" in environment]
    assert len(users.split(",")) == 2 and ". no cgroup: " in (tmp_path / "page.md").read_text()  # and the other file's absence
    assert [cell for environment, cell in columns.items() if ", root" in environment] == ["part (1)"] * (os.geteuid() == 0)
