# SPDX-License-Identifier: Apache-2.0
"""Programs that people use, inside. A missing one is a failure: `make test` installs them."""
import os
import subprocess

from conftest import PAYLOAD, PYTHON


def test_python_with_pandas(box):
    csv = box.file("name,value\na,1\nb,2\nc,39\n", "data.csv")
    out = box.run("--ro", f"{csv}:/home/user/data.csv", PYTHON, "-c",
                  "import pandas as pd; d = pd.read_csv('data.csv'); print(d.value.sum(), list(d.columns))").ok().out
    assert out == "42 ['name', 'value']\n"


def test_python_threads_processes_and_sockets(box):
    """What library authors use: pools, asyncio with a UNIX and a TCP server, temporary files."""
    out = box.python("""if True:
        import asyncio, concurrent.futures as f, json, multiprocessing, os, subprocess, tempfile, threading
        r = {}
        with f.ThreadPoolExecutor(8) as p: r['threads'] = sum(p.map(lambda x: x * x, range(100)))
        ctx = multiprocessing.get_context('fork')
        with ctx.Pool(3) as p: r['pool'] = sum(p.map(abs, range(-10, 0)))
        async def talk():
            async def serve(i, o): o.write((await i.readline()).upper()); await o.drain(); o.close()
            out = []
            s = await asyncio.start_unix_server(serve, '/tmp/s'); t = await asyncio.start_server(serve, '127.0.0.1', 0)
            for c in (asyncio.open_unix_connection('/tmp/s'),
                      asyncio.open_connection(*t.sockets[0].getsockname())):
                i, o = await c; o.write(b'x\\n'); out.append((await i.read()).decode()); o.close()
            p = await asyncio.create_subprocess_exec('echo', 'sub', stdout=-1); out.append((await p.communicate())[0].decode())
            return out
        r['asyncio'] = asyncio.run(talk())
        with tempfile.TemporaryDirectory() as d, open(d + '/f', 'w') as x: x.write('x'); r['tmp'] = d.startswith('/tmp/')
        r['shm'] = multiprocessing.shared_memory.SharedMemory(create=True, size=4096).size if hasattr(multiprocessing, 'shared_memory') else 4096
        r['popen'] = subprocess.run(['sh', '-c', 'exit 7']).returncode
        print(json.dumps(r))""")
    assert out == {"threads": 328350, "pool": 55, "asyncio": ["X\n", "X\n", "sub\n"], "tmp": True, "shm": 4096, "popen": 7}


def test_gcc_compiles_and_runs(box):
    source = box.file('#include <stdio.h>\n#include <math.h>\nint main(void) { printf("%.0f\\n", sqrt(1764)); }\n', "a.c")
    assert box.sh("gcc -O1 a.c -o a -lm && ./a", "--file", f"{source}:/home/user/a.c") == "42\n"


def test_make(box):
    tree = box.directory("make")
    (tree / "Makefile").write_text("all: out\nout: in\n\ttr a-z A-Z <in >out\n")
    (tree / "in").write_text("hello\n")
    box.own(tree / "Makefile", tree / "in")
    assert box.run("--rw", ".", "make", "-s", cwd=tree).ok().err == ""
    assert (tree / "out").read_text() == "HELLO\n"
    assert (tree / "out").stat().st_uid == box.uid
    assert box.run("--rw", ".", "make", cwd=tree).ok().out == "make: Nothing to be done for 'all'.\n"


def test_git_in_a_repository_of_the_caller(box):
    """status and commit by --rw .; everything belongs to the caller afterwards."""
    repo = box.directory("repo")
    git = [*box.prefix, "git", "-c", "init.defaultBranch=main"]
    env = {"PATH": os.environ["PATH"], "HOME": str(repo)}
    subprocess.run([*git, "init", "-q"], cwd=repo, check=True, env=env)
    (repo / "file").write_text("one\n")
    box.own(repo / "file")
    out = box.run("--rw", ".", "sh", "-ec", """
        git status --porcelain
        git config user.name Somebody
        git config user.email somebody@example.org
        git add file
        git commit -q -m first
        echo two >>file
        git commit -q -a -m second
        git log --format=%s
        git diff HEAD~1 --stat | tail -n 1""", cwd=repo).ok().out
    assert out == "?? file\nsecond\nfirst\n 1 file changed, 1 insertion(+)\n"
    for top, names, files in os.walk(repo):
        for name in names + files:
            st = os.lstat(os.path.join(top, name))
            assert (st.st_uid, st.st_gid) == (box.uid, box.gid), name
            assert st.st_mode & 0o6000 == 0, name
    log = subprocess.run([*git, "log", "--format=%an %s"], cwd=repo, check=True, env=env, capture_output=True, text=True)
    assert log.stdout == "Somebody second\nSomebody first\n"
    assert subprocess.run([*git, "fsck", "--strict"], cwd=repo, env=env, capture_output=True, check=False).returncode == 0


