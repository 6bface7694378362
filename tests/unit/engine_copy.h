/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of copies share: "the host" and "a sandbox", with a plain directory as the
 * sandbox's root. As root the inside belongs to the first id slot, as in a real one. TOP/in is the
 * sandbox's root, TOP/host the host's side and working directory, TOP/away neither.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/copy.h"

#define SLOT_ID (0x70000000u + 1000)

static char top[64];
static int top_fd, in_fd, host_fd, away_fd;
static struct tree_report report;
static struct err error;

static inline uint32_t inside_id(void)
{
	return geteuid() ? geteuid() : SLOT_ID;
}

static inline void ours(int dir_fd, const char *name)
{
	if (dir_fd == in_fd && !geteuid())
		assert_int_equal(fchownat(dir_fd, name, SLOT_ID, SLOT_ID, AT_SYMLINK_NOFOLLOW), 0);
}

static inline void make_dir(int dir_fd, const char *name)
{
	assert_int_equal(mkdirat(dir_fd, name, 0755), 0);
	ours(dir_fd, name);
}

static inline void make_file(int dir_fd, const char *name, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	ours(dir_fd, name);
}

static inline void make_link(int dir_fd, const char *name, const char *text)
{
	assert_int_equal(symlinkat(text, dir_fd, name), 0);
	ours(dir_fd, name);
}

static inline bool exists(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline struct stat stat_of(int dir_fd, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static inline void assert_content(int dir_fd, const char *name, const char *text)
{
	char got[256] = "";
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	close(fd);
	assert_string_equal(got, text);
}

static inline void assert_link(int dir_fd, const char *name, const char *text)
{
	char got[256] = "";

	assert_true(readlinkat(dir_fd, name, got, sizeof(got) - 1) > 0);
	assert_string_equal(got, text);
}

static inline void remove_all(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		unlinkat(dir_fd, name, 0);
		return;
	}
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_all(fd, entry->d_name);
	closedir(d);
	unlinkat(dir_fd, name, AT_REMOVEDIR);
}

static inline int open_dir(const char *name)
{
	int fd;

	assert_int_equal(mkdirat(top_fd, name, 0755), 0);
	fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline int setup(void **state)
{
	(void)state;
	umask(022);
	alarm(50); /* whatever would block is a failure */
	/* in memory as a sandbox's disk is: 10^5 files take their time elsewhere */
	snprintf(top, sizeof(top), "%s/cleave-copy-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(top));
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(top_fd >= 0);
	in_fd = open_dir("in");
	ours(in_fd, ".");
	host_fd = open_dir("host");
	away_fd = open_dir("away");
	make_file(away_fd, "secret", "away");
	assert_int_equal(fchmod(away_fd, 0777),
			 0); /* it is not rights that keep a sandbox's id out */
	assert_int_equal(fchdir(host_fd), 0);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	close(in_fd);
	close(host_fd);
	close(away_fd);
	close(top_fd);
	remove_all(AT_FDCWD, top);
	return 0;
}

static inline struct side inside(void)
{
	struct side s;

	assert_int_equal(side_inside(&s, in_fd, inside_id(), inside_id(), &error), 0);
	return s;
}

static inline int run(struct side from, const char *from_path, struct side to, const char *to_path,
		      int fd)
{
	struct copy c = {.from = from,
			 .to = to,
			 .from_path = from_path,
			 .to_path = to_path,
			 .stream_fd = fd};

	report = (struct tree_report){0};
	error = ERR_INIT;
	return copy_run(&c, &report, &error);
}

static inline int out(const char *from, const char *to)
{
	return run(inside(), from, side_host(), to, -1);
}

static inline int in(const char *from, const char *to)
{
	return run(side_host(), from, inside(), to, -1);
}

/* Out as a tar stream, and back in. */
static inline int round_trip(const char *from, const char *to)
{
	char name[] = "/tmp/cleave-tar-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), r;

	assert_true(fd >= 0);
	unlink(name);
	r = run(inside(), from, side_host(), NULL, fd);
	if (r == 0) {
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		r = run(side_host(), NULL, inside(), to, fd);
	}
	close(fd);
	return r;
}

static inline unsigned count(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
