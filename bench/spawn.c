/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts commands over and over, interleaved, and says how long each took from the call that starts
 * it to the wait that reaps it. Costs little itself (vfork), pins nothing, shares nothing with
 * cleave.
 *
 *   spawn ROUNDS LAUNCHERS WARMUP NAME COMMAND... [: NAME COMMAND...]...
 *
 * LAUNCHERS 1: one after the other, A B C A B C …; a line a start: NAME wall_ns cpu_ns status
 * more: for each command in turn that many processes start ROUNDS of it in all; a line a command:
 * NAME wall_ns 0 status. cpu_ns is what wait4 accounts: the process and what it waited for.
 * Standard input and output of the commands are /dev/null.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_SUBJECTS 32

extern char **environ;

struct subject {
	const char *name;
	char **argv;
};

static posix_spawn_file_actions_t actions;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t timeval_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

/* Returns the wait status, or -1 when it could not be started. */
static int start_once(const struct subject *s, uint64_t *ret_wall_ns, uint64_t *ret_cpu_ns)
{
	uint64_t began = now_ns();
	struct rusage u;
	int status = 0, r;
	pid_t pid;

	r = posix_spawn(&pid, s->argv[0], &actions, NULL, s->argv, environ);
	if (r) {
		fprintf(stderr, "spawn: %s: %s\n", s->argv[0], strerror(r));
		return -1;
	}
	while (wait4(pid, &status, 0, &u) < 0)
		if (errno != EINTR)
			return -1;
	*ret_wall_ns = now_ns() - began;
	*ret_cpu_ns = timeval_ns(u.ru_utime) + timeval_ns(u.ru_stime);
	return status;
}

static int one_by_one(struct subject *s, int n, int rounds, int warmup)
{
	int failed = 0;

	for (int round = -warmup; round < rounds; round++)
		for (int i = 0; i < n; i++) {
			uint64_t wall = 0, cpu = 0;
			int status = start_once(&s[i], &wall, &cpu);

			if (status)
				failed = 1;
			if (round >= 0)
				printf("%s %llu %llu %d\n", s[i].name, (unsigned long long)wall,
				       (unsigned long long)cpu, status);
		}
	return failed;
}

/* count starts by this process; the exit status says whether all went well. */
static _Noreturn void launcher(const struct subject *s, int count)
{
	uint64_t wall, cpu;
	int failed = 0;

	while (count-- > 0)
		failed |= start_once(s, &wall, &cpu) != 0;
	_exit(failed);
}

static int side_by_side(struct subject *s, int n, int rounds, int launchers)
{
	int failed = 0;

	for (int i = 0; i < n; i++) {
		uint64_t began = now_ns();
		int status, worst = 0;

		fflush(stdout);
		for (int k = 0; k < launchers; k++)
			if (fork() == 0)
				launcher(&s[i], rounds / launchers + (k < rounds % launchers));
		while (wait(&status) > 0)
			worst |= status;
		printf("%s %llu 0 %d\n", s[i].name, (unsigned long long)(now_ns() - began), worst);
		failed |= worst != 0;
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct subject s[MAX_SUBJECTS];
	int n = 0, rounds, launchers, warmup;

	if (argc < 6) {
		fprintf(stderr, "usage: spawn ROUNDS LAUNCHERS WARMUP NAME COMMAND... [: NAME "
				"COMMAND...]...\n");
		return 2;
	}
	rounds = atoi(argv[1]);
	launchers = atoi(argv[2]);
	warmup = atoi(argv[3]);
	for (int i = 4; i < argc && n < MAX_SUBJECTS; i++) {
		s[n].name = argv[i++];
		s[n++].argv = argv + i;
		while (i < argc && strcmp(argv[i], ":") != 0)
			i++;
		if (i < argc)
			argv[i] = NULL;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	return launchers > 1 ? side_by_side(s, n, rounds, launchers)
			     : one_by_one(s, n, rounds, warmup);
}
