/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places below the new root: looked up, made, mounted on. Freestanding, inside init.
 *
 * Until the caller's own mounts come, the root holds only what we made and no symlink leads out:
 * entries of those groups go the short way, straight from root_fd. All others are resolved
 * component by component with RESOLVE_IN_ROOT.
 */
#pragma once

#include "box/init.h"

#define ENOENT_ 2
#define EEXIST_ 17
#define PATH_BYTES 4096

/* An empty file of the skeleton, there from SKELETON to PROC_HIDE. Every file that only exists to
 * be mounted on is a link to it, which costs half of an inode's making and none of its end. */
#define PLACE_EMPTY "empty"

struct kernel_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, pad;
	uint64_t ino, size, blocks, attributes_mask;
	uint64_t times[8];
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t mount, rest[13];
};

long place_statx(int dir, const char *path, struct kernel_statx *st);

static inline bool place_is_ours(const struct plan_entry *e)
{
	return e->group < PLAN_EXTRA_TMPFS;
}

/* Opens the directory that holds path's last component, making what is missing; *ret_name points
 * into buf[PATH_BYTES]. */
long place_open_parent(const struct init *s, const char *path, char *buf, const char **ret_name);
/* Opens what lies at path in the root and behind no symbolic link. */
long place_open_real(const struct init *s, const char *path, uint64_t flags);
/* Makes an empty directory or file to be mounted on, unless something is there. */
long place_make(const struct init *s, const struct plan_entry *e, const char *path, bool file,
		uint32_t mode);
/* -EXDEV when it lies on our /proc or /dev, where nothing of the caller's may lie. */
long place_refuse_reserved(const struct init *s, int at);
/* Mounts the detached mnt_fd at path inside. Consumes mnt_fd. */
long place_attach(const struct init *s, const struct plan_entry *e, long mnt_fd, const char *path);
/* The same for a place of ours: path counts from dir. */
long place_attach_at(int dir, const char *path, long mnt_fd);
