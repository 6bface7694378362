/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FILE records: paths inside the sandbox, looked up from outside without following anything that
 * the workload could have put there. A path from /proc is a claim; it counts only when what stands
 * there has the device and inode that the kernel reported for the object itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

#define TMPFS 0x01021994
#define OVERLAY 0x794c7630

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

static uint64_t device(dev_t d)
{
	return (uint64_t)major(d) << 32 | minor(d);
}

static bool known(struct harvest *h, const char *path, const struct stat *want, uint32_t *ret)
{
	const char *heap = h->b.table[IMAGE_BYTE].data;

	/* The last ones first: mappings of one file follow each other. */
	for (uint32_t i = image_builder_count(&h->b, IMAGE_FILE); i-- > 0;) {
		const struct image_file *f = image_builder_at(&h->b, IMAGE_FILE, i);

		if (f->ino == want->st_ino && f->dev == device(want->st_dev) &&
		    !strcmp(heap + f->path.offset, path)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* -ENOENT: nothing with that identity stands at the path (deleted, replaced, not visible). */
int harvest_file(struct harvest *h, pid_t pid, const char *path, const struct stat *want,
		 uint32_t *ret, struct err *e)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
					  RESOLVE_NO_SYMLINKS};
	AUTO_FD int root = -EBADF, fd = -EBADF;
	struct image_file *f;
	struct statfs fs;
	struct stat st;
	char proc[32];

	if (known(h, path, want, ret))
		return 0;
	snprintf(proc, sizeof(proc), "/proc/%d/root", pid);
	root = open(proc, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_set(e, ERR_HOST, errno, "open %s", proc);
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) || fstatfs(fd, &fs))
		return -ENOENT;
	if (st.st_ino != want->st_ino || st.st_dev != want->st_dev)
		return -ENOENT;
	f = image_builder_add(&h->b, IMAGE_FILE, ret);
	if (!f)
		REFUSE(e, ENOMEM, "describe %s", path);
	f->dev = device(st.st_dev);
	f->ino = st.st_ino;
	f->size = (uint64_t)st.st_size;
	f->mtime_ns = ns(&st.st_mtim);
	f->ctime_ns = ns(&st.st_ctim);
	f->mode = st.st_mode;
	if (fs.f_type == TMPFS || fs.f_type == OVERLAY)
		f->flags = IMAGE_FILE_CARRIED;
	if (image_builder_bytes(&h->b, path, strlen(path) + 1, &f->path))
		REFUSE(e, ENOMEM, "describe %s", path);
	return 0;
}
