/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kern/cgroup against the kernel: real directories, limits that are hit, tasks that are frozen and
 * killed, nothing left. Runs once with what the probe picks and, on a hybrid host, once more with
 * the v2 hierarchy hidden.
 *
 * Where the caller may use no controller the tests are skipped with the probe's reason, unless
 * CLEAVE_MUST contains "cgroup".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kern/cgroup_internal.h"

#define SECOND 1000000000ull
#define BIT CGROUP_BIT

static struct cgroup_host host;
static struct cgroup cg;
static struct err e;
static char id[CGROUP_ID_LEN + 1];
/* Shared with the children. */
static volatile uint64_t *shared;

static void ok_at(int r, int line)
{
	if (r < 0)
		print_error("line %d: %d %s: %s\n", line, r, e.what, e.hint);
	assert_true(r >= 0);
}
#define OK(r) ok_at((r), __LINE__)

static void make(uint32_t want)
{
	if ((cgroup_usable(&host) & want) != want) {
		for (int i = 0; i < CGROUP_CTL_N; i++)
			if (!host.ctl[i].version)
				print_message("%s: %s\n", cgroup_ctl_name(i), host.ctl[i].why_not);
		skip();
	}
	OK(cgroup_paths(&host, id, want, &cg, &e));
	for (int i = 0; i < cg.dir_n; i++)
		assert_int_equal(access(cg.dir[i].path, F_OK), -1);
	OK(cgroup_create(&cg, &e));
}

/* A child of ours that is in the cgroup before it runs fn. */
static pid_t spawn_flags(void (*fn)(void), uint64_t flags)
{
	struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
	struct cgroup_join j;
	pid_t pid;

	OK(cgroup_join_open(&cg, &j, &e));
	if (j.clone_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)j.clone_fd;
	}
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (!pid) {
		for (int i = 0; i < j.tasks_n; i++)
			if (write(j.tasks_fd[i], "0\n", 2) != 2)
				_exit(99);
		fn();
		_exit(0);
	}
	assert_true(pid > 0);
	cgroup_join_close(&j);
	return pid;
}

static pid_t spawn(void (*fn)(void))
{
	return spawn_flags(fn, 0);
}

static int reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void wait_shared(int i, uint64_t at_least)
{
	uint64_t deadline = cgroup_now_ns() + 10 * SECOND;
	unsigned round = 0;

	while (shared[i] < at_least)
		assert_true(cgroup_wait(-1, deadline, &round));
}

static int setup(void **state)
{
	struct timespec t;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &t);
	snprintf(id, sizeof(id), "%06x%06x", (unsigned)getpid() & 0xffffff,
		 (unsigned)(t.tv_nsec / 100 + t.tv_sec) & 0xffffff);
	e = ERR_INIT;
	cg = CGROUP_INIT;
	memset((void *)shared, 0, 4096);
	return 0;
}

/* Whatever the test did, everything in the directories dies and they go. */
static int teardown(void **state)
{
	struct cgroup copy = cg;
	int left = 0;

	(void)state;
	if (cgroup_kill(&cg, 10 * SECOND, &e) < 0 || cgroup_remove(&cg, 10 * SECOND, &e) < 0)
		left = -1;
	/* orphans come to us (subreaper); all of them are dead or dying by now */
	while (left == 0 && waitpid(-1, NULL, 0) > 0)
		;
	for (int i = 0; i < copy.dir_n; i++)
		if (!access(copy.dir[i].path, F_OK))
			left = -1;
	if (left)
		print_error("left behind: %s\n", e.what);
	return left;
}

