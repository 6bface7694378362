# SPDX-License-Identifier: Apache-2.0
"""Programs that use the library: the example, several threads at once, errors."""
import json
import subprocess

import pytest

from conftest import BUILD, TOP
from live import live, poll  # noqa: F401

THREADS = r"""
#include <cleave/cleave.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *one(void *arg)
{
	const char *const argv[] = {"/bin/sh", "-c", "exit 7", NULL};
	struct cleave_io io = {sizeof(io), -1, -1, -1, 0};
	char name[32], *id = NULL;
	long wrong = 0;

	snprintf(name, sizeof(name), "thread%ld", (long)arg);
	for (int i = 0; i < 5; i++) {
		cleave_spec *spec = cleave_spec_new(), *command = cleave_spec_new();
		cleave_result *result = NULL;

		cleave_spec_set(spec, "name", name);
		wrong += cleave_start(spec, &id) < 0;
		cleave_spec_argv(command, argv);
		wrong += cleave_exec(name, command, &io, &result) < 0 || cleave_result_exit(result) != 7;
		wrong += cleave_rm(name, 1) < 0;
		/* the error is this thread's own */
		wrong += cleave_pause(name) >= 0 || !strstr(cleave_error(), name);
		wrong += strcmp(cleave_error_id(), "no_sandbox") != 0;
		cleave_result_free(result);
		cleave_spec_free(spec);
		cleave_spec_free(command);
		free(id);
		id = NULL;
	}
	return (void *)wrong;
}

int main(void)
{
	pthread_t threads[4];
	long wrong = 0;
	void *r;

	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, one, (void *)i);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &r);
		wrong += (long)r;
	}
	printf("wrong %ld\n", wrong);
	return wrong != 0;
}
"""


# Two logs at once, into pipes that nobody reads until both calls stand still in a write.
LOGS = r"""
#define _GNU_SOURCE
#include <cleave/cleave.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

struct reader {
	const char *name;
	int pipe[2];
};

static void *copy(void *arg)
{
	struct reader *r = arg;

	if (cleave_logs(r->name, 0, 0, r->pipe[1], r->pipe[1]) < 0)
		printf("%s: %s\n", r->name, cleave_error());
	close(r->pipe[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	struct reader reader[2] = {{argv[1], {0}}, {argv[2], {0}}};
	static char data[65536];
	pthread_t thread[2];
	long wrong = 0, all = 0;

	(void)argc;
	for (int i = 0; i < 2; i++) {
		if (pipe2(reader[i].pipe, 0) < 0 || fcntl(reader[i].pipe[1], F_SETPIPE_SZ, 4096) < 0)
			return 2;
		pthread_create(&thread[i], NULL, copy, &reader[i]);
		poll(&(struct pollfd){reader[i].pipe[0], POLLIN, 0}, 1, -1);
	}
	for (int i = 0; i < 2; i++) {
		ssize_t n;

		while ((n = read(reader[i].pipe[0], data, sizeof(data))) > 0) {
			all += n;
			for (ssize_t j = 0; j < n; j++)
				wrong += data[j] != "ab"[i];
		}
		pthread_join(thread[i], NULL);
	}
	printf("wrong %ld of %ld\n", wrong, all);
	return wrong != 0;
}
"""


def build(live, source, *more):
    program = live.box.directory() / "program"
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{TOP}/include", "-o", program, source, *more,
                    f"-L{BUILD.parent}", "-lcleave", f"-Wl,-rpath,{BUILD.parent}", "-lpthread"], check=True)
    return program


