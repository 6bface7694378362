/* SPDX-License-Identifier: Apache-2.0 */
/* Inside init: what the rows that build the root share (steps_root.c, steps_dir.c). Freestanding.
 */
#pragma once

#include <linux/mount.h>

#include "box/init.h"

#define ROOT_ALWAYS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define ROOT_PRIVATE (UINT64_C(1) << 63) /* of root_set_attr: neither peer nor slave of another */
#define ROOT_SKELETON "skeleton"         /* directory of the disk */

struct root_fs_option {
	const char *key, *value; /* value 0: a flag */
};

/* A new detached file system of the given type. */
long root_new_fs(const char *type, const struct root_fs_option *o, unsigned n, uint64_t attr);
/* Sets mount attributes, ROOT_PRIVATE among them. */
long root_set_attr(int mnt_fd, uint64_t set, bool recursive);
/* Mounts over a directory of the old tree, which every host has. */
long root_cover_old(int mnt_fd, const char *path);
/* Mounts at a new directory of the disk that nobody inside ever sees. */
long root_attach_to_disk(const struct init *s, int mnt_fd, const char *name);
/* Gives the entry's object to the workload if it is to be its own. */
long root_own(const struct init *s, const struct plan_entry *e, int dir, const char *name);
/* Makes all entries of the group, in order. */
long root_build(struct init *s, unsigned group);

#ifdef CLEAVE_DEV
/* Development builds: the flags of mounts of this kind, but for those that shall be missing. */
uint64_t root_flags_of(const struct init *s, const char *kind, uint64_t set);
#else
#define root_flags_of(s, kind, set) (set)
#endif

/* Kinds of entries of --root DIR. */
typedef long root_maker(struct init *s, const struct plan_entry *e, const char *target);
root_maker dir_account, dir_move, dir_show, dir_written, dir_own;