/* No child of a failed test may live on. */
static pid_t fork_bound(void)
{
	pid_t pid = fork();

	if (!pid && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(98);
	return pid;
}

static void idle(void)
{
	shared[1]++;
	for (;;)
		pause();
}

static void test_create_twice(void **state)
{
	struct cgroup again;

	(void)state;
	make(cgroup_usable(&host) ? cgroup_usable(&host) : BIT(CGROUP_MEMORY));
	OK(cgroup_paths(&host, id, cgroup_usable(&host), &again, &e));
	assert_int_equal(cgroup_create(&again, &e), -EEXIST);
	assert_int_equal(e.id, ERR_LIMIT);
	/* the refusal took nothing of ours away */
	for (int i = 0; i < cg.dir_n; i++)
		assert_int_equal(access(cg.dir[i].path, F_OK), 0);
	e = ERR_INIT;
}

/* The second directory can't be made: the first must go again. */
static void test_create_undone(void **state)
{
	struct cgroup other;
	char path[CGROUP_PATH_SIZE];

	(void)state;
	make(cgroup_usable(&host) ? cgroup_usable(&host) : BIT(CGROUP_MEMORY));
	if (cg.dir_n < 2)
		skip();
	other = cg;
	for (int i = 0; i < other.dir_n; i++)
		other.dir[i].fd = -EBADF;
	id[0] = id[0] == '0' ? '1' : '0';
	memcpy(strrchr(other.dir[0].path, '/') + 1, id, CGROUP_ID_LEN);
	memcpy(path, other.dir[0].path, sizeof(path));
	assert_int_equal(cgroup_create(&other, &e), -EEXIST);
	assert_int_equal(access(path, F_OK), -1);
	e = ERR_INIT;
}

static void eat_memory(void)
{
	size_t n = 256u << 20;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; p != MAP_FAILED && i < n; i += 4096)
		p[i] = 1;
}

static void test_memory(void **state)
{
	struct cgroup_oom oom;
	struct cgroup_stats s;
	struct epoll_event ev = {0};
	uint64_t kills = 0, deadline;
	char text[32];
	int status, ep = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	make(BIT(CGROUP_MEMORY));
	assert_int_equal(cgroup_limit_memory(&cg, 32u << 20, 0, &e), 0);
	if (cgroup_file_read(cg.dir[0].fd, "memory.kmem.tcp.limit_in_bytes", text, sizeof(text)) >
	    0)
		assert_int_equal(cgroup_parse_u64(text), 32u << 20);
	OK(cgroup_oom_open(&cg, &oom, &e));
	ev.events = oom.events;
	assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, oom.fd, &ev), 0);
	assert_int_equal(epoll_wait(ep, &ev, 1, 0), 0);
	assert_true(cgroup_oom_take(&oom) == 0);
	status = reap(spawn(eat_memory));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(epoll_wait(ep, &ev, 1, 10000), 1);
	deadline = cgroup_now_ns() + 10 * SECOND;
	for (unsigned round = 0; kills == 0 && cgroup_wait(-1, deadline, &round);)
		kills = cgroup_oom_take(&oom);
	assert_true(kills == 1);
	assert_int_equal(epoll_wait(ep, &ev, 1, 0), 0);
	cgroup_stats_read(&cg, &s);
	assert_true(s.oom_kills == 1);
	assert_true(s.memory_hits > 0 && s.memory_hits != CGROUP_UNKNOWN);
	if (s.memory_peak_bytes != CGROUP_UNKNOWN)
		assert_in_range(s.memory_peak_bytes, 30u << 20, 32u << 20);
	else
		assert_int_equal(cg.dir[0].version, 2); /* only v2 before 5.19 can't tell */
	/* not asked for */
	assert_true(s.pids == CGROUP_UNKNOWN && s.cpu_user_ns == CGROUP_UNKNOWN);
	cgroup_oom_close(&oom);
	close(ep);
}

