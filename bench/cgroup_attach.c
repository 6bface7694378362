/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What getting into a cgroup costs after the machine was idle for 100 ms, by way of joining. Moving
 * a process by cgroup.procs takes a lock whose write side waits for a grace period; a single thread
 * that moves itself by `tasks`, and a child that is born inside (v2), do not take it.
 *
 *   cgroup_attach [N]     (root; default 40)     JSON lines on stdout
 *
 * Makes one cgroup per hierarchy through kern/cgroup and removes it. Mount options are left alone.
 */
#include "base/text.h"
#include "kern/cgroup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_N 10000
#define IDLE_NS 100000000

enum way { BY_PARENT, SELF_PROCS, SELF_TASKS, SELF_TASKS_ALL, BORN_INSIDE, NOT_AT_ALL, WAY_N };

static const char *const way_name[WAY_N] = {
	[BY_PARENT] = "parent writes cgroup.procs (v1)",
	[SELF_PROCS] = "child writes 0 to cgroup.procs (v1)",
	[SELF_TASKS] = "child writes 0 to tasks (v1)",
	[SELF_TASKS_ALL] = "child writes 0 to tasks of every v1 hierarchy",
	[BORN_INSIDE] = "fork, CLONE_INTO_CGROUP (v2)",
	[NOT_AT_ALL] = "fork, no cgroup",
};

static struct cgroup_join join;
static int procs_fd = -1; /* of the first v1 directory */
static volatile uint64_t *child_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void child(enum way way, int go_fd)
{
	char byte;
	uint64_t start;

	if (way == BORN_INSIDE || way == NOT_AT_ALL) {
		*child_ns = now_ns(); /* the parent subtracts its start */
		_exit(0);
	}
	must(read(go_fd, &byte, 1) == 1, "read");
	start = now_ns();
	if (way == SELF_PROCS)
		must(write(procs_fd, "0", 1) == 1, "cgroup.procs");
	for (int i = 0; i < join.tasks_n; i++)
		if (way == SELF_TASKS_ALL || (way == SELF_TASKS && i == 0))
			must(write(join.tasks_fd[i], "0", 1) == 1, "tasks");
	*child_ns = now_ns() - start;
	_exit(0);
}

/* One idle pause, then one join. */
static uint64_t once(enum way way)
{
	struct timespec idle = {.tv_nsec = IDLE_NS};
	struct clone_args args = {.exit_signal = SIGCHLD};
	uint64_t start, took = 0;
	int go[2], status;
	char text[16];
	pid_t pid;

	must(!pipe2(go, O_CLOEXEC), "pipe2");
	if (way == BORN_INSIDE) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)join.clone_fd;
	}
	if (way >= BORN_INSIDE)
		nanosleep(&idle, NULL);
	start = now_ns();
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	must(pid >= 0, "clone3");
	if (!pid)
		child(way, go[0]);
	if (way < BORN_INSIDE)
		nanosleep(&idle, NULL);
	if (way == BY_PARENT) {
		int n = snprintf(text, sizeof(text), "%d", pid);

		start = now_ns();
		must(write(procs_fd, text, (size_t)n) == n, "cgroup.procs");
		took = now_ns() - start;
	}
	if (way < BORN_INSIDE)
		must(write(go[1], "g", 1) == 1, "write");
	must(waitpid(pid, &status, 0) == pid && status == 0, "child");
	close(go[0]);
	close(go[1]);
	if (way >= BORN_INSIDE)
		took = *child_ns - start;
	else if (way != BY_PARENT)
		took = *child_ns;
	return took;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(int n)
{
	static uint64_t ns[WAY_N][MAX_N];
	uint64_t base;

	/* Interleaved, so that drift of the machine hits all ways alike. */
	for (int i = 0; i < n; i++)
		for (int w = 0; w < WAY_N; w++)
			if ((w == BORN_INSIDE ? join.clone_fd >= 0 : 1) &&
			    (w < BORN_INSIDE ? join.tasks_n > 0 : 1))
				ns[w][i] = once((enum way)w);
	for (int w = 0; w < WAY_N; w++)
		qsort(ns[w], (size_t)n, sizeof(ns[w][0]), compare);
	base = ns[BY_PARENT][n / 2];
	for (int w = 0; w < WAY_N; w++) {
		if (!ns[w][n - 1])
			continue;
		printf("{\"case\": \"cgroup join after 100 ms idle\", \"subject\": \"%s\", "
		       "\"n\": %d, \"p50_ns\": %llu, \"p99_ns\": %llu, \"ratio\": ",
		       way_name[w], n, (unsigned long long)ns[w][n / 2],
		       (unsigned long long)ns[w][n * 99 / 100]);
		if (base && w < BORN_INSIDE)
			printf("%.4f", (double)ns[w][n / 2] / (double)base);
		else
			printf("null");
		printf(", \"target\": %s, \"met\": %s}\n", w == SELF_TASKS_ALL ? "0.1" : "null",
		       w != SELF_TASKS_ALL         ? "null"
		       : ns[w][n / 2] * 10 <= base ? "true"
						   : "false");
	}
}

int main(int argc, char **argv)
{
	struct cgroup_host host;
	struct cgroup cg;
	struct err e = ERR_INIT;
	char id[CGROUP_ID_LEN + 1], why[1024];
	uint64_t want_n = 40;
	int n, r;

	if (argc > 1 && text_parse_uint(argv[1], 1, MAX_N, &want_n) < 0)
		return 2;
	n = (int)want_n;
	child_ns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(child_ns != MAP_FAILED, "mmap");
	snprintf(id, sizeof(id), "bbbb%08x", (unsigned)getpid());
	r = cgroup_probe(CGROUP_ALL, &host);
	if (r >= 0)
		r = cgroup_paths(&host, id, cgroup_usable(&host), &cg, &e);
	if (r >= 0)
		r = cgroup_create(&cg, &e);
	if (r >= 0)
		r = cgroup_join_open(&cg, &join, &e);
	for (int i = 0; r >= 0 && i < cg.dir_n; i++)
		if (cg.dir[i].version == 1 && procs_fd < 0)
			procs_fd = openat(cg.dir[i].fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (r >= 0) {
		measure(n);
		cgroup_join_close(&join);
		r = cgroup_remove(&cg, 5000000000u, &e);
	}
	if (r < 0) {
		err_format(&e, why, sizeof(why));
		fprintf(stderr, "cgroup_attach: %s\n", why);
		return 1;
	}
	return 0;
}