def test_node(box):
    out = box.run("node", "-e", """
        const fs = require('fs'), http = require('http');
        fs.writeFileSync('/tmp/x', 'y');
        const s = http.createServer((q, r) => r.end('hi')).listen(0, '127.0.0.1', () =>
          http.get({port: s.address().port, host: '127.0.0.1'}, r => r.on('data', d => {
            console.log(String(d), fs.readFileSync('/tmp/x', 'utf8')); s.close(); })));""").ok().out
    assert out == "hi y\n"


def test_node_workers(box):
    out = box.run("node", "-e", """
        const {Worker, isMainThread, parentPort} = require('worker_threads');
        let n = 0;
        for (let i = 0; i < 3; i++) new Worker('require("worker_threads").parentPort.postMessage(14)', {eval: true})
          .on('message', m => { n += m; if (n == 42) console.log(n); });""").ok().out
    assert out == "42\n"


def test_perl(box):
    assert box.run("perl", "-MFile::Temp", "-e", "my $f = File::Temp->new; print $f 42; print -s $f ? 1 : 0, 6 * 7").ok().out[-2:] == "42"


def test_bash(box):
    out = box.run("bash", "-c", "set -eu; a=(1 2 3); cat <(echo ${#a[@]}) <<<here; echo $(( $(nproc) > 0 )); "
                  "coproc cat; echo x >&${COPROC[1]}; read -u ${COPROC[0]} y; echo $y; "
                  "diff <(seq 3) <(seq 3) && echo same; cat <<E\nheredoc\nE\n", input="").ok().out
    assert out == "3\n1\nx\nsame\nheredoc\n"


def test_sqlite(box):
    out = box.run("sqlite3", "/tmp/base", "pragma journal_mode=wal; create table t (x); insert into t values (40), (2); "
                  "select sum(x) from t;").ok().out
    assert out == "wal\n42\n"


def test_sqlite_on_a_directory_of_the_caller(box):
    """Locks on a bound file system."""
    place = box.directory("base")
    for _ in range(2):
        box.run("--rw", f"{place}:/mnt/base", "sqlite3", "/mnt/base/b",
                "create table if not exists t (x); insert into t values (21);").ok()
    assert box.run("--ro", f"{place}:/mnt/base", "sqlite3", "-readonly", "/mnt/base/b", "select sum(x) from t").ok().out == "42\n"


def test_tar(box):
    tree = box.directory("tree")
    (tree / "sub").mkdir()
    (tree / "sub" / "file").write_text("content")
    (tree / "link").symlink_to("sub/file")
    out = box.sh("cd /tmp && tar -C /mnt/tree -czf a.tar.gz . && mkdir x && tar -C x -xzf a.tar.gz && cat x/link && "
                 "tar -tzf a.tar.gz | sort | tr '\\n' ' '", "--ro", f"{tree}:/mnt/tree")
    assert out == "content./ ./link ./sub/ ./sub/file "


def test_vim_in_batch(box):
    assert box.run("vim", "-u", "NONE", "-es", "-c", "normal ihello", "-c", "%print", "-c", "q!").ok().out.strip() == "hello"


def test_gdb_with_ptrace_allowed(box):
    """A debugger works when it was asked for, and only then."""
    words = ["gdb", "-q", "-batch", "-nx", "-ex", "break main", "-ex", "run", "-ex", "print 6 * 7",
             "/opt/probe"]
    shown = ["--ro", f"{PAYLOAD / 'probe'}:/opt/probe"]
    assert "= 42" in box.run("--allow-ptrace", *shown, *words).ok().out
    refused = box.run(*shown, *words)
    assert "Breakpoint 1, " not in refused.out, refused


def test_strace_with_ptrace_allowed(box):
    done = box.run("--allow-ptrace", "strace", "-f", "-e", "trace=execve", "/bin/true").ok()
    assert 'execve("/bin/true"' in done.err and "exited with 0" in done.err


def test_dynamic_program_in_the_fresh_root(box):
    """With the loader's cache of the host, and libraries beside it."""
    out = box.sh("ldd /usr/bin/python3 | grep -c '=> /'; /lib64/ld-linux-x86-64.so.2 /bin/echo by the loader")
    count, rest = out.split("\n", 1)
    assert int(count) >= 2 and rest == "by the loader\n"


def test_static_program(box):
    assert box.run(*box.payload("probe", "call", "39")).ok().out.strip().isdigit()
