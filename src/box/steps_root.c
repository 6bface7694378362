/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of init that build the root. Freestanding.
 *
 * The new root is a tmpfs stacked on the old one, so no empty directory of the host is needed. How
 * a path inside is found: place.h. What to build is data: the plan's entries, a group a row.
 */
#include "box/init.h"

#include <linux/fcntl.h>
#include <linux/mount.h>

#include "box/place.h"
#include "box/root.h"

#define EINVAL_ 22
#define ESTALE_ 116
#define EOVERFLOW_ 75
#define COVER_DIR "empty.d"

static long new_tmpfs(uint64_t bytes, uint64_t inodes, const char *mode, uint64_t attr)
{
	char size_text[24], inodes_text[24];
	struct root_fs_option o[] = {
		{"size", size_text}, {"nr_inodes", inodes_text}, {"mode", mode}};

	raw_format_u64(size_text, bytes);
	raw_format_u64(inodes_text, inodes);
	return root_new_fs("tmpfs", o, 3, attr);
}

long init_private_mounts(struct init *s)
{
	(void)s;
	return SYS5(SYS_mount, 0, "/", 0, 0x4000 /* MS_REC */ | 0x40000 /* MS_PRIVATE */, 0);
}

long init_disk(struct init *s)
{
	long fd = new_tmpfs(s->plan->disk_bytes, s->plan->disk_inodes, "0755",
			    root_flags_of(s, "disk", ROOT_ALWAYS));

	if (fd < 0)
		return fd;
	/* kept for good: how full it is can't be asked by a path, where anything may be mounted */
	s->disk_fd = (int)SYS3(SYS_dup3, fd, INIT_DISK_FD, O_CLOEXEC);
	(void)raw_close((int)fd);
	if (s->disk_fd < 0)
		return s->disk_fd;
	/*
	 * Binds of its directories can only be made while it is attached somewhere. Not on "/":
	 * there it would lie on the old root after the pivot and be what umount2(".") detaches.
	 */
	return root_cover_old(s->disk_fd, "/proc");
}

static long new_skeleton(struct init *s)
{
	long fd =
		new_tmpfs(s->plan->root_bytes, 4096, "0755", root_flags_of(s, "root", ROOT_ALWAYS));

	if (fd < 0)
		return fd;
	s->root_fd = (int)fd;
	return SYS4(SYS_mknodat, s->root_fd, PLACE_EMPTY, 0100444, 0);
}

long init_new_root(struct init *s)
{
	long r = new_skeleton(s);

	return r < 0 ? r : root_cover_old(s->root_fd, "/");
}

long init_new_skeleton(struct init *s)
{
	long r = new_skeleton(s);

	/* not on "/": what is stacked there between the old root and the new one would stay */
	return r < 0 ? r : root_attach_to_disk(s, s->root_fd, ROOT_SKELETON);
}

long root_own(const struct init *s, const struct plan_entry *e, int dir, const char *name)
{
	if (!(e->flags & PLAN_OWNED))
		return 0;
	return SYS5(SYS_fchownat, dir, name, s->plan->uid, s->plan->gid,
		    AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH));
}

static long do_mkdir(struct init *s, const struct plan_entry *e, const char *target)
{
	long r = place_make(s, e, target, false, e->mode);

	return r < 0 ? r : root_own(s, e, s->root_fd, target + 1);
}

static long do_symlink(struct init *s, const struct plan_entry *e, const char *target)
{
	const char *text = plan_text(s->plan, e->source);
	char buf[PATH_BYTES];
	const char *name;
	long dir, r;

	if (place_is_ours(e))
		return SYS3(SYS_symlinkat, text, s->root_fd, target + 1);
	dir = place_open_parent(s, target, buf, &name);
	if (dir < 0)
		return dir;
	r = SYS3(SYS_symlinkat, text, dir, name);
	(void)raw_close((int)dir);
	return r;
}

static long make_file(struct init *s, const struct plan_entry *e, const char *target)
{
	const uint64_t flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
	char buf[PATH_BYTES];
	const char *name;
	long dir, fd, r;

	if (place_is_ours(e))
		return SYS4(SYS_openat, s->root_fd, target + 1, flags, e->mode);
	dir = place_open_parent(s, target, buf, &name);
	if (dir < 0)
		return dir;
	/* O_EXCL follows no symlink: what is there already is replaced as a name, not written
	 * through */
	(void)SYS3(SYS_unlinkat, dir, name, 0);
	fd = SYS4(SYS_openat, dir, name, flags, e->mode);
	if (fd >= 0) {
		r = root_own(s, e, (int)dir, name);
		if (r < 0) {
			(void)raw_close((int)fd);
			fd = r;
		}
	}
	(void)raw_close((int)dir);
	return fd;
}

