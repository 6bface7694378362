/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/place.h"

#include <poll.h>
#include <unistd.h>

#define PERMISSIONS 0777

/* Makes room for a file or a link. */
static int clear_name(const struct side *s, int dir_fd, const char *name)
{
	struct stat st;
	int r = side_stat(s, dir_fd, name, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return -EEXIST;
	side_enter(s, NULL);
	r = unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
	side_leave(s);
	return r;
}

/* Inside, the mode is what the source has; on the host the kernel has applied the caller's umask.
 */
static int set_mode(const struct side *s, int fd, mode_t mode)
{
	int r;

	if (!s->inside)
		return 0;
	side_enter(s, NULL);
	r = fchmod(fd, mode & PERMISSIONS) < 0 ? -errno : 0;
	side_leave(s);
	return r;
}

int place_directory(const struct side *s, int dir_fd, const char *name, mode_t mode)
{
	AUTO_FD int fd = -EBADF;
	int r;

	mode = (mode & PERMISSIONS) | S_IRWXU;
	side_enter(s, NULL);
	r = mkdirat(dir_fd, name, mode) < 0 ? -errno : 0;
	side_leave(s);
	if (r < 0 && r != -EEXIST)
		return r;
	/* one that was there may be unreadable, and needs not be read */
	fd = side_open(s, dir_fd, name, (r == 0 ? O_RDONLY : O_PATH) | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd == -ELOOP ? -ENOTDIR : fd;
	if (r == 0)
		r = set_mode(s, fd, mode);
	return r < 0 && r != -EEXIST ? r : take_fd(&fd);
}

int place_file(const struct side *s, int dir_fd, const char *name, mode_t mode)
{
	AUTO_FD int fd = -EBADF;
	int r = clear_name(s, dir_fd, name);

	if (r < 0)
		return r;
	fd = side_open(s, dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, mode & PERMISSIONS, NULL);
	if (fd < 0)
		return fd;
	r = set_mode(s, fd, mode);
	return r < 0 ? r : take_fd(&fd);
}

int place_link(const struct side *s, int dir_fd, const char *name, const char *text)
{
	int r = clear_name(s, dir_fd, name);

	if (r < 0)
		return r;
	side_enter(s, NULL);
	r = symlinkat(text, dir_fd, name) < 0 ? -errno : 0;
	side_leave(s);
	return r;
}

int place_hard_link(const struct side *s, int old_fd, const char *old_name, int dir_fd,
		    const char *name)
{
	int r = clear_name(s, dir_fd, name);

	if (r < 0)
		return r;
	side_enter(s, NULL);
	r = linkat(old_fd, old_name, dir_fd, name, 0) < 0 ? -errno : 0;
	side_leave(s);
	return r;
}

int place_finish(const struct side *s, int fd, uint64_t size, struct timespec mtime)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, mtime};
	int r = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;

	side_enter(s, NULL);
	if (r == 0 && futimens(fd, times) < 0)
		r = -errno;
	side_leave(s);
	/* a file system may tell only now that it had no room */
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

void place_remove(const struct side *s, int dir_fd, const char *name)
{
	side_enter(s, NULL);
	ignore_err(unlinkat(dir_fd, name, 0), "the error that brought us here is the one to tell");
	side_leave(s);
}

int place_next_data(int fd, uint64_t from, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
	off_t start, end;

	if (from >= size)
		return 0;
	start = lseek(fd, (off_t)from, SEEK_DATA);
	if (start < 0 && errno == ENXIO)
		return 0;
	if (start < 0 || (uint64_t)start < from) { /* a file system without holes */
		*ret_start = from;
		*ret_end = size;
		return 1;
	}
	if ((uint64_t)start >= size)
		return 0;
	end = lseek(fd, start, SEEK_HOLE);
	if (end <= start) /* it became a hole, or the file shrank, since */
		end = start + 4096;
	*ret_start = (uint64_t)start;
	*ret_end = (uint64_t)end < size ? (uint64_t)end : size;
	return 1;
}

int place_write(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EAGAIN) { /* a pipe that somebody made non-blocking */
			struct pollfd wait = {.fd = fd, .events = POLLOUT};

			ignore_err(poll(&wait, 1, -1), "write() tells");
			continue;
		}
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* One stretch. 1: the file ended early, at *ret_end. */
static int copy_stretch(int from_fd, int to_fd, uint64_t at, uint64_t end, char *buffer,
			struct place_copied *ret)
{
	if (lseek(to_fd, (off_t)at, SEEK_SET) < 0)
		return -errno;
	while (at < end) {
		size_t want = end - at < PLACE_BUFFER ? (size_t)(end - at) : PLACE_BUFFER;
		ssize_t n = pread(from_fd, buffer, want, (off_t)at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ret->from = true;
			return -errno;
		}
		if (n == 0) {
			ret->size = at;
			return 1;
		}
		r = place_write(to_fd, buffer, (size_t)n);
		if (r < 0)
			return r;
		at += (uint64_t)n;
	}
	return 0;
}

int place_copy(int from_fd, int to_fd, uint64_t size, char *buffer, struct place_copied *ret)
{
	uint64_t at = 0, start, end;
	int r = 0;

	*ret = (struct place_copied){.size = size};
	while (r == 0 && place_next_data(from_fd, at, size, &start, &end)) {
		r = copy_stretch(from_fd, to_fd, start, end, buffer, ret);
		at = end;
	}
	return r < 0 ? r : 0;
}
