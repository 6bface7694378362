/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: freezing, thawing, killing, and clearing away by path.
 *
 * A task in a frozen v1 cgroup does not die from SIGKILL until it is thawed; on v2 it does. So
 * every kill on v1 ends with a thaw.
 *
 * Killing by number must never hit a stranger: a process may die and its number be used again
 * between our reading of the list and the signal. Each is therefore held by a pidfd first and
 * signalled only if the list still names it afterwards.
 */
#include "kern/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROCS_MAX_BYTES (4u << 20)
#define KILL_BATCH 64 /* pidfds held at a time: RLIMIT_NOFILE may be small */
#define FREEZE_AFTER_ROUNDS 30

static int open_events(const struct cgroup_dir *d)
{
	if (d->version != 2)
		return -EBADF;
	return openat(d->fd, "cgroup.events", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* 1 when frozen, 0 when thawed or in between, or -errno. */
static int freezer_is(const struct cgroup_dir *d, bool frozen)
{
	char text[64];
	int r;

	if (d->version == 2) {
		uint64_t v = cgroup_file_key(d->fd, "cgroup.events", "frozen");

		return v == CGROUP_UNKNOWN ? -EIO : (v != 0) == frozen;
	}
	r = cgroup_file_read(d->fd, "freezer.state", text, sizeof(text));
	if (r < 0)
		return r;
	return !strcmp(text, frozen ? "FROZEN\n" : "THAWED\n");
}

static int freezer_write(const struct cgroup_dir *d, bool freeze)
{
	if (d->version == 2)
		return cgroup_file_write(d->fd, "cgroup.freeze", freeze ? "1" : "0");
	return cgroup_file_write(d->fd, "freezer.state", freeze ? "FROZEN" : "THAWED");
}

static int freezer_set(const struct cgroup *cg, bool freeze, uint64_t timeout_ns, struct err *e)
{
	uint64_t deadline_ns = cgroup_now_ns() + timeout_ns;
	const struct cgroup_dir *d = cgroup_dir_for(cg, CGROUP_FREEZER);
	const char *verb = freeze ? "freeze" : "thaw";
	AUTO_FD int events_fd = -EBADF;
	unsigned round = 0;
	int r = 0;

	if (!d)
		return err_set(e, ERR_INTERNAL, EINVAL, "cgroup: can't %s without the freezer",
			       verb);
	events_fd = open_events(d);
	for (;;) {
		/* v1 looks at each task at the moment of the write alone. One that goes into
		 * vfork() right after it waits for a child that is frozen before its exec: written
		 * again, the parent counts as frozen too (kernel/cgroup/legacy_freezer.c,
		 * freeze_cgroup). */
		if (round == 0 || d->version == 1)
			r = freezer_write(d, freeze);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "can't %s cgroup %s", verb, d->path);
		r = freezer_is(d, freeze);
		if (r > 0)
			return 0;
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "can't read the freezer of cgroup %s",
				       d->path);
		if (!cgroup_wait(events_fd, deadline_ns, &round))
			return err_set(e, ERR_HOST, ETIMEDOUT,
				       "cgroup %s did not %s in time: a task does not respond",
				       d->path, verb);
	}
}

int cgroup_freeze(const struct cgroup *cg, uint64_t timeout_ns, struct err *e)
{
	return freezer_set(cg, true, timeout_ns, e);
}

int cgroup_thaw(const struct cgroup *cg, uint64_t timeout_ns, struct err *e)
{
	return freezer_set(cg, false, timeout_ns, e);
}

/* One byte of the list is enough; -E2BIG says that there is more. */
static int list_populated(const struct cgroup_dir *d, void *arg)
{
	char byte[2];
	int r = cgroup_file_read(d->fd, "cgroup.procs", byte, sizeof(byte));

	(void)arg;
	if (r == -E2BIG)
		return 1;
	return r < 0 ? r : r > 0;
}

