/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of init for a root that a directory of the host gives (--root DIR). Freestanding.
 *
 * Whoever filled DIR is hostile, and may be changing it right now. So nothing here follows a
 * symbolic link of DIR's, and no path is resolved but below it: what is ours comes from the
 * skeleton by descriptor and is attached to directories that were seen to be directories of the
 * root.
 */
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/openat2.h>

#include "box/accounts.h"
#include "box/place.h"
#include "box/root.h"

#define EINVAL_ 22
#define ENOTDIR_ 20
#define ELOOP_ 40
#define ESTALE_ 116
#define LOWER "lower"
#define UPPER "upper"
#define WORK "work"
#define ACCOUNTS_MAX (256u << 10) /* a longer passwd stays as it is */

static bool is_regular(const struct kernel_statx *st)
{
	return (st->mode & 0170000) == 0100000;
}

static bool is_directory(const struct kernel_statx *st)
{
	return (st->mode & 0170000) == 0040000;
}

static long set_directory(struct init *s, const struct plan_entry *e)
{
	struct kernel_statx st;
	long fd = e->fd, r;
	uint64_t ro;

	if (e->kind == PLAN_BIND) { /* an ordinary user's: the path once more, and compared */
		fd = SYS3(SYS_open_tree, AT_FDCWD, plan_text(s->plan, e->source),
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (fd < 0)
			return fd;
		r = place_statx((int)fd, "", &st);
		if (r < 0)
			return r;
		if (st.ino != e->ino || ((uint64_t)st.dev_major << 32 | st.dev_minor) != e->dev)
			return -ESTALE_;
	}
	s->dir_fd = (int)fd;
	ro = e->flags & PLAN_READ_ONLY ? MOUNT_ATTR_RDONLY : 0;
	return root_set_attr((int)fd,
			     root_flags_of(s, "directory", ROOT_PRIVATE | ROOT_ALWAYS | ro), false);
}

long init_directory(struct init *s)
{
	const struct plan_entry *e = plan_entries(s->plan);

	for (uint32_t i = 0; i < s->plan->n_entries; i++) {
		if (e[i].group != PLAN_DIRECTORY)
			continue;
		s->object = (int32_t)i;
		return set_directory(s, &e[i]);
	}
	return -EINVAL_;
}

static long read_all(int fd, char *buf, size_t room)
{
	size_t n = 0;

	while (n < room) {
		long r = raw_read(fd, buf + n, room - n);

		if (r < 0)
			return r;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (long)n;
}

/* DIR's file, opened so that nothing which may lie there can block us or be changed by it. */
static long open_account(const struct init *s, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	long fd = SYS4(SYS_openat2, s->dir_fd, path, &how, sizeof(how)), r;
	struct kernel_statx st;

	if (fd < 0)
		return fd;
	r = place_statx((int)fd, "", &st);
	/* we may read more than the workload may: what a link of DIR's leads to stays closed */
	if (r == 0 && is_regular(&st) && st.mode & 0004)
		return fd;
	(void)raw_close((int)fd);
	return r < 0 ? r : -EINVAL_;
}

static long append(const struct init *s, const char *name, const char *text, size_t n,
		   const char *line)
{
	long fd = SYS4(SYS_openat, s->root_fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC, 0), r = 0;

	if (fd < 0)
		return fd;
	for (size_t done = 0; done < n && r >= 0; done += (size_t)r)
		r = raw_write((int)fd, text + done, n - done);
	if (r >= 0 && n && text[n - 1] != '\n')
		r = raw_write((int)fd, "\n", 1);
	if (r >= 0)
		r = raw_write((int)fd, line, raw_strlen(line));
	(void)raw_close((int)fd);
	return r < 0 ? r : 0;
}

/*
 * The skeleton's file is for a DIR without one. One that knows the id is left as it is; else ours
 * becomes a copy of it with a line more.
 */
long dir_account(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = open_account(s, target), n, r = 0, map;
	char id[24], *text;

	if (fd < 0)
		return 0;
	map = SYS6(SYS_mmap, 0, ACCOUNTS_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (map < 0 && map > -4096)
		return map;
	text = (char *)map;
	raw_format_u64(id, e->size);
	n = read_all((int)fd, text, ACCOUNTS_MAX);
	(void)raw_close((int)fd);
	if (n == ACCOUNTS_MAX || (n >= 0 && accounts_know(text, (size_t)n, id)))
		r = SYS3(SYS_unlinkat, s->root_fd, target + 1, 0);
	else if (n >= 0)
		r = append(s, target + 1, text, (size_t)n, plan_text(s->plan, e->source));
	(void)SYS2(SYS_munmap, map, ACCOUNTS_MAX);
	return r;
}

long init_accounts(struct init *s)
{
	return root_build(s, PLAN_ACCOUNTS);
}

/*
 * Removing a directory of DIR and making it again needs an attribute on the new one, which tmpfs
 * before Linux 6.6 can't keep: better said now than met as EIO by the workload.
 */
static long try_mark(int disk_fd)
{
	static const char name[] = "user.overlay.opaque";
	long fd = SYS3(SYS_openat, disk_fd, WORK, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return fd;
	r = SYS5(SYS_fsetxattr, fd, name, "y", 1, 0);
	if (r == 0)
		r = SYS2(SYS_fremovexattr, fd, name);
	(void)raw_close((int)fd);
	return r;
}

long init_upper(struct init *s)
{
	long r = SYS3(SYS_mkdirat, s->disk_fd, UPPER, 0755);

	if (r == 0)
		r = SYS3(SYS_mkdirat, s->disk_fd, WORK, 0700);
	return r < 0 ? r : try_mark(s->disk_fd);
}

static long become_root_of(struct init *s, long mnt_fd)
{
	s->skeleton_fd = s->root_fd;
	s->root_fd = (int)mnt_fd;
	return root_cover_old(s->root_fd, "/");
}

long init_overlay(struct init *s)
{
	/* names below the disk: no path of the host's takes part, nor one of a length of its own */
	static const struct root_fs_option o[] = {{"lowerdir", ROOT_SKELETON ":" LOWER},
						  {"upperdir", UPPER},
						  {"workdir", WORK},
						  {"userxattr", 0}};
	long r = root_attach_to_disk(s, s->dir_fd, LOWER);

	(void)raw_close(s->dir_fd);
	if (r == 0)
		r = SYS1(SYS_fchdir, s->disk_fd);
	if (r == 0)
		r = root_new_fs("overlay", o, sizeof(o) / sizeof(o[0]),
				root_flags_of(s, "overlay", ROOT_ALWAYS));
	return r < 0 ? r : become_root_of(s, r);
}

long init_root_itself(struct init *s)
{
	return become_root_of(s, s->dir_fd);
}

/* Onto a directory that no link leads to; afterwards it must be what is found at the path. */
static long attach(struct init *s, const struct plan_entry *e, long mnt_fd, const char *target)
{
	struct kernel_statx want, got;
	long at = place_open_real(s, target, O_PATH | O_DIRECTORY), r;

	if (at == -ENOENT_) {
		r = place_make(s, e, target, false, e->mode);
		at = r < 0 ? r : place_open_real(s, target, O_PATH | O_DIRECTORY);
	}
	if (at < 0)
		return at;
	r = SYS5(SYS_move_mount, mnt_fd, "", at, "",
		 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	(void)raw_close((int)at);
	if (r < 0)
		return r;
	at = place_open_real(s, target, O_PATH | O_DIRECTORY);
	if (at < 0)
		return -ESTALE_;
	r = place_statx((int)at, "", &got);
	if (r == 0)
		r = place_statx((int)mnt_fd, "", &want);
	(void)raw_close((int)at);
	if (r == 0 && (want.ino != got.ino || want.dev_major != got.dev_major ||
		       want.dev_minor != got.dev_minor))
		r = -ESTALE_;
	return r;
}

long dir_move(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = SYS3(SYS_open_tree, s->skeleton_fd, target + 1, OPEN_TREE_CLOEXEC), r;

	if (fd < 0)
		return fd;
	r = attach(s, e, fd, target);
	(void)raw_close((int)fd);
	return r;
}

/* A file over one of DIR's, if DIR has one there. */
static long cover_file(const struct init *s, long mnt_fd, const char *target)
{
	long at = place_open_real(s, target, O_PATH), r;
	struct kernel_statx st;

	if (at < 0)
		return at == -ENOENT_ || at == -ENOTDIR_ || at == -ELOOP_ ? 0 : at;
	r = place_statx((int)at, "", &st);
	if (r == 0 && is_regular(&st))
		r = SYS5(SYS_move_mount, mnt_fd, "", at, "",
			 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	(void)raw_close((int)at);
	return r;
}

long dir_show(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = SYS3(SYS_open_tree, s->skeleton_fd, target + 1,
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
	     r;
	struct kernel_statx st;

	if (fd == -ENOENT_ && e->group == PLAN_NAMES) /* a passwd that needs no line of ours */
		return 0;
	if (fd < 0)
		return fd;
	r = root_set_attr((int)fd,
			  ROOT_PRIVATE | root_flags_of(s, "ours", ROOT_ALWAYS | MOUNT_ATTR_RDONLY),
			  false);
	if (r == 0)
		r = place_statx((int)fd, "", &st);
	if (r == 0)
		r = is_directory(&st) ? attach(s, e, fd, target) : cover_file(s, fd, target);
	(void)raw_close((int)fd);
	return r;
}

long dir_written(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = SYS3(SYS_open_tree, s->disk_fd, UPPER, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), r;

	if (fd < 0)
		return fd;
	r = root_set_attr((int)fd,
			  ROOT_PRIVATE | root_flags_of(s, "written",
						       ROOT_ALWAYS | MOUNT_ATTR_RDONLY |
							       MOUNT_ATTR_NOEXEC),
			  false);
	if (r == 0)
		r = attach(s, e, fd, target);
	(void)raw_close((int)fd);
	return r;
}

long dir_own(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = place_open_real(s, target, O_PATH), r;
	char buf[PATH_BYTES];
	const char *name;

	if (fd >= 0)
		return raw_close((int)fd);
	fd = place_open_parent(s, target, buf, &name);
	if (fd < 0)
		return fd;
	r = SYS3(SYS_mkdirat, fd, name, e->mode);
	if (r == 0)
		r = root_own(s, e, (int)fd, name);
	(void)raw_close((int)fd);
	return r == -EEXIST_ ? 0 : r;
}

long init_ours(struct init *s)
{
	return root_build(s, PLAN_OURS);
}

long init_names(struct init *s)
{
	return root_build(s, PLAN_NAMES);
}
