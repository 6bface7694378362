/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: one side of a copy, the host's or a sandbox's: how its files are looked up, and with whose
 * rights.
 *
 * Both sides are hostile: a sandbox owns everything inside, and with --rw also directories of the
 * host. So what is found by walking is opened one component at a time, below a descriptor, never
 * through a symbolic link; what the caller names is looked up inside as the sandbox itself would
 * see it (RESOLVE_IN_ROOT), and on the host without following any symbolic link.
 *
 * As root, the inside is touched as the owner of the workload's files (fsuid of this thread): its
 * tmpfs knows no other ids, and a planted link can't borrow root's rights. Changing the fsuid
 * clears this thread's parent-death signal.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"

struct side {
	int root_fd; /* O_PATH of "/" inside, borrowed; AT_FDCWD: the host */
	bool inside;
	bool strict;       /* inside: a symbolic link in what the caller names is -ELOOP, too */
	bool become;       /* the inside ids are not ours: take them for each call */
	uint32_t uid, gid; /* host ids of the workload's files */
};

struct side side_host(void);
/* -EPERM when the ids can't be taken. */
int side_inside(struct side *ret, int root_fd, uint32_t uid, uint32_t gid, struct err *e);

/*
 * Around a call that touches the side's files. owner: act as this file's owner, if it is another id
 * of the same sandbox; NULL: as the workload. Keeps errno.
 */
void side_enter(const struct side *s, const struct stat *owner);
void side_leave(const struct side *s);

/* What the caller named. flags as of open(2); O_CLOEXEC is added. Descriptor or negative errno. */
MUST_CHECK int side_lookup(const struct side *s, const char *path, int flags);
/* One component below dir_fd, never a symbolic link, never waiting (O_NONBLOCK is added). */
MUST_CHECK int side_open(const struct side *s, int dir_fd, const char *name, int flags, mode_t mode,
			 const struct stat *owner);
/* A path below dir_fd, links nowhere in it and no "..": as the names that a tar stream or we
 * ourselves gave. */
MUST_CHECK int side_open_below(const struct side *s, int dir_fd, const char *path, int flags);
/* lstat of one component. 0 or negative errno. */
MUST_CHECK int side_stat(const struct side *s, int dir_fd, const char *name, struct stat *ret);
/* Does fd lie on a file system of the kernel's own (proc, sysfs, devpts ...)? Nothing there is a
 * file. */
bool side_is_kernels(int fd);