/* 1: a task is inside, 0: none, or -errno. */
static int dir_populated(const struct cgroup_dir *d)
{
	int r;

	if (d->version == 2) {
		uint64_t v = cgroup_file_key(d->fd, "cgroup.events", "populated");

		return v == CGROUP_UNKNOWN ? -EIO : v != 0;
	}
	r = list_populated(d, NULL);
	return r ? r : cgroup_each_sub(d, list_populated, NULL); /* v1 lists only its own */
}

int cgroup_populated(const struct cgroup *cg)
{
	for (int i = 0; i < cg->dir_n; i++) {
		int r = dir_populated(&cg->dir[i]);

		if (r)
			return r;
	}
	return 0;
}

static bool list_has(const char *list, long pid)
{
	long one;

	while ((one = cgroup_parse_pid(&list)) >= 0)
		if (one == pid)
			return true;
	return false;
}

/* Signals up to KILL_BATCH processes of the list at *at, which moves on. */
static int kill_batch(const struct cgroup_dir *d, const char **at)
{
	long pid[KILL_BATCH];
	int fd[KILL_BATCH], n = 0, r = 0;
	AUTO_FREE char *again = NULL;

	while (n < KILL_BATCH) {
		long one = cgroup_parse_pid(at);

		if (one < 0)
			break;
		/* 0: outside our pid namespace. Ourselves: a mistake that must not be deadly. */
		if (one == 0 || one == getpid())
			continue;
		pid[n] = one;
		fd[n] = (int)syscall(SYS_pidfd_open, (pid_t)one, 0);
		if (fd[n] >= 0)
			n++;
		else if (errno != ESRCH)
			r = -errno;
		if (r == -EMFILE && n)
			break;
	}
	if (n)
		again = cgroup_file_slurp(d->fd, "cgroup.procs", PROCS_MAX_BYTES, NULL);
	for (int i = 0; i < n; i++) {
		if (again && list_has(again, pid[i]) &&
		    syscall(SYS_pidfd_send_signal, fd[i], SIGKILL, NULL, 0) < 0 && errno != ESRCH)
			r = -errno;
		close_fd(&fd[i]);
	}
	return r;
}

static int kill_listed(const struct cgroup_dir *d, void *worst)
{
	AUTO_FREE char *list = cgroup_file_slurp(d->fd, "cgroup.procs", PROCS_MAX_BYTES, NULL);
	const char *at = list;
	int r = 0;

	if (!list)
		return -errno;
	while (*at) {
		int one = kill_batch(d, &at);

		if (one < 0)
			r = one;
		while (*at && (*at < '0' || *at > '9'))
			at++;
	}
	if (worst && r < 0)
		*(int *)worst = r;
	return worst ? 0 : r;
}

/* A list names only who sits in the directory itself. */
static int kill_all_listed(const struct cgroup_dir *d)
{
	int worst = 0, r = kill_listed(d, NULL);

	ignore_err(cgroup_each_sub(d, kill_listed, &worst), "the worst is kept");
	return r < 0 ? r : worst;
}

/* One round over a directory that still has tasks. */
static int kill_round(const struct cgroup_dir *d, unsigned round)
{
	bool freezer = d->version == 1 && (d->ctls & CGROUP_BIT(CGROUP_FREEZER));
	int r;

	if (d->version == 2) {
		/* 5.14 and newer; it also reaches what is being forked. */
		r = cgroup_file_write(d->fd, "cgroup.kill", "1");
		if (r != -ENOENT)
			return r;
	}
	/* What forks faster than we read is held still first. */
	if (freezer && round == FREEZE_AFTER_ROUNDS)
		ignore_err(freezer_write(d, true), "only to win a race; the kill goes on");
	r = kill_all_listed(d);
	if (freezer) {
		int thawed = freezer_write(d, false);

		if (thawed < 0 && r >= 0)
			r = thawed;
	}
	return r;
}