def run(live, program, *words):
    return subprocess.run([*live.box.prefix, program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          env={**live.box.environment(), "CLEAVE_PROGRAM": str(BUILD)})


def test_the_example(live):
    done = run(live, build(live, TOP / "examples/api.c"))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "42\n" in done.stdout and "status 0" in done.stdout
    assert live.ps("-a") == []
    assert len((TOP / "examples/api.c").read_text().splitlines()) <= 60


def test_the_example_of_a_fork(live):
    """Each clone goes on from the sum that the source had in memory, and so does the source after it was rolled back."""
    done = run(live, build(live, TOP / "examples/fork.c"))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines() == ["sum: 40", "sum-a: 41", "sum-b: 42", "sum-c: 43", "sum: 100", "sum: 44"]
    assert live.ps("-a") == [] and json.loads(live.call("snapshots", "--json").ok().out) == []


def test_several_threads(live):
    source = live.box.file(THREADS, "threads.c")
    done = run(live, build(live, source))
    assert done.stdout == "wrong 0\n", done
    assert live.ps("-a") == []


PROGRAM = r"""
#include <cleave/cleave.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	cleave_spec *spec = cleave_spec_new();
	int wrong = argc != 2 || cleave_spec_set(spec, "name", "told") < 0;

	cleave_program("/no/such/program");
	wrong += cleave_start(spec, NULL) >= 0 || !strstr(cleave_error(), "/no/such/program");
	cleave_program(argv[1]); /* goes before CLEAVE_PROGRAM */
	wrong += cleave_start(spec, NULL) < 0 || cleave_rm("told", 1) < 0;
	cleave_program(NULL); /* as if it had never been called */
	wrong += cleave_start(spec, NULL) >= 0 || !strstr(cleave_error(), "/not/there/either");
	cleave_spec_free(spec);
	printf("wrong %d %s\n", wrong, wrong ? cleave_error() : "");
	return wrong != 0;
}
"""


def test_where_the_program_lies(live):
    program = build(live, live.box.file(PROGRAM, "where.c"))
    done = subprocess.run([*live.box.prefix, program, BUILD], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env={**live.box.environment(), "CLEAVE_PROGRAM": "/not/there/either"})
    assert done.stdout == "wrong 0 \n", done
    assert live.ps("-a") == []


def test_a_program_without_cleave_is_told(live):
    program = build(live, TOP / "examples/api.c")
    done = subprocess.run([*live.box.prefix, program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          env={**live.box.environment(), "CLEAVE_PROGRAM": "/no/such/program"})
    assert done.returncode == 1 and "CLEAVE_PROGRAM" in done.stderr, done
    assert live.ps("-a") == []


SIGNALS = r"""
#include <cleave/cleave.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void nothing(int signo) { (void)signo; }

int main(void)
{
	const char *const argv[] = {"/bin/sh", "-c", "echo said; echo said", NULL};
	struct itimerval tick = {{0, 20000}, {0, 20000}};
	struct cleave_io io = {sizeof(io), -1, -1, -1, 0};
	cleave_spec *spec = cleave_spec_new(), *command = cleave_spec_new();
	cleave_result *result = NULL;
	sigset_t mine, now;
	int pair[2], wrong = 0;

	/* a sandbox that is not there leaves the mask as it was */
	sigemptyset(&mine);
	sigaddset(&mine, SIGTERM);
	sigprocmask(SIG_BLOCK, &mine, NULL);
	wrong += cleave_exec("nobody", command, &io, &result) >= 0;
	wrong += cleave_attach("nobody", &io, &result) >= 0;
	sigprocmask(SIG_BLOCK, NULL, &now);
	wrong += 2 * !sigismember(&now, SIGTERM) + 2 * sigismember(&now, SIGPIPE);
	/* nor does a reader that has gone end this program */
	cleave_spec_set(spec, "name", "signals");
	wrong += 4 * (cleave_start(spec, NULL) < 0);
	cleave_spec_argv(command, argv);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	close(pair[1]);
	io.stdout_fd = pair[0];
	cleave_exec("signals", command, &io, &result);
	sigprocmask(SIG_BLOCK, NULL, &now);
	wrong += 8 * sigismember(&now, SIGPIPE);
	/* a handler does not make a time endless */
	signal(SIGALRM, nothing);
	setitimer(ITIMER_REAL, &tick, NULL);
	wrong += 16 * (cleave_wait("signals", 300000000, &result) != -ETIMEDOUT);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
	wrong += 32 * (cleave_rm("signals", 1) < 0);
	cleave_spec_free(spec);
	cleave_spec_free(command);
	printf("wrong %d\n", wrong);
	return 0;
}
"""


def test_signals_of_the_program(live):
    done = run(live, build(live, live.box.file(SIGNALS, "signals.c")))
    assert (done.returncode, done.stdout) == (0, "wrong 0\n"), done
    assert live.ps("-a") == []


def test_two_logs_in_two_threads(live):
    names = [live.sh(f"head -c 300000 /dev/zero | tr '\\0' {letter}") for letter in "ab"]
    for name in names:
        live.call("wait", name).ok()
    program = build(live, live.box.file(LOGS, "logs.c"))
    done = run(live, program, *names)
    assert done.stdout == "wrong 0 of 600000\n", done
