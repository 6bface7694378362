/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host objects that enter the sandbox, opened by the keeper with the caller's rights before
 * anything is made.
 *
 * As root the keeper hands init detached, idmapped mounts. An ordinary user can't make those
 * outside of a namespace, so init looks the path up again and compares what it finds with what was
 * opened here.
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "box/idmap.h"
#include "box/keeper.h"
#include "raw/syscall.h"

static const char *option_of(const struct plan_entry *x)
{
	return x->group == PLAN_COPIES     ? "file"
	       : x->flags & PLAN_PROGRAM   ? "bin"
	       : x->flags & PLAN_READ_ONLY ? "ro"
					   : "rw";
}

static int source_error(const struct plan_entry *x, const char *path, int code, struct err *e)
{
	return err_set(e, ERR_SOURCE, code, "--%s: open '%s'", option_of(x), path);
}

static int open_file(struct keeper_side *k, struct plan_entry *x, const char *path)
{
	struct stat st;

	/* a fifo would block, a device would do worse; a clone brings its own */
	if (x->fd < 0)
		x->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (x->fd < 0 || fstat(x->fd, &st) < 0)
		return source_error(x, path, errno, k->e);
	if (!S_ISREG(st.st_mode))
		return err_set(k->e, ERR_SOURCE, 0, "--file: '%s' is no regular file", path);
	k->plan->root_bytes += (uint64_t)st.st_size + 8192;
	return 0;
}

/* Maps the ids of a mount to those of the user namespace. Takes ns over. */
static long map_mount(int mount_fd, int ns, unsigned flags)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)ns};
	long r = SYS5(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH | flags, &a, sizeof(a));

	close(ns);
	return r;
}

static int map_ids(struct keeper_side *k, const struct plan_entry *x, int mount_fd,
		   const char *path, const struct stat *st)
{
	uint32_t to = k->box->id_base + k->plan->uid;
	int ns = idmap_userns(st->st_uid, st->st_gid, to, 1, k->e);

	if (ns < 0)
		return ns;
	if (map_mount(mount_fd, ns, AT_RECURSIVE) == 0)
		return 0;
	if (x->flags & PLAN_READ_ONLY)
		return 0; /* what everybody may read can be read all the same */
	err_set(k->e, ERR_SOURCE, 0,
		"--rw '%s': its file system can't map ids, so '%s' could not write there", path,
		"user");
	err_hint(k->e, "use a directory on ext4, xfs, btrfs or tmpfs, or run as an ordinary user");
	return -EOPNOTSUPP;
}

/* An ordinary user's init finds it by its path again: it must be the same. */
static void remember(struct plan_entry *x, const struct stat *st)
{
	x->flags |= PLAN_CHECK_ID;
	x->dev = (uint64_t)major(st->st_dev) << 32 | minor(st->st_dev);
	x->ino = st->st_ino;
}

/* Owners of DIR's files keep their numbers inside; what is mounted below it is not shown. */
static int open_directory(struct keeper_side *k, struct plan_entry *x, const char *path)
{
	AUTO_FD int at = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	long fd, r;
	int ns;

	if (at < 0 || fstat(at, &st) < 0)
		return err_set(k->e, ERR_SOURCE, errno, "--root: open '%s'", path);
	if (x->kind == PLAN_BIND) {
		remember(x, &st);
		return 0;
	}
	fd = SYS3(SYS_open_tree, at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (fd < 0)
		return err_set(k->e, ERR_SOURCE, (int)fd, "--root: open '%s'", path);
	x->fd = (int32_t)fd;
	ns = idmap_userns(0, 0, k->box->id_base, ID_SLOT_SIZE, k->e);
	if (ns < 0)
		return ns;
	r = map_mount(x->fd, ns, 0);
	if (r == 0)
		return 0;
	err_set(k->e, ERR_SOURCE, (int)r, "--root '%s': map the ids of its files", path);
	err_hint(k->e, "its file system can't: unpack it on ext4, xfs, btrfs or (from Linux 6.3) "
		       "tmpfs, or run as an ordinary user");
	return (int)r;
}

int keeper_root(struct keeper_side *k)
{
	struct plan_entry *x = (struct plan_entry *)plan_entries(k->plan);

	for (uint32_t i = 0; i < k->plan->n_entries; i++)
		if (x[i].group == PLAN_DIRECTORY)
			return open_directory(k, &x[i], plan_text(k->plan, x[i].source));
	return err_set(k->e, ERR_INTERNAL, 0, "the plan has no directory for --root");
}

static int open_mount(struct keeper_side *k, struct plan_entry *x, const char *path)
{
	/* the path of a program was looked up a moment ago, maybe in a stranger's directory */
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = x->flags & PLAN_PROGRAM
						  ? RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
						  : 0};
	long found = SYS4(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	AUTO_FD int at = (int)found;
	struct stat st;
	long fd;

	if (at < 0 || fstat(at, &st) < 0)
		return source_error(x, path, at < 0 ? (int)-found : errno, k->e);
	if (x->flags & PLAN_PROGRAM && !S_ISREG(st.st_mode))
		return source_error(x, path, EACCES, k->e);
	if (x->kind == PLAN_BIND) {
		remember(x, &st);
		return 0;
	}
	fd = SYS3(SYS_open_tree, at, "",
		  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (fd < 0)
		return source_error(x, path, (int)-fd, k->e);
	x->fd = (int32_t)fd;
	return map_ids(k, x, x->fd, path, &st);
}

int keeper_sources(struct keeper_side *k)
{
	struct plan_entry *x = (struct plan_entry *)plan_entries(k->plan);

	for (uint32_t i = 0; i < k->plan->n_entries; i++) {
		const char *path = plan_text(k->plan, x[i].source);
		int r = 0;

		if (x[i].kind == PLAN_SYMLINK)
			continue;
		if (x[i].group == PLAN_COPIES)
			r = open_file(k, &x[i], path);
		else if (x[i].group == PLAN_BINDS)
			r = open_mount(k, &x[i], path);
		if (r < 0)
			return r;
	}
	return 0;
}