int cgroup_kill(const struct cgroup *cg, uint64_t timeout_ns, struct err *e)
{
	uint64_t deadline_ns = cgroup_now_ns() + timeout_ns;
	const struct cgroup_dir *left = NULL;
	AUTO_FD int events_fd = -EBADF;
	unsigned round = 0;
	int last = 0;

	if (cg->dir_n)
		events_fd = open_events(&cg->dir[0]);
	do {
		left = NULL;
		for (int i = 0; i < cg->dir_n; i++) {
			int r = dir_populated(&cg->dir[i]);

			if (!r)
				continue;
			left = &cg->dir[i];
			last = r < 0 ? r : kill_round(left, round);
		}
		if (!left)
			return 0;
	} while (cgroup_wait(events_fd, deadline_ns, &round));
	return err_set(e, ERR_HOST, last < 0 ? -last : ETIMEDOUT,
		       "processes in cgroup %s did not die in time", left->path);
}

int cgroup_end(struct cgroup *cg, uint64_t timeout_ns, struct err *e)
{
	int left = 0, r;

	for (int i = 0; i < cg->dir_n; i++)
		if (rmdir(cg->dir[i].path) == 0 || errno == ENOENT)
			close_fd(&cg->dir[i].fd);
		else
			cg->dir[left++] = cg->dir[i];
	cg->dir_n = left;
	if (!left) {
		cgroup_close(cg);
		return 0;
	}
	r = cgroup_kill(cg, timeout_ns, e);
	if (r < 0) {
		cgroup_close(cg);
		return r;
	}
	return cgroup_remove(cg, timeout_ns, e);
}

/* What a v1 directory is for, told by its files. */
static uint32_t guess_ctls(int version, int fd)
{
	static const char *const file[CGROUP_CTL_N] = {
		/* none for CGROUP_IO, which v1 does not have */
		[CGROUP_MEMORY] = "memory.limit_in_bytes",
		[CGROUP_PIDS] = "pids.current",
		[CGROUP_CPU] = "cpu.shares",
		[CGROUP_CPUACCT] = "cpuacct.usage",
		[CGROUP_FREEZER] = "freezer.state",
		[CGROUP_CPUSET] = "cpuset.cpus",
	};
	uint32_t mask = version == 2 ? CGROUP_V2_CORE : 0;

	for (int i = 0; i < CGROUP_CTL_N && version == 1; i++)
		if (file[i] && cgroup_file_exists(fd, file[i]))
			mask |= CGROUP_BIT(i);
	return mask;
}

int cgroup_reopen(const char *const *paths, int n, struct cgroup *ret, struct err *e)
{
	*ret = CGROUP_INIT;
	for (int i = 0; i < n; i++) {
		struct cgroup_dir *d = &ret->dir[ret->dir_n];
		int fd = -EBADF, version;

		version = strlen(paths[i]) < CGROUP_PATH_SIZE && cgroup_path_is_ours(paths[i]) &&
					  ret->dir_n < CGROUP_DIR_MAX
				  ? cgroup_dir_open(AT_FDCWD, paths[i], &fd)
				  : -EINVAL;
		if (version == -ENOENT)
			continue;
		if (version < 0) {
			cgroup_close(ret);
			return err_set(e, ERR_HOST, -version, "'%.200s' is not a cgroup of cleave",
				       paths[i]);
		}
		*d = (struct cgroup_dir){
			.version = version, .fd = fd, .ctls = guess_ctls(version, fd)};
		snprintf(d->path, sizeof(d->path), "%s", paths[i]);
		ret->dir_n++;
	}
	return 0;
}

int cgroup_remove_paths(const char *const *paths, int n, uint64_t timeout_ns, struct err *e)
{
	uint64_t deadline_ns = cgroup_now_ns() + timeout_ns, now;
	struct cgroup cg;
	int r = cgroup_reopen(paths, n, &cg, e);

	if (r < 0)
		return r;
	r = cgroup_kill(&cg, timeout_ns, e);
	if (r < 0) {
		cgroup_close(&cg);
		return r;
	}
	now = cgroup_now_ns();
	return cgroup_remove(&cg, now < deadline_ns ? deadline_ns - now : 0, e);
}

int cgroup_remove_path(const char *path, uint64_t timeout_ns, struct err *e)
{
	return cgroup_remove_paths(&path, 1, timeout_ns, e);
}
