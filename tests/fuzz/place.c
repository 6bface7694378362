/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place for targets that write files: a tmpfs in a user and mount namespace of this process, over
 * /mnt. The cgroup file systems are covered, so that no input can name a real cgroup.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Before libFuzzer starts a thread: then no user namespace could be made any more. */
__attribute__((constructor)) static void place_make(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	FUZZ_CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
	write_text("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_text("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_text("/proc/self/gid_map", map);
	FUZZ_CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	FUZZ_CHECK(mount("none", "/sys/fs/cgroup", "tmpfs", 0, "size=4k") == 0);
	FUZZ_CHECK(mount("none", FUZZ_PLACE, "tmpfs", MS_NOSUID | MS_NODEV,
			 "size=64m,nr_inodes=4096,mode=0755") == 0);
}

int fuzz_directory(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), FUZZ_PLACE "/%s", name);
	FUZZ_CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	return fd;
}

static int top_depth;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	if (at->level < top_depth)
		return 0;
	/* modes of the input may close a directory even to us: nobody else is here */
	if (type == FTW_DNR && chmod(path, 0700) == 0)
		return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return remove(path);
}

void fuzz_clean(const char *name)
{
	char path[128];
	struct dirent *d;
	DIR *dir = opendir(FUZZ_PLACE);

	FUZZ_CHECK(dir);
	while ((d = readdir(dir)))
		FUZZ_CHECK(d->d_name[0] == '.' || !strcmp(d->d_name, name));
	closedir(dir);
	snprintf(path, sizeof(path), FUZZ_PLACE "/%s", name);
	top_depth = 1;
	FUZZ_CHECK(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

int fuzz_memfd(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	FUZZ_CHECK(fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	return fd;
}
