# SPDX-License-Identifier: Apache-2.0
"""The generators and the checks: what is generated is well-formed, and what is wrong is found."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

TOP = Path(__file__).resolve().parent.parent.parent
CLEAVE = TOP / "build" / "cleave"


def run(*argv, **more):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **more)


@pytest.fixture(scope="module")
def dump():
    return json.loads(run(CLEAVE, "help", "--dump").stdout)


# ---- help, manual page, completion ----

def test_help_fits_80_columns_and_lists_every_option(dump):
    for verb in dump["verbs"]:
        text = run(CLEAVE, "help", verb["name"]).stdout
        assert text == run(CLEAVE, verb["name"], "--help").stdout
        assert max(map(len, text.splitlines())) <= 80
        known = {o["name"] for o in dump["options"] if verb["name"] in o["verbs"]}
        for option in dump["options"]:
            shown = re.search(rf"^  .{{3}} --{option['name']}(?![\w-])", text, flags=re.M)
            assert bool(shown) == (option["name"] in known), (verb["name"], option["name"])


def test_manual_page_is_well_formed_and_complete(dump):
    env = dict(os.environ, MANWIDTH="200", LC_ALL="C.UTF-8", MANROFFOPT="-ww")
    page = run("man", "-l", "--warnings", TOP / "build/man/cleave.1", env=env)
    assert page.returncode == 0
    assert page.stderr == ""
    for verb in dump["verbs"]:
        assert verb["examples"], verb["name"]
        for example in verb["examples"]:
            assert example["command"] in page.stdout
    for option in dump["options"]:
        assert re.search(rf"--{option['name']}\b", page.stdout), option["name"]
    for verb in dump["verbs"]:
        assert f"cleave {verb['name']} [OPTION...]" in page.stdout


def test_manual_page_of_the_library():
    """Well-formed, and every function of the header stands in it with a text of its own."""
    env = dict(os.environ, MANWIDTH="400", LC_ALL="C.UTF-8", MANROFFOPT="-ww")
    page = run("man", "-l", "--warnings", TOP / "build/man/cleave.3", env=env)
    assert page.returncode == 0
    assert page.stderr == ""
    synopsis, description = page.stdout.split("\nDESCRIPTION\n")
    declared = set(re.findall(r"\b(cleave_\w+)\(", (TOP / "include/cleave/cleave.h").read_text())) - {"cleave_keeper_main"}
    assert set(re.findall(r"\b(cleave_\w+)\(", synopsis)) == declared
    for name in declared:
        assert re.search(rf"^ {{7}}\S[^\n]*\b{name}\([^\n]*\n(\n {{7}}\S[^\n]*\(.*\n)* {{11}}\S", description, flags=re.M), name


def test_examples_work(dump, tmp_path):
    """All of them, as one session of a new user in a directory of his own."""
    (tmp_path / "Makefile").write_text("all: ; cp input output\n")
    (tmp_path / "input").write_text("a line\n")
    (tmp_path / "solution").write_text("#!/bin/sh\nwc -l\n")
    (tmp_path / "solution").chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    env = dict(os.environ, PATH=f"{CLEAVE.parent}:{os.environ['PATH']}", CLEAVE_STATE=str(state))
    status = {"cleave run --json=result.json sh -c 'exit 3'": 3, "cleave doctor": (0, 1), "cleave doctor --json": (0, 1)}
    try:
        for command in dump["session"]:
            done = run("bash", "-c", command, cwd=tmp_path, env=env)
            want = status.get(command, 0)
            assert done.returncode in (want if isinstance(want, tuple) else (want,)), (command, done.stdout, done.stderr)
    finally:
        left = [one["name"] for one in json.loads(run(CLEAVE, "ps", "--all", "--json", env=env).stdout)]
        if left:
            run(CLEAVE, "rm", "--force", *left, env=env)
    assert sorted(left) == ["worker-2", "worker-3"]
    assert (tmp_path / "note").read_text() == "kept\n"


def complete(*words):
    """What bash offers for the last word."""
    script = f"""
        source {TOP}/build/completion/cleave
        complete -p cleave >/dev/null || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cleave
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = run("bash", "-c", script, "bash", *words)
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.split()