static void test_oom_group(void **state)
{
	int r, first, second;

	(void)state;
	make(BIT(CGROUP_MEMORY));
	r = cgroup_limit_oom_group(&cg, &e);
	if (cg.dir[0].version == 1) {
		assert_int_equal(r, -EOPNOTSUPP);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(cgroup_limit_memory(&cg, 32u << 20, 0, &e), 0);
	first = spawn(idle);
	wait_shared(1, 1);
	second = spawn(eat_memory);
	assert_int_equal(WTERMSIG(reap(second)), SIGKILL);
	assert_int_equal(WTERMSIG(reap(first)), SIGKILL);
}

static void fork_much(void)
{
	pid_t pid[64];
	int n = 0;

	while (n < 64 && (pid[n] = fork()) > 0)
		n++;
	if (n < 64 && !pid[n])
		idle();
	shared[0] = (uint64_t)n;
	shared[2] = (uint64_t)errno;
	for (int i = 0; i < n; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
}

static void test_pids(void **state)
{
	struct cgroup_stats s;

	(void)state;
	make(BIT(CGROUP_PIDS));
	OK(cgroup_limit_pids(&cg, 8, &e));
	assert_int_equal(reap(spawn(fork_much)), 0);
	assert_true(shared[0] == 7);
	assert_true(shared[2] == EAGAIN);
	cgroup_stats_read(&cg, &s);
	assert_true(s.pids == 0);
	assert_true(s.pids_hits == 1);
	assert_true(s.pids_peak == 8 || s.pids_peak == CGROUP_UNKNOWN);
	assert_int_equal(cgroup_limit_pids(&cg, 0, &e), -ERANGE);
	e = ERR_INIT;
	assert_int_equal(cgroup_limit_pids(&cg, 1ull << 40, &e), -ERANGE);
	e = ERR_INIT;
	assert_int_equal(cgroup_limit_memory(&cg, 1u << 20, 0, &e), -EINVAL);
	assert_int_equal(e.id, ERR_INTERNAL);
	e = ERR_INIT;
}

static void burn(void)
{
	struct timespec t;

	do {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	} while (t.tv_nsec < 80000000 && !t.tv_sec);
}

static void test_cpu(void **state)
{
	struct cgroup_stats s;
	uint64_t start;

	(void)state;
	make(BIT(CGROUP_CPU) | BIT(CGROUP_CPUACCT));
	OK(cgroup_limit_cpu(&cg, 200, &e));
	start = cgroup_now_ns();
	assert_int_equal(reap(spawn(burn)), 0);
	/* 80 ms at a fifth of a processor: 20 ms in each of four periods, two of them whole */
	assert_true(cgroup_now_ns() - start > 180 * (SECOND / 1000));
	cgroup_stats_read(&cg, &s);
	/* on a busy machine others throttle us first: only that it is counted */
	assert_true(s.cpu_throttled_ns != CGROUP_UNKNOWN);
	assert_in_range(s.cpu_user_ns + s.cpu_system_ns, SECOND / 20, SECOND);
	assert_int_equal(cgroup_limit_cpu(&cg, 9, &e), -ERANGE);
	e = ERR_INIT;
	assert_int_equal(cgroup_limit_cpu(&cg, UINT64_MAX, &e), -ERANGE);
	e = ERR_INIT;
}

static void count(void)
{
	for (;;)
		shared[0]++;
}

static void test_freeze(void **state)
{
	uint64_t seen;
	pid_t pid;

	(void)state;
	make(BIT(CGROUP_FREEZER));
	assert_int_equal(cgroup_populated(&cg), 0);
	pid = spawn(count);
	wait_shared(0, 1);
	assert_int_equal(cgroup_populated(&cg), 1);
	OK(cgroup_freeze(&cg, 5 * SECOND, &e));
	seen = shared[0];
	poll(NULL, 0, 20);
	assert_true(shared[0] == seen);
	OK(cgroup_thaw(&cg, 5 * SECOND, &e));
	wait_shared(0, seen + 1);
	/* frozen tasks die too, and a second kill finds nothing to do */
	OK(cgroup_freeze(&cg, 5 * SECOND, &e));
	OK(cgroup_kill(&cg, 5 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
	OK(cgroup_kill(&cg, 0, &e));
	assert_int_equal(cgroup_populated(&cg), 0);
}

static void bomb(void)
{
	signal(SIGCHLD, SIG_IGN);
	shared[0] = 1;
	for (;;)
		if (!fork())
			setsid();
}

static void test_kill_bomb(void **state)
{
	uint32_t want = BIT(CGROUP_PIDS) | (cgroup_usable(&host) & BIT(CGROUP_FREEZER));
	pid_t pid;

	(void)state;
	make(want);
	OK(cgroup_limit_pids(&cg, 100, &e));
	pid = spawn(bomb);
	wait_shared(0, 1);
	OK(cgroup_kill(&cg, 20 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
	assert_int_equal(cgroup_populated(&cg), 0);
}

/* The joining child may sit in a fresh user namespace, where it is nobody. */
static void look_around(void)
{
	char text[8192];
	int n = cgroup_file_read(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text));

	for (const char *at = text; n > 0 && (at = strstr(at, id)); at++)
		shared[0]++;
}

static void test_join_from_userns(void **state)
{
	(void)state;
	make(cgroup_usable(&host) ? cgroup_usable(&host) : BIT(CGROUP_MEMORY));
	assert_int_equal(reap(spawn_flags(look_around, CLONE_NEWUSER | CLONE_NEWPID)), 0);
	assert_true(shared[0] == (uint64_t)cg.dir_n);
}

static void test_attach(void **state)
{
	pid_t pid = fork_bound();

	(void)state;
	if (!pid)
		idle();
	wait_shared(1, 1);
	if (!cgroup_usable(&host)) {
		kill(pid, SIGKILL);
		skip();
	}
	make(cgroup_usable(&host));
	OK(cgroup_attach(&cg, pid, &e));
	assert_int_equal(cgroup_populated(&cg), 1);
	OK(cgroup_kill(&cg, 5 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
}

/* After a crash only the paths are known; the tasks may be frozen. */
static void test_remove_paths(void **state)
{
	const char *path[CGROUP_DIR_MAX + 1];
	int n = 0;
	struct cgroup copy;
	pid_t pid;

	(void)state;
	make(cgroup_usable(&host) ? cgroup_usable(&host) : BIT(CGROUP_MEMORY));
	pid = spawn(idle);
	wait_shared(1, 1);
	if (cgroup_usable(&host) & BIT(CGROUP_FREEZER))
		OK(cgroup_freeze(&cg, 5 * SECOND, &e));
	copy = cg;
	for (int i = 0; i < copy.dir_n; i++)
		path[n++] = copy.dir[i].path;
	cgroup_close(&cg);
	path[n++] = "/sys/fs/cgroup/cleave/ffffffffffff/cleave/000000000000"; /* gone already */
	OK(cgroup_remove_paths(path, n, 10 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(pid)), SIGKILL);
	for (int i = 0; i < copy.dir_n; i++)
		assert_int_equal(access(copy.dir[i].path, F_OK), -1);
	OK(cgroup_remove_paths(path, n, 0, &e));
}

/* A child that is in *sub before it runs fn. */
static pid_t spawn_in(const struct cgroup *sub, void (*fn)(void))
{
	struct cgroup parent = cg;
	pid_t pid;

	cg = *sub;
	pid = spawn(fn);
	cg = parent;
	return pid;
}

/* One exec with limits of its own: below the sandbox's directories, which hold processes too. */
static void test_sub(void **state)
{
	uint32_t want = cgroup_usable(&host);
	const char *path[CGROUP_DIR_MAX];
	struct cgroup sub, second, copy;
	struct cgroup_stats s;
	uint64_t idlers;
	pid_t ours, theirs;

	(void)state;
	make(want ? want : BIT(CGROUP_PIDS));
	ours = spawn(idle);
	wait_shared(1, 1);
	OK(cgroup_sub_create(&cg, "exec-2", want, geteuid(), &sub, &e));
	OK(cgroup_limit_pids(&sub, 8, &e));
	assert_int_equal(reap(spawn_in(&sub, fork_much)), 0);
	assert_true(shared[0] == 8 - 1); /* the parent itself counts, nobody else */
	cgroup_stats_read(&sub, &s);
	assert_true(s.pids == 0 && s.pids_hits == 1);
	cgroup_stats_read(&cg, &s);
	assert_true(s.pids == 1);
	assert_int_equal(cgroup_populated(&sub), 0);
	assert_int_equal(cgroup_sub_create(&cg, "exec-2", want, geteuid(), &second, &e), -EEXIST);
	e = ERR_INIT;
	idlers = shared[1]; /* fork_much left some */
	theirs = spawn_in(&sub, idle);
	wait_shared(1, idlers + 1);
	/* its own end is not the sandbox's */
	OK(cgroup_kill(&sub, 10 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(theirs)), SIGKILL);
	OK(cgroup_remove(&sub, 10 * SECOND, &e));
	assert_int_equal(cgroup_populated(&cg), 1);
	/* what is below goes with the sandbox's, of which alone the journal knows */
	OK(cgroup_sub_create(&cg, "exec-3", want, geteuid(), &sub, &e));
	theirs = spawn_in(&sub, idle);
	wait_shared(1, idlers + 2);
	cgroup_close(&sub);
	copy = cg;
	for (int i = 0; i < copy.dir_n; i++)
		path[i] = copy.dir[i].path;
	cgroup_close(&cg);
	OK(cgroup_remove_paths(path, copy.dir_n, 10 * SECOND, &e));
	assert_int_equal(WTERMSIG(reap(ours)), SIGKILL);
	assert_int_equal(WTERMSIG(reap(theirs)), SIGKILL);
}

static void test_remove_refuses(void **state)
{
	char dir[] = "/tmp/kern-cgroup-XXXXXX", path[128];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/cleave", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/cleave/0123456789ab", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	/* not a cgroup, although the name is right */
	assert_true(cgroup_remove_path(path, 0, &e) < 0);
	e = ERR_INIT;
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/sys/fs/cgroup", path), 0);
	assert_true(cgroup_remove_path(path, 0, &e) < 0);
	e = ERR_INIT;
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(cgroup_remove_path("/sys/fs/cgroup", 0, &e), -EINVAL);
	e = ERR_INIT;
	assert_int_equal(cgroup_remove_path("/proc/self/cleave/../..", 0, &e), -EINVAL);
	e = ERR_INIT;
}

static int make_and_remove(const char *name, int times)
{
	struct cgroup one;
	int r = 0;

	for (int i = 0; i < times && r >= 0; i++) {
		r = cgroup_paths(&host, name, cgroup_usable(&host), &one, &e);
		if (r >= 0)
			r = cgroup_create(&one, &e);
		if (r >= 0)
			r = cgroup_remove(&one, 5 * SECOND, &e);
	}
	return r;
}

/* Somebody tidies `cleave` away whenever it is empty, while two others make and remove. */
static void test_racing_makers(void **state)
{
	uint32_t want = cgroup_usable(&host);
	char parent[CGROUP_PATH_SIZE];
	bool moved, alone;
	pid_t tidy, maker;
	int r;

	(void)state;
	make(want ? want : BIT(CGROUP_MEMORY));
	memcpy(parent, cg.dir[0].path, sizeof(parent));
	moved = cg.keeper_path[0];
	*strrchr(parent, '/') = '\0';
	OK(cgroup_remove(&cg, 5 * SECOND, &e));
	/* other people's sandboxes, before or by now, keep `cleave` from ever being empty */
	alone = rmdir(parent) == 0 || errno == ENOENT;
	tidy = fork_bound();
	if (!tidy)
		for (;; poll(NULL, 0, 1))
			if (!rmdir(parent))
				shared[0]++;
	id[0] = 'a';
	maker = fork_bound();
	if (!maker) {
		id[0] = 'b';
		_exit(make_and_remove(id, 200) < 0);
	}
	r = make_and_remove(id, 200);
	assert_int_equal(reap(maker), 0);
	/* who tidies may not have had its turn yet: then one goes on making, for a few seconds */
	for (int i = 0; i < 2000 && r >= 0 && !shared[0] && !moved && alone; i++)
		r = make_and_remove(id, 5);
	kill(tidy, SIGKILL);
	reap(tidy);
	OK(r);
	alone = alone && (rmdir(parent) == 0 || errno == ENOENT);
	/* where we had to move into cleave/keepers, `cleave` is never empty */
	assert_true(shared[0] > 0 || moved || !alone);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_create_twice, setup, teardown),
	cmocka_unit_test_setup_teardown(test_create_undone, setup, teardown),
	cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	cmocka_unit_test_setup_teardown(test_oom_group, setup, teardown),
	cmocka_unit_test_setup_teardown(test_pids, setup, teardown),
	cmocka_unit_test_setup_teardown(test_cpu, setup, teardown),
	cmocka_unit_test_setup_teardown(test_freeze, setup, teardown),
	cmocka_unit_test_setup_teardown(test_kill_bomb, setup, teardown),
	cmocka_unit_test_setup_teardown(test_join_from_userns, setup, teardown),
	cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
	cmocka_unit_test_setup_teardown(test_remove_paths, setup, teardown),
	cmocka_unit_test_setup_teardown(test_sub, setup, teardown),
	cmocka_unit_test_setup_teardown(test_remove_refuses, setup, teardown),
	cmocka_unit_test_setup_teardown(test_racing_makers, setup, teardown),
};

/* `cleave` itself stays by contract; where nobody else needs it we leave as we came. */
static void tidy_parents(void)
{
	char path[CGROUP_PATH_SIZE + 16];

	for (int i = 0; i < host.place_n; i++) {
		snprintf(path, sizeof(path), "%s/" CGROUP_PARENT, host.place[i].base);
		ignore_err(rmdir(path), "another sandbox may be inside");
	}
}

/* The mountinfo text without its cgroup2 lines. */
static void hide_v2(char *text)
{
	char *out = text, *line = text;

	while (*line) {
		char *end = strchr(line, '\n');
		size_t n = end ? (size_t)(end - line) + 1 : strlen(line);
		char *hit = strstr(line, " - cgroup2 ");

		if (!hit || hit >= line + n) {
			memmove(out, line, n);
			out += n;
		}
		line += n;
	}
	*out = '\0';
}

static int run_without_v2(void)
{
	char *mounts = cgroup_file_slurp(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, NULL);
	size_t n = 0;
	char *self = cgroup_file_slurp(AT_FDCWD, "/proc/self/cgroup", 1u << 20, &n);
	int failed;

	if (!mounts || !self)
		return 1;
	hide_v2(mounts);
	failed = cgroup_probe_texts(CGROUP_ALL, mounts, strlen(mounts), self, n, &host);
	free(mounts);
	free(self);
	if (!failed)
		failed = cmocka_run_group_tests_name("v2 hidden", tests, NULL, NULL);
	tidy_parents();
	return failed;
}

int main(void)
{
	const char *must = getenv("CLEAVE_MUST");
	int failed = 0;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ||
	    cgroup_probe(CGROUP_ALL, &host) < 0)
		return 1;
	if (must && strstr(must, "cgroup") && (cgroup_usable(&host) & CGROUP_ALL) != CGROUP_ALL) {
		for (int i = 0; i < CGROUP_CTL_N; i++)
			fprintf(stderr, "%s: %s\n", cgroup_ctl_name(i), host.ctl[i].why_not);
		return 1;
	}
	failed += cmocka_run_group_tests_name("as probed", tests, NULL, NULL);
	tidy_parents();
	if (!strcmp(host.layout, "hybrid"))
		failed += run_without_v2();
	return failed ? 1 : 0;
}
