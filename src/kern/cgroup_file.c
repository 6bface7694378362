/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: reading and writing the files of a cgroup directory, by descriptor and without following
 * links, so that a name can't lead elsewhere.
 */
#include "kern/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The kernel hands these files out by the page: what comes short of half a page was the end. */
#define SURELY_THE_END 2048

int cgroup_subdir_open(int dir_fd, const char *name, int *ret_fd)
{
	*ret_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

int cgroup_dir_open(int at_fd, const char *path, int *ret_fd)
{
	struct statfs fs;
	AUTO_FD int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	*ret_fd = -EBADF;
	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP_SUPER_MAGIC && fs.f_type != CGROUP2_SUPER_MAGIC)
		return -EMEDIUMTYPE;
	*ret_fd = take_fd(&fd);
	return fs.f_type == CGROUP_SUPER_MAGIC ? 1 : 2;
}

int cgroup_file_read(int dir_fd, const char *name, char *buf, size_t size)
{
	size_t have = 0;
	AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, buf + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			buf[0] = '\0';
			return -errno;
		}
		if (!n)
			break;
		have += (size_t)n;
		if (have == size) {
			buf[0] = '\0';
			return -E2BIG;
		}
		if (have < SURELY_THE_END)
			break;
	}
	buf[have] = '\0';
	return (int)have;
}

int cgroup_file_write(int dir_fd, const char *name, const char *text)
{
	size_t n = strlen(text);
	ssize_t done;
	AUTO_FD int fd = openat(dir_fd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	do {
		done = write(fd, text, n);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		return -errno;
	return (size_t)done == n ? 0 : -EIO;
}

uint64_t cgroup_file_u64(int dir_fd, const char *name)
{
	char buf[64];

	return cgroup_file_read(dir_fd, name, buf, sizeof(buf)) < 0 ? CGROUP_UNKNOWN
								    : cgroup_parse_u64(buf);
}

uint64_t cgroup_file_key(int dir_fd, const char *name, const char *key)
{
	char buf[4096];

	return cgroup_file_read(dir_fd, name, buf, sizeof(buf)) < 0 ? CGROUP_UNKNOWN
								    : cgroup_parse_key(buf, key);
}

bool cgroup_is_our_program(long pid)
{
	char path[32];
	struct stat ours, its;

	if (pid == getpid())
		return true;
	snprintf(path, sizeof(path), "/proc/%ld/exe", pid);
	return stat("/proc/self/exe", &ours) == 0 && stat(path, &its) == 0 &&
	       ours.st_dev == its.st_dev && ours.st_ino == its.st_ino;
}

bool cgroup_file_exists(int dir_fd, const char *name)
{
	struct stat st;

	return !fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
}

char *cgroup_file_slurp(int dir_fd, const char *name, size_t max_bytes, size_t *ret_n)
{
	char first[16384]; /* mostly enough: a large block of the heap costs more than reading */
	size_t size = sizeof(first), have = 0;
	AUTO_FREE char *buf = NULL;
	AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char *out;

	if (fd < 0)
		return NULL;
	while (have < max_bytes) {
		ssize_t n;

		if (have + 1 == size) {
			char *more = realloc(buf, size * 2);

			if (!more)
				return NULL;
			if (!buf)
				memcpy(more, first, have);
			buf = more;
			size *= 2;
		}
		n = read(fd, (buf ? buf : first) + have, size - have - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NULL;
		if (!n)
			break;
		have += (size_t)n;
	}
	if (ret_n)
		*ret_n = have;
	out = buf ? buf : malloc(have + 1);
	if (out && !buf)
		memcpy(out, first, have);
	buf = NULL;
	if (out)
		out[have] = '\0';
	return out;
}