def test_completion(dump, tmp_path):
    assert run("bash", "-n", TOP / "build/completion/cleave").returncode == 0
    assert complete("cleave", "") == [v["name"] for v in dump["verbs"]]
    assert complete("cleave", "ru") == ["run"]
    assert complete("cleave", "run", "--mem") == ["--memory"]
    assert complete("cleave", "run", "-m", "64M", "--time") == ["--timeout"]
    assert complete("cleave", "run", "--bind", "/a", "/b", "--time") == ["--timeout"]
    assert complete("cleave", "run", "-m", "") == []
    (tmp_path / "only-this").touch()
    assert complete("cleave", "run", "--env-file", f"{tmp_path}/") == [f"{tmp_path}/only-this"]
    assert "bash" in complete("cleave", "run", "--rm", "bas")
    assert complete("cleave", "run", "true", f"{tmp_path}/on") == [f"{tmp_path}/only-this"]
    assert complete("cleave", "help", "exp") == ["explain"]
    assert complete("cleave", "help", "run", "") == []
    assert "bash" in complete("cleave", "exec", "any", "--", "bas")
    assert "bash" in complete("cleave", "start", "any", "bas")
    assert complete("cleave", "doctor", "--") == ["--json", "--help"]


@pytest.fixture
def zsh(tmp_path):
    """zsh(line): what becomes of the line when it is completed in an interactive zsh."""
    child = pexpect.spawn("zsh", ["-f", "-i"], env=dict(os.environ, TERM="dumb"), encoding="utf-8", timeout=60,
                          dimensions=(40, 200))
    child.sendline(f"fpath=({TOP}/build/completion $fpath); PATH={tmp_path}:$PATH; autoload -Uz compinit; "
                   f"compinit -u -d {tmp_path}/dump; unsetopt auto_menu list_beep beep prompt_cr; "
                   "shown() { zle complete-word; print -r -- \"<$BUFFER>\"; zle kill-whole-line; }; "
                   "zle -N shown; bindkey '^T' shown; print -r -- '<re''ady>'")
    child.expect("<ready>")

    def complete(line):
        child.send(line + "\x14")
        child.expect("<([^>\r\n]*)>")
        return child.match[1]
    yield complete
    child.close(force=True)


def test_completion_for_zsh(zsh, tmp_path):
    assert run("zsh", "-n", TOP / "build/completion/_cleave").returncode == 0
    (tmp_path / "only-this").touch()
    program = tmp_path / "cleave"
    program.write_text("#!/bin/sh\necho 'NAME  ID'\necho 'other 2'\n")
    program.chmod(0o755)
    assert zsh("cleave expl") == "cleave explain "
    assert zsh("cleave run --mem") == "cleave run --memory="
    assert zsh("cleave run -m 64M --nof") == "cleave run -m 64M --nofile="
    assert zsh(f"cleave run --env-file {tmp_path}/on") == f"cleave run --env-file {tmp_path}/only-this "
    assert zsh(f"cleave run --bind / /b --ro {tmp_path}/on") == f"cleave run --bind / /b --ro {tmp_path}/only-this "
    assert zsh("cleave run --rm base3") == "cleave run --rm base32 "
    assert zsh("cleave exec -i ot") == "cleave exec -i other "
    assert zsh("cleave help snapshots") == "cleave help snapshots "


def test_completion_of_sandboxes(tmp_path):
    program = tmp_path / "cleave"
    program.write_text("#!/bin/sh\necho 'NAME  ID'\necho 'one   1'\necho 'other 2'\n")
    program.chmod(0o755)
    assert complete(program, "exec", "o") == ["one", "other"]
    assert complete(program, "stop", "one", "ot") == ["other"]
    assert complete(program, "inspect", "one", "ot") == []


# ---- the public header and library ----

@pytest.mark.parametrize("compiler", ["gcc -std=c11", "g++ -std=c++11", "clang -std=c11"])
def test_public_header_alone(compiler, tmp_path):
    language = "c++" if "++" in compiler else "c"
    source = tmp_path / "user.c"
    source.write_text("#include <cleave/cleave.h>\nint main(void) { return cleave_error_status(); }\n")
    done = run(*compiler.split(), "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language, "-fsyntax-only",
               f"-I{TOP}/include", source)
    assert done.returncode == 0, done.stderr


def test_library_exports_the_public_header_and_no_more():
    declared = set(re.findall(r"\b(cleave_\w+)\(", (TOP / "include/cleave/cleave.h").read_text()))
    table = run("nm", "-D", "--defined-only", TOP / "build/libcleave.so").stdout
    exported = {line.split()[2].split("@")[0] for line in table.splitlines() if line.split()[1] != "A"}
    assert exported == declared