static long do_write(struct init *s, const struct plan_entry *e, const char *target)
{
	const char *data = plan_text(s->plan, e->source);
	long fd = make_file(s, e, target), r = 0;

	if (fd < 0)
		return fd;
	for (uint64_t done = 0; done < e->size && r >= 0; done += (uint64_t)r)
		r = raw_write((int)fd, data + done, e->size - done);
	(void)raw_close((int)fd);
	return r < 0 ? r : 0;
}

static long do_copy(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = make_file(s, e, target), r = 1;

	if (fd < 0)
		return fd;
	while (r > 0)
		r = SYS4(SYS_sendfile, fd, e->fd, 0, 1 << 20);
	(void)raw_close((int)fd);
	(void)raw_close(e->fd);
	return r;
}

static long do_bind_fd(struct init *s, const struct plan_entry *e, const char *target)
{
	struct kernel_statx st;
	long fd = e->fd, r = place_statx((int)fd, "", &st);
	bool dir = (st.mode & 0170000) == 0040000;
	uint64_t ro;

	if (r >= 0 && (e->flags & PLAN_MAKE_TARGET))
		r = place_make(s, e, target, !dir, dir ? 0755 : 0644);
	if (r < 0)
		return r;
	ro = e->flags & PLAN_READ_ONLY ? MOUNT_ATTR_RDONLY : 0;
	r = root_set_attr((int)fd, root_flags_of(s, "bind", ROOT_PRIVATE | ROOT_ALWAYS | ro), true);
	return r < 0 ? r : place_attach(s, e, fd, target);
}

