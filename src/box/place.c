/* SPDX-License-Identifier: Apache-2.0 */
/* Places below the new root; see place.h. */
#include "box/place.h"

#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#define EROFS_ 30
#define EXDEV_ 18
#define ENAMETOOLONG_ 36

long place_statx(int dir, const char *path, struct kernel_statx *st)
{
	return SYS5(SYS_statx, dir, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
		    STATX_BASIC_STATS | STATX_MNT_ID, st);
}

static long open_inside(const struct init *s, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve};

	if (raw_without(s->plan->test_without, "wall", "links")) {
		how.resolve = 0;
		path += path[0] == '/' && path[1];
	}
	return SYS4(SYS_openat2, s->root_fd, path, &how, sizeof(how));
}

long place_open_real(const struct init *s, const char *path, uint64_t flags)
{
	return open_inside(s, path, flags, RESOLVE_NO_SYMLINKS);
}

long place_open_parent(const struct init *s, const char *path, char *buf, const char **ret_name)
{
	size_t len = raw_strlen(path), at = 0;
	long dir = SYS4(SYS_openat2, s->root_fd, ".",
			(&(struct open_how){.flags = O_PATH | O_CLOEXEC}), sizeof(struct open_how));

	if (dir < 0)
		return dir;
	if (len >= PATH_BYTES) {
		(void)raw_close((int)dir);
		return -ENAMETOOLONG_;
	}
	memcpy(buf, path, len + 1);
	for (;;) {
		char *name, *end;
		long next;

		while (buf[at] == '/')
			at++;
		name = end = buf + at;
		while (*end && *end != '/')
			end++;
		*ret_name = name;
		if (!*end || !end[1])
			return *end = 0, dir;
		*end = 0;
		next = SYS3(SYS_mkdirat, dir, name, 0755);
		(void)raw_close((int)dir);
		if (next < 0 && next != -EEXIST_ && next != -EROFS_ /* it may exist */)
			return next;
		dir = open_inside(s, buf, O_PATH | O_DIRECTORY, 0);
		if (dir < 0)
			return dir;
		*end = '/';
		at = (size_t)(end - buf) + 1;
	}
}

/* Makes an empty directory or file at path unless something is there. */
static long make_carefully(const struct init *s, const char *path, bool file, uint32_t mode)
{
	char buf[PATH_BYTES];
	const char *name;
	long dir = place_open_parent(s, path, buf, &name), r;

	if (dir < 0)
		return dir;
	if (!*name)
		r = 0;
	else if (file)
		r = SYS4(SYS_mknodat, dir, name, 0100000 | mode, 0);
	else
		r = SYS3(SYS_mkdirat, dir, name, mode);
	(void)raw_close((int)dir);
	if (r == -EEXIST_)
		return 0;
	if (r == -EROFS_) { /* fine when the place exists */
		r = open_inside(s, path, O_PATH, 0);
		if (r < 0)
			return -EROFS_;
		(void)raw_close((int)r);
	}
	return r < 0 ? r : 0;
}

long place_make(const struct init *s, const struct plan_entry *e, const char *path, bool file,
		uint32_t mode)
{
	long r = -ENOENT_;

	if (place_is_ours(e))
		r = file ? SYS5(SYS_linkat, s->root_fd, PLACE_EMPTY, s->root_fd, path + 1, 0)
			 : SYS3(SYS_mkdirat, s->root_fd, path + 1, mode);
	if (r == -EEXIST_)
		return 0;
	/* ENOENT: the directory above is missing too */
	return r == -ENOENT_ ? make_carefully(s, path, file, mode) : r;
}

long place_attach_at(int dir, const char *path, long mnt_fd)
{
	long r = SYS5(SYS_move_mount, mnt_fd, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH);

	(void)raw_close((int)mnt_fd);
	return r;
}

/* spec_check knows names; a link of the root may lead elsewhere. */
long place_refuse_reserved(const struct init *s, int at)
{
	struct kernel_statx here, proc, dev, root;
	long dev_fd, r = place_statx(at, "", &here);

	if (raw_without(s->plan->test_without, "wall", "places"))
		return 0;
	if (r == 0)
		r = place_statx(s->proc_fd, "", &proc);
	if (r < 0)
		return r;
	if (here.dev_major == proc.dev_major && here.dev_minor == proc.dev_minor)
		return -EXDEV_;
	dev_fd = place_open_real(s, "/dev", O_PATH | O_DIRECTORY);
	r = dev_fd < 0 ? dev_fd : place_statx((int)dev_fd, "", &dev);
	if (dev_fd >= 0)
		(void)raw_close((int)dev_fd);
	if (r == 0)
		r = place_statx(s->root_fd, "", &root);
	if (r < 0)
		return r;
	/* in a root of ours /dev is no mount, and no link leads there */
	return here.mount == dev.mount && here.mount != root.mount ? -EXDEV_ : 0;
}

long place_attach(const struct init *s, const struct plan_entry *e, long mnt_fd, const char *path)
{
	long at, r;

	if (place_is_ours(e))
		return place_attach_at(s->root_fd, path + 1, mnt_fd);
	at = r = open_inside(s, path, O_PATH, 0);
	if (at >= 0)
		r = place_refuse_reserved(s, (int)at);
	if (at >= 0 && r == 0)
		r = SYS5(SYS_move_mount, mnt_fd, "", at, "",
			 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	if (at >= 0)
		(void)raw_close((int)at);
	(void)raw_close((int)mnt_fd);
	return r;
}