@pytest.mark.parametrize("library", ["libcleave.so", "libcleave.a"])
def test_program_with_the_library(library, tmp_path):
    """Outside of our build, with what `make` leaves behind."""
    source, program = tmp_path / "user.c", tmp_path / "user"
    source.write_text("#include <cleave/cleave.h>\n#include <stdio.h>\n"
                      "int main(void) { cleave_spec *s = cleave_spec_new();\n"
                      "int r = cleave_spec_set(s, \"memory\", \"1q\"); cleave_spec_free(s);\n"
                      "printf(\"%s %d %s\", cleave_version(), r < 0, cleave_error_id()); return 0; }\n")
    more = [] if library.endswith(".so") else ["-ljansson", "-lseccomp"]
    done = run("gcc", f"-I{TOP}/include", "-o", program, source, TOP / "build" / library,
               f"-Wl,-rpath,{TOP}/build", *more)
    assert done.returncode == 0, done.stderr
    assert run(program).stdout == run(CLEAVE, "version").stdout.split()[1] + " 1 usage"


# ---- the checks find what they are for ----

@pytest.fixture
def tree(tmp_path):
    """A small copy of the sources, without git, in which something can be wrong."""
    for name in ("src/base", "src/cli", "tools"):
        shutil.copytree(TOP / name, tmp_path / name)
    shutil.copy(TOP / ".clang-format", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("```console\n$ true\n```\n")
    return tmp_path


def layers(tree):
    return run(tree / "tools/check-layers", tree)


@pytest.mark.parametrize("path, line, complaint", [
    ("src/base/err.c", '#include "spec/spec.h"', "base (level 1) includes"),
    ("src/spec/bad.h", '#include "image/image.h"', "spec (level 2) includes"),
    ("src/cli/main.c", '#include "spec/spec.h"', "may include only base, cli"),
    ("src/raw/new.c", "#include <stdio.h>", "raw is freestanding"),
    ("src/kern/bad.c", "#include <cleave/cleave.h>", "may not use the public header"),
    ("src/base/err.c", '#include "text.h"', "give the path"),
    ("src/base/err.c", '#include "attic/text.h"', "no room attic"),
    ("src/base/err.c", "#ifdef __x86_64__", "one processor"),
    ("src/attic/new.c", "int x;", "no room attic"),
])
def test_check_layers_finds(tree, path, line, complaint):
    assert layers(tree).returncode == 0
    file = tree / path
    file.parent.mkdir(exist_ok=True)
    file.write_text((file.read_text() if file.exists() else "") + line + "\n")
    done = layers(tree)
    assert done.returncode == 1
    assert complaint in done.stdout


def check(tree, name):
    return run(tree / "tools/check", "--build", TOP / "build", name)


LONG = "/* SPDX-License-Identifier: Apache-2.0 */\nint f(void)\n{\n" + "\tg();\n" * 81 + "}\n"


@pytest.mark.parametrize("name, path, text, complaint", [
    ("format", "src/base/new.c", "int  x;\n", "not formatted"),
    ("banned", "src/base/new.c", "void f(char *s)\n{\n\tstrcpy(s, \"x\");\n}\n", "strcpy() is banned"),
    ("banned", "src/base/new.c", "int f(void)\n{\n\treturn open(\"/x\", 0);\n}\n", "open() without CLOEXEC"),
    ("banned", "src/base/new.c", "void f(int fd)\n{\n\t(void)kill(fd, 9);\n}\n", "(void)kill()"),
    ("length", "src/base/new.c", LONG, "src/base/new.c:f: 81 lines"),
    ("length", "src/base/new.h", "\n" * 501, "src/base/new.h: 501 lines"),
    ("spdx", "src/base/new.c", "int x;\n", "no SPDX line"),
    ("links", "docs/NEW.md", "[here](nowhere.md)\n", "leads nowhere"),
    ("options", "docs/NEW.md", "`cleave run --no-such-thing x`\n", "no option --no-such-thing"),
    ("options", "docs/NEW.md", "`cleave nosuchverb`\n", "no verb `cleave nosuchverb`"),
    ("console", "README.md", "```console\n$ echo one\ntwo\n```\n", "$ echo one"),
    ("console", "README.md", "nothing is shown\n", "no ```console block"),
])
def test_check_finds(tree, name, path, text, complaint):
    if path != "README.md":
        done = check(tree, name)
        assert done.returncode == 0, done.stdout
    (tree / path).write_text(text)
    done = check(tree, name)
    assert done.returncode == 1
    assert complaint in done.stdout


def test_generated_documents_are_told_apart(tree):
    for name in ("src/kern/probe.def", "src/box/launch.def", "src/engine/state.def", "tests/vm/selection"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tree / name)
    assert run(tree / "tools/gen-docs").returncode == 0 == run(tree / "tools/gen-support").returncode
    assert "`openat2`" in (tree / "docs/KERNEL.md").read_text()
    assert "`pivot`" in (tree / "docs/LAUNCH.md").read_text()
    assert check(tree, "generated").returncode == 0
    (tree / "docs/KERNEL.md").write_text("older\n")
    done = check(tree, "generated")
    assert done.returncode == 1
    assert "docs/KERNEL.md" in done.stdout


def test_console_wildcards(tree):
    (tree / "README.md").write_text("```console\n$ seq 5\n1\n...\n5\n$ echo took 12 ms\ntook ... ms\n$ false; echo $?\n1\n```\n")
    done = check(tree, "console")
    assert done.returncode == 0, done.stdout


# ---- ends of the program that need no sandbox ----

def test_closed_standard_descriptors():
    """They become /dev/null, so nothing that is opened later takes their numbers."""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = run("bash", "-c", f"exec {closed}; exec {CLEAVE} run --json=/nonexistent/x true")
        assert done.returncode == 125


@pytest.mark.parametrize("verb", ["help", "version"])
def test_output_that_does_not_arrive(verb):
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    ends = [run("bash", "-c", f"{CLEAVE} {verb} >/dev/full"), run("bash", "-c", f"{CLEAVE} {verb} >&-"),
            subprocess.run([CLEAVE, verb], stdout=write_fd, stderr=subprocess.PIPE, text=True, timeout=60)]
    os.close(write_fd)
    for done in ends:
        assert done.returncode == 125
        assert re.fullmatch(rf"cleave {verb}: stdout: the output can't be written: .*\n", done.stderr)


@pytest.mark.parametrize("words, sentence", [
    (["rnu"], "cleave: rnu: there is no such verb (did you mean `run`?)\n"),
    (["zzzzzzzz"], "cleave: zzzzzzzz: there is no such verb (`cleave help` lists them)\n"),
    ([], "cleave: what shall it do? (`cleave help` lists the verbs)\n"),
    (["run", "--memroy", "5", "true"], "cleave run: --memroy: unknown option (did you mean --memory?)\n"),
    (["run"], "cleave run: there is no command to run (cleave run [OPTION...] COMMAND)\n"),
    (["doctor", "x"], "cleave doctor: x: it takes no operand\n"),
    (["ru\nn\x1b"], "cleave: ru\\x0an\\x1b: there is no such verb (did you mean `run`?)\n"),
])
def test_wrong_command_lines(words, sentence):
    done = run(CLEAVE, *words)
    assert (done.returncode, done.stdout, done.stderr) == (125, "", sentence)


# ---- what failed, told last ----

RESULTS = """<testsuites><testsuite>
<testcase classname="tests.system.test_a" name="test_good"/>
<testcase classname="tests.system.test_a" name="test_bad[root]"><failure message="assert 1 == 2&#10; more">long</failure></testcase>
<testcase classname="tests.system.test_b" name="test_broken"><error message="no fixture">long</error></testcase>
<testcase classname="tests.system.test_b" name="test_aside"><skipped message="not here"/></testcase>
</testsuite></testsuites>"""


def test_failures_are_named(tmp_path):
    (tmp_path / "v1.xml").write_text(RESULTS)
    (tmp_path / "v2.xml").write_text("")
    lines = run(TOP / "tools/failures", tmp_path / "v1.xml", tmp_path / "v2.xml", tmp_path / "v3.xml").stdout.splitlines()
    where = f"failed: {tmp_path.name}"
    assert lines[:2] == [f"{where}/v1: tests/system/test_a.py::test_bad[root]: assert 1 == 2",
                         f"{where}/v1: tests/system/test_b.py::test_broken: no fixture"]
    assert len(lines) == 4 and all("no results" in line for line in lines[2:])