static long do_bind(struct init *s, const struct plan_entry *e, const char *target)
{
	struct plan_entry found = *e;
	struct kernel_statx st;
	long fd = SYS3(SYS_open_tree, AT_FDCWD, plan_text(s->plan, e->source),
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
	     r;

	if (fd == -ENOENT_ && (e->flags & PLAN_OPTIONAL))
		return 0;
	if (fd < 0)
		return fd;
	if (e->flags & PLAN_CHECK_ID) {
		r = place_statx((int)fd, "", &st);
		if (r < 0)
			return r;
		if (st.ino != e->ino || ((uint64_t)st.dev_major << 32 | st.dev_minor) != e->dev)
			return -ESTALE_;
	}
	found.fd = (int32_t)fd;
	return do_bind_fd(s, &found, target);
}

static long do_disk_dir(struct init *s, const struct plan_entry *e, const char *target)
{
	const char *name = plan_text(s->plan, e->source);
	long r = SYS3(SYS_mkdirat, s->disk_fd, name, e->mode), fd;

	if (r < 0)
		return r;
	r = root_own(s, e, s->disk_fd, name);
	if (r < 0)
		return r;
	fd = SYS3(SYS_open_tree, s->disk_fd, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return fd;
	r = place_make(s, e, target, false, 0755);
	return r < 0 ? r : place_attach(s, e, fd, target);
}

/* A node of the host's /dev, by its own device number and not by what lies at the path. */
static long do_node(struct init *s, const struct plan_entry *e, const char *target)
{
	struct kernel_statx st;
	long fd = SYS3(SYS_open_tree, AT_FDCWD, plan_text(s->plan, e->source),
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
	     r;

	if (fd < 0)
		return fd;
	r = place_statx((int)fd, "", &st);
	if (r < 0)
		return r;
	if (((st.mode & 0170000) != 0020000 ||
	     ((uint64_t)st.rdev_major << 32 | st.rdev_minor) != e->size) &&
	    !raw_without(s->plan->test_without, "wall", "nodes"))
		return -EINVAL_;
	r = place_make(s, e, target, true, 0666);
	if (r == 0)
		r = root_set_attr((int)fd,
				  ROOT_PRIVATE |
					  root_flags_of(s, "node",
							MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC),
				  false);
	return r < 0 ? r : place_attach(s, e, fd, target);
}

/* A fresh detached clone of the empty file or directory that hides things, read-only. */
static long new_cover(struct init *s, bool dir)
{
	long fd, r = 0;

	/* clones of an attached cover are as read-only as it is, and cost a call less */
	if (s->cover_fd[dir] >= 0)
		return SYS3(SYS_open_tree, s->cover_fd[dir], "",
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (dir)
		r = SYS3(SYS_mkdirat, s->root_fd, COVER_DIR, 0555);
	if (r < 0)
		return r;
	fd = SYS3(SYS_open_tree, s->root_fd, dir ? COVER_DIR : PLACE_EMPTY,
		  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return fd;
	r = root_set_attr((int)fd,
			  ROOT_PRIVATE | root_flags_of(s, "cover",
						       ROOT_ALWAYS | MOUNT_ATTR_RDONLY |
							       MOUNT_ATTR_NOEXEC),
			  false);
	return r < 0 ? r : fd;
}

/* Nothing of the host takes part in hiding what lies below /proc. */
static long do_cover(struct init *s, const struct plan_entry *e, const char *target)
{
	const char *name = target + sizeof("/proc/") - 1;
	struct kernel_statx st;
	long fd, r = place_statx(s->proc_fd, name, &st);
	bool dir;

	(void)e;
	if (r < 0)
		return r == -ENOENT_ ? 0 : r;
	dir = (st.mode & 0170000) == 0040000;
	fd = new_cover(s, dir);
	if (fd < 0)
		return fd;
	if (s->cover_fd[dir] >= 0)
		return place_attach_at(s->proc_fd, name, fd);
	s->cover_fd[dir] = (int)fd;
	return SYS5(SYS_move_mount, fd, "", s->proc_fd, name, MOVE_MOUNT_F_EMPTY_PATH);
}

/* The covers keep what has no name any more; unlinked before they are attached it would be ENOENT.
 */
static long forget_covers(struct init *s)
{
	long r = SYS3(SYS_unlinkat, s->root_fd, PLACE_EMPTY, 0);

	if (r == 0 && s->cover_fd[1] >= 0)
		r = SYS3(SYS_unlinkat, s->root_fd, COVER_DIR, AT_REMOVEDIR);
	for (int dir = 0; dir < 2; dir++)
		if (s->cover_fd[dir] >= 0)
			(void)raw_close(s->cover_fd[dir]);
	return r;
}

/*
 * Below /proc only, and by the old calls: open_tree would count as a mount namespace, and those are
 * used up by NS_LIMITS, which must come first because it writes below /proc/sys.
 */
static long do_self_ro(struct init *s, const struct plan_entry *e, const char *target)
{
	struct mount_attr a = {
		.attr_set = root_flags_of(s, "part",
					  ROOT_ALWAYS | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC)};
	const char *name = target + sizeof("/proc/") - 1;
	long r = SYS1(SYS_fchdir, s->proc_fd);

	(void)e;
	if (r == 0)
		r = SYS5(SYS_mount, name, name, 0, 0x1000 /* MS_BIND */ | 0x4000 /* MS_REC */, 0);
	if (r == -ENOENT_)
		return 0;
	if (r == 0)
		r = SYS5(SYS_mount_setattr, AT_FDCWD, name, AT_RECURSIVE, &a, sizeof(a));
	return r;
}

static long do_tmpfs_at(struct init *s, const struct plan_entry *e, const char *target)
{
	long fd = new_tmpfs(e->size, e->size / 4096 + 16, "0755",
			    root_flags_of(s, "tmpfs", ROOT_ALWAYS)),
	     r;

	if (fd < 0)
		return fd;
	r = root_own(s, e, (int)fd, "");
	if (r == 0)
		r = place_make(s, e, target, false, 0755);
	if (r < 0)
		(void)raw_close((int)fd);
	return r < 0 ? r : place_attach(s, e, fd, target);
}

/*
 * A mount of the caller's files (--rw as root) knows one id inside, the workload's: what is made
 * there is made as that. The kernel refuses others before it has made anything.
 */
static long make_as_workload(struct init *s, const struct plan_entry *e,
			     long (*make)(struct init *, const struct plan_entry *, const char *))
{
	long r;

	(void)SYS1(SYS_setfsgid, s->plan->gid);
	(void)SYS1(SYS_setfsuid, s->plan->uid);
	r = make(s, e, plan_text(s->plan, e->target));
	(void)SYS1(SYS_setfsuid, 0);
	(void)SYS1(SYS_setfsgid, 0);
	return r;
}

long root_build(struct init *s, unsigned group)
{
	static long (*const make[])(struct init *, const struct plan_entry *, const char *) = {
		[PLAN_MKDIR] = do_mkdir,      [PLAN_SYMLINK] = do_symlink,
		[PLAN_WRITE] = do_write,      [PLAN_BIND] = do_bind,
		[PLAN_BIND_FD] = do_bind_fd,  [PLAN_DISK_DIR] = do_disk_dir,
		[PLAN_NODE] = do_node,        [PLAN_COVER] = do_cover,
		[PLAN_SELF_RO] = do_self_ro,  [PLAN_TMPFS_AT] = do_tmpfs_at,
		[PLAN_COPY_FD] = do_copy,     [PLAN_ACCOUNT] = dir_account,
		[PLAN_MOVE] = dir_move,       [PLAN_SHOW] = dir_show,
		[PLAN_WRITTEN] = dir_written, [PLAN_OWN_DIR] = dir_own,
	};
	const struct plan_entry *e = plan_entries(s->plan);

	for (uint32_t i = 0; i < s->plan->n_entries; i++) {
		long r;

		if (e[i].group != group)
			continue;
		s->object = (int32_t)i;
		r = make[e[i].kind](s, &e[i], plan_text(s->plan, e[i].target));
		if (r == -EOVERFLOW_ && s->plan->facts & PLAN_ROOT)
			r = make_as_workload(s, &e[i], make[e[i].kind]);
		if (r < 0)
			return r;
	}
	s->object = -1;
	return 0;
}

#define GROUP_ROW(fn, group)                 \
	long fn(struct init *s)              \
	{                                    \
		return root_build(s, group); \
	}

GROUP_ROW(init_skeleton, PLAN_SKELETON)
GROUP_ROW(init_host, PLAN_HOST)
GROUP_ROW(init_etc, PLAN_ETC)
GROUP_ROW(init_writable, PLAN_DISK)
GROUP_ROW(init_dev_nodes, PLAN_DEV)
GROUP_ROW(init_proc_ro, PLAN_PROC_RO)
GROUP_ROW(init_extra_tmpfs, PLAN_EXTRA_TMPFS)
GROUP_ROW(init_binds, PLAN_BINDS)
GROUP_ROW(init_copies, PLAN_COPIES)

long init_proc_hide(struct init *s)
{
	long r = root_build(s, PLAN_PROC_HIDE);

	return r < 0 ? r : forget_covers(s);
}

long init_dev_pts(struct init *s)
{
	static const struct root_fs_option o[] = {{"ptmxmode", "0666"}, {"mode", "0620"}};
	long fd = root_new_fs("devpts", o, 2,
			      root_flags_of(s, "devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));

	return fd < 0 ? fd : place_attach_at(s->root_fd, "dev/pts", fd);
}

long init_proc(struct init *s)
{
	long fd = root_new_fs("proc", 0, 0,
			      root_flags_of(s, "proc", ROOT_ALWAYS | MOUNT_ATTR_NOEXEC));

	if (fd < 0)
		return fd;
	s->proc_fd = (int)SYS3(SYS_openat, fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return s->proc_fd;
	return place_attach_at(s->root_fd, "proc", fd);
}

/* The same /proc once more, before anything covers parts of it. */
long init_proc_nested(struct init *s)
{
	long fd = SYS3(SYS_open_tree, s->proc_fd, "",
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
	     r;

	if (fd < 0)
		return fd;
	r = SYS3(SYS_mkdirat, s->root_fd, "run/cleave/proc", 0555);
	return r < 0 ? r : place_attach_at(s->root_fd, "run/cleave/proc", fd);
}

long init_pivot(struct init *s)
{
	long r = SYS1(SYS_fchdir, s->root_fd);

	return r < 0 ? r : SYS2(SYS_pivot_root, ".", ".");
}

long init_detach(struct init *s)
{
	long r = SYS2(SYS_umount2, ".", 2 /* MNT_DETACH */);

	(void)raw_close(s->proc_fd);
	if (s->skeleton_fd >= 0) {
		(void)raw_close(s->skeleton_fd);
		(void)raw_close(s->root_fd);
	}
	return r < 0 ? r : SYS1(SYS_chdir, "/");
}

long init_root_ro(struct init *s)
{
	long r = root_set_attr(s->root_fd, ROOT_PRIVATE | MOUNT_ATTR_RDONLY, false);

	(void)raw_close(s->root_fd);
	return r;
}
