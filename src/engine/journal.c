/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"

#define JOURNAL_MAX (64 << 10)
#define UNFINISHED_SECONDS 60
#define LOCK_NAPS 5000 /* of a millisecond */
#define REMOVE_TIMEOUT_NS UINT64_C(5000000000)

static int state_path(char *buf, size_t size)
{
	const char *env = getenv("CLEAVE_STATE"), *runtime = getenv("XDG_RUNTIME_DIR");
	uid_t uid = geteuid();
	int n;

	if (env && env[0] == '/')
		n = snprintf(buf, size, "%s", env);
	else if (uid == 0)
		n = snprintf(buf, size, "/run/cleave");
	else if (runtime && runtime[0] == '/')
		n = snprintf(buf, size, "%s/cleave", runtime);
	else
		n = snprintf(buf, size, "/tmp/cleave-%u", uid);
	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

int state_open(struct err *e)
{
	char path[4096];
	struct stat st;
	AUTO_FD int fd = -EBADF;

	if (state_path(path, sizeof(path)) < 0)
		return err_set(e, ERR_HOST, ENAMETOOLONG, "the state directory");
	fd = open(path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (mkdir(path, 0711) < 0 && errno != EEXIST)
			return err_set(e, ERR_HOST, errno, "make the state directory '%s'", path);
		fd = open(path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_HOST, errno, "open the state directory '%s'", path);
	if (st.st_uid != geteuid() || st.st_mode & 022)
		return err_set(e, ERR_HOST, 0,
			       "the state directory '%s' belongs to somebody else or can be "
			       "written by others",
			       path);
	if (faccessat(fd, "sandboxes", F_OK, 0) < 0 && mkdirat(fd, "sandboxes", 0700) < 0 &&
	    errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make '%s/sandboxes'", path);
	return take_fd(&fd);
}

int state_open_dir(const char *name, struct err *e)
{
	AUTO_FD int state = state_open(e);
	int fd;

	if (state < 0)
		return state;
	if (mkdirat(state, name, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "make the directory '%s' of the state", name);
	fd = openat(state, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_set(e, ERR_HOST, errno, "open the directory '%s' of the state", name)
		      : fd;
}

int state_lock(int fd, struct err *e)
{
	for (int naps = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; naps++) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(e, ERR_HOST, errno, "lock a directory of the state");
		if (naps == LOCK_NAPS) {
			err_hint(e, "`cat /proc/locks` tells its process");
			return err_set(
				e, ERR_HOST, ETIMEDOUT,
				"another cleave holds the lock on the state and stands still");
		}
		poll(NULL, 0, 1);
	}
	return 0;
}

/*
 * The directory appears under its name only once it is locked: gc must never meet an unlocked one
 * that lives.
 */
int journal_open(struct journal *j, struct err *e)
{
	AUTO_FD int state = state_open(e);
	char path[64], temp[64];

	if (j->file_fd >= 0)
		return 0;
	if (state < 0)
		return state;
	snprintf(path, sizeof(path), "sandboxes/%s", j->id);
	snprintf(temp, sizeof(temp), "sandboxes/.%s", j->id);
	if (mkdirat(state, temp, 0700) < 0)
		return err_set(e, ERR_HOST, errno, "make the state of sandbox %s", j->id);
	j->dir_fd = openat(state, temp, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	if (j->dir_fd < 0 || flock(j->dir_fd, LOCK_EX | LOCK_NB) < 0 ||
	    renameat(state, temp, state, path) < 0) {
		int r = err_set(e, ERR_HOST, errno, "lock the state of sandbox %s", j->id);

		ignore_err(unlinkat(state, temp, AT_REMOVEDIR), "gc finds it");
		return r;
	}
	j->file_fd = openat(j->dir_fd, "journal",
			    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->file_fd < 0)
		return err_set(e, ERR_HOST, errno, "open the journal of sandbox %s", j->id);
	return 0;
}

/* Like the directory, it appears under its name only once it is locked. */
static int open_lone(struct journal *j, struct err *e)
{
	AUTO_FD int state = state_open(e);
	char path[64], temp[64];

	if (state < 0)
		return state;
	snprintf(path, sizeof(path), "sandboxes/%s", j->id);
	snprintf(temp, sizeof(temp), "sandboxes/.%s", j->id);
	j->file_fd = openat(state, temp,
			    O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (j->file_fd < 0 || flock(j->file_fd, LOCK_EX | LOCK_NB) < 0 ||
	    renameat(state, temp, state, path) < 0) {
		int r = err_set(e, ERR_HOST, errno, "open the journal of sandbox %s", j->id);

		ignore_err(j->file_fd < 0 ? 0 : unlinkat(state, temp, 0), "gc finds it");
		return r;
	}
	return 0;
}

int journal_note(void *arg, const char *kind, const char *object, struct err *e)
{
	struct journal *j = arg;
	char line[1024];
	int n, r;

	if (j->file_fd < 0) {
		r = open_lone(j, e);
		if (r < 0)
			return r;
	}
	n = snprintf(line, sizeof(line), "%s %s\n", kind, object);
	if (n < 0 || (size_t)n >= sizeof(line) || strchr(object, '\n'))
		return err_set(e, ERR_INTERNAL, EINVAL, "note '%s'", object);
	if (write(j->file_fd, line, (size_t)n) != n)
		return err_set(e, ERR_HOST, errno ? errno : ENOSPC,
			       "write the journal of sandbox %s", j->id);
	return 0;
}

/* Removes the files and the directory itself; the lock goes with the descriptor. */
int state_remove(int state_fd, int dir_fd, const char *id)
{
	int copy = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	char path[64];

	if (!d) {
		if (copy >= 0)
			close(copy);
		return -errno;
	}
	rewinddir(d);
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dir_fd, entry->d_name, 0);
	closedir(d);
	snprintf(path, sizeof(path), "sandboxes/%s", id);
	return unlinkat(state_fd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
}

void journal_clear(struct journal *j)
{
	ignore_err(j->file_fd >= 0 ? ftruncate(j->file_fd, 0) : 0,
		   "gc finds what is named gone already");
}

void journal_close(struct journal *j)
{
	struct err ignored = ERR_INIT;
	AUTO_FD int state = j->file_fd < 0 ? -EBADF : state_open(&ignored);
	char path[64];

	snprintf(path, sizeof(path), "sandboxes/%s", j->id);
	if (state >= 0 && j->dir_fd < 0)
		ignore_err(unlinkat(state, path, 0), "gc finds it again");
	else if (state >= 0)
		ignore_err(state_remove(state, j->dir_fd, j->id), "gc finds it again");
	close_fd(&j->file_fd);
	close_fd(&j->dir_fd);
}

static void report_line(char **report, const char *kind, const char *object, int r)
{
	char *grown = NULL;

	if (asprintf(&grown, "%s%s %s: %s\n", *report ? *report : "", kind, object,
		     r < 0 ? strerror(-r) : "removed") < 0)
		return;
	free(*report);
	*report = grown;
}

/* What a power cut left of a line is dropped: nothing was made before the line was whole. */
static void cut_torn_line(char *text)
{
	char *end = strrchr(text, '\n');

	if (end)
		end[1] = 0;
	else
		*text = 0;
}

/* One line of a dead keeper's journal. Idempotent. */
static int undo(const char *kind, const char *object, struct err *e)
{
	if (strcmp(kind, "cgroup") == 0)
		return cgroup_remove_path(object, REMOVE_TIMEOUT_NS, e);
	return err_set(e, ERR_INTERNAL, EINVAL, "unknown kind '%s' in a journal", kind);
}

static int replay(int fd, char **report)
{
	AUTO_FREE char *text = malloc(JOURNAL_MAX + 1);
	ssize_t n = fd < 0 || !text ? 0 : read(fd, text, JOURNAL_MAX);
	int failed = 0;
	char *save = NULL;

	/* not read is not empty: the directory is the only record of what is left */
	if (!text || n < 0 || (fd < 0 && fd != -ENOENT))
		return !text ? -ENOMEM : n < 0 ? -errno : fd;
	if (n == 0)
		return 0;
	text[n] = 0;
	cut_torn_line(text);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct err e = ERR_INIT;
		char *object = strchr(line, ' ');
		int r;

		if (!object)
			continue;
		*object++ = 0;
		r = undo(line, object, &e);
		report_line(report, line, object, r);
		failed |= r < 0;
	}
	return failed ? -EBUSY : 0;
}

static int gc_one(int state_fd, const char *id, char **report)
{
	char path[300];
	AUTO_FD int own = -EBADF, file = -EBADF;
	struct stat st;
	int r;

	snprintf(path, sizeof(path), "sandboxes/%s", id);
	own = openat(state_fd, path, O_NOFOLLOW | O_NONBLOCK | O_RDONLY | O_CLOEXEC);
	if (own < 0 || fstat(own, &st) < 0 || flock(own, LOCK_EX | LOCK_NB) < 0)
		return 0; /* gone meanwhile, or alive */
	if (S_ISDIR(st.st_mode)) {
		file = openat(own, "journal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		file = file < 0 ? -errno : file;
	}
	r = replay(S_ISDIR(st.st_mode) ? file : own, report);
	if (r < 0)
		return r; /* the next gc tries again */
	if (S_ISDIR(st.st_mode) && faccessat(own, "result.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0; /* it ended in peace and is kept until rm */
	if (S_ISDIR(st.st_mode))
		r = state_remove(state_fd, own, id);
	else
		r = unlinkat(state_fd, path, 0) < 0 ? -errno : 0;
	report_line(report, "sandbox", id, r);
	return r < 0 ? r : 1;
}

/* A directory or a run's journal on the way to its name. It is locked a moment after it was made; a
 * minute is no moment. */
static bool is_unfinished(int dir_fd, const char *name)
{
	struct stat st;

	return strspn(name + 1, "0123456789abcdef") == 12 && !name[13] &&
	       fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)) &&
	       st.st_ctim.tv_sec + UNFINISHED_SECONDS < time(NULL);
}

int journal_gc(char **report, struct err *e)
{
	AUTO_FD int state = state_open(e);
	int fd = state < 0 ? state : state_open_dir("sandboxes", e), count = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	*report = NULL;
	if (!d)
		return fd < 0 ? fd : err_set(e, ERR_HOST, errno, "read the state directory");
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' || is_unfinished(fd, entry->d_name))
			count += gc_one(state, entry->d_name, report) > 0;
	closedir(d);
	return count;
}
