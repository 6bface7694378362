/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define RECORD_MAX (64u << 10)
#define LOOK_AGAIN_MS 1000

#define LOG_FLAGS (O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW)

void output_open(struct output_log *l, int dir_fd)
{
	struct stat st;

	*l = (struct output_log){.dir_fd = dir_fd};
	l->fd = openat(dir_fd, "log", LOG_FLAGS | O_CLOEXEC, 0600);
	if (l->fd >= 0 && fstat(l->fd, &st) == 0)
		l->size = (uint64_t)st.st_size;
}

/* A reader finds a `log` at any time: the old one gets its other name before the new one stands in
 * its place. */
static bool rotate(struct output_log *l)
{
	AUTO_FD int fd = openat(l->dir_fd, "log.new", LOG_FLAGS | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	ignore_err(unlinkat(l->dir_fd, "log.1", 0), "there may be none");
	ignore_err(linkat(l->dir_fd, "log", l->dir_fd, "log.1", 0), "then only what comes is kept");
	if (renameat(l->dir_fd, "log.new", l->dir_fd, "log") < 0)
		return false;
	close_fd(&l->fd);
	l->fd = take_fd(&fd);
	l->size = 0;
	return true;
}

void output_write(struct output_log *l, char stream, const char *data, size_t n)
{
	struct timespec now;
	char head[64];
	int len;

	/* what there is no room for is lost, the sandbox goes on */
	if (!n || ((l->fd < 0 || l->size + n > OUTPUT_LOG_BYTES) && !rotate(l)))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	len = snprintf(head, sizeof(head), "%lld%09ld %c %zu\n", (long long)now.tv_sec, now.tv_nsec,
		       stream, n);
	struct iovec v[] = {{head, (size_t)len}, {(void *)data, n}, {"\n", 1}};

	if (writev(l->fd, v, 3) == (ssize_t)((size_t)len + n + 1))
		l->size += (size_t)len + n + 1;
	else /* half a record would hide the ones behind it */
		ignore_err(ftruncate(l->fd, (off_t)l->size), "it becomes no longer");
}

void output_close(struct output_log *l)
{
	close_fd(&l->fd);
}

static int write_all(int fd, const char *data, size_t n)
{
	while (n && fd >= 0) {
		ssize_t done = write(fd, data, n);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			data += done;
			n -= (size_t)done;
		}
	}
	return 0;
}

/* One reader of a log. */
struct reader {
	uint64_t since_ns;
	int out_fd, err_fd;
	char data[RECORD_MAX + 1];
};

/* One record. 1: copied or skipped; 0: no complete one yet. */
static int copy_record(struct reader *c, FILE *f)
{
	long at = ftell(f);
	unsigned long long ns;
	size_t n;
	char stream, nl;
	int r = 0;

	if (fscanf(f, "%llu %c %zu%c", &ns, &stream, &n, &nl) == 4 && nl == '\n' &&
	    n <= RECORD_MAX && fread(c->data, 1, n + 1, f) == n + 1) {
		if (ns >= c->since_ns)
			r = write_all(stream == 'e' ? c->err_fd : c->out_fd, c->data, n);
		return r < 0 ? r : 1;
	}
	clearerr(f);
	fseek(f, at, SEEK_SET);
	return 0;
}

static int copy_file(struct reader *c, FILE *f)
{
	int r;

	do
		r = copy_record(c, f);
	while (r > 0);
	return r;
}

/* *ret is NULL where there is no such file. */
static int open_log(int dir_fd, const char *name, FILE **ret)
{
	AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	*ret = fd < 0 ? NULL : fdopen(fd, "r");
	if (!*ret)
		return errno == ENOENT ? 0 : -errno;
	take_fd(&fd);
	return 0;
}

static bool is_same(FILE *f, const struct stat *other)
{
	struct stat ours;

	return fstat(fileno(f), &ours) == 0 && ours.st_dev == other->st_dev &&
	       ours.st_ino == other->st_ino;
}

static bool was_rotated(int dir_fd, FILE *f)
{
	struct stat named;

	return fstatat(dir_fd, "log", &named, AT_SYMLINK_NOFOLLOW) == 0 && !is_same(f, &named);
}

static void close_log(FILE **f)
{
	if (*f)
		fclose(*f);
	*f = NULL;
}

/* Both as they were at one moment; *ret_old is NULL when it is `log` itself or `seen`. */
static int open_both(int dir_fd, FILE *seen, FILE **ret_old, FILE **ret)
{
	struct stat st;
	int r;

	*ret_old = NULL;
	for (;;) {
		r = open_log(dir_fd, "log", ret);
		if (r == 0)
			r = open_log(dir_fd, "log.1", ret_old);
		if (r < 0 || !*ret || !was_rotated(dir_fd, *ret))
			break;
		close_log(ret);
		close_log(ret_old);
	}
	if (*ret_old && fstat(fileno(*ret_old), &st) == 0 &&
	    ((*ret && is_same(*ret, &st)) || (seen && is_same(seen, &st))))
		close_log(ret_old);
	return r;
}

/* From `seen`, NULL at the beginning, to the newest file: what lies between them is copied. */
static int next_log(struct reader *c, int dir_fd, FILE *seen, FILE **ret)
{
	FILE *old;
	int r = open_both(dir_fd, seen, &old, ret);

	if (r == 0 && old)
		r = copy_file(c, old);
	close_log(&old);
	return r;
}

int output_copy(int dir_fd, uint64_t since_ns, bool follow, bool (*ended)(void *), void *arg,
		int out_fd, int err_fd)
{
	char path[64], events[4096];
	AUTO_FREE struct reader *c = malloc(sizeof(*c));
	AUTO_FD int watch = follow ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -EBADF;
	FILE *f = NULL;
	int r = c ? 0 : -ENOMEM;

	if (c) {
		c->since_ns = since_ns;
		c->out_fd = out_fd;
		c->err_fd = err_fd;
		r = next_log(c, dir_fd, NULL, &f);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
	if (watch >= 0)
		inotify_add_watch(watch, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE);
	while (r == 0 && f) {
		bool last = !follow || ended(arg);
		struct pollfd p = {watch, POLLIN, 0};

		r = copy_file(c, f);
		if (r < 0)
			break;
		if (was_rotated(dir_fd, f)) {
			FILE *seen = f;

			r = copy_file(c, seen);
			f = NULL;
			if (r == 0)
				r = next_log(c, dir_fd, seen, &f);
			close_log(&seen);
			continue;
		}
		if (last)
			break;
		poll(&p, 1, LOOK_AGAIN_MS);
		while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
			;
	}
	close_log(&f);
	return r;
}
