/* SPDX-License-Identifier: Apache-2.0 */
/* L2: what the cgroup files share among themselves and with their unit tests. Nobody else includes
 * it. */
#pragma once

#include "kern/cgroup.h"

#include <stddef.h>

#define CGROUP_MOUNT_MAX 16
#define CGROUP_PARENT "cleave"
#define CGROUP_KEEPERS "keepers"
#define CGROUP_MAIN "main" /* v2: below cleave/ID once an exec has limits of its own */
/* The controllers that v2 hands down by cgroup.subtree_control; the others are built in. */
#define CGROUP_V2_CTLS                                                                  \
	(CGROUP_BIT(CGROUP_MEMORY) | CGROUP_BIT(CGROUP_PIDS) | CGROUP_BIT(CGROUP_CPU) | \
	 CGROUP_BIT(CGROUP_CPUSET) | CGROUP_BIT(CGROUP_IO))
#define CGROUP_V2_CORE (CGROUP_BIT(CGROUP_CPUACCT) | CGROUP_BIT(CGROUP_FREEZER))

/* ---- cgroup_parse.c: pure, any bytes may come in ---- */

struct cgroup_mount {
	int version;
	uint32_t ctls; /* v1 only */
	bool read_only;
	char root[CGROUP_PATH_SIZE];
	char point[CGROUP_PATH_SIZE];
};

/* /proc/self/mountinfo: the cgroup mounts that carry a controller of ours, in order, a hierarchy
 * once. Malformed lines, too long paths and what exceeds max are left out. Returns the number. */
int cgroup_parse_mountinfo(const char *text, size_t n, struct cgroup_mount *ret, int max);
/* /proc/self/cgroup: the path in the v1 hierarchy that carries any of ctls, or the v2 path when
 * ctls is 0. 0, -ENOENT, -EINVAL (deleted, outside the cgroup namespace), -ENAMETOOLONG. */
int cgroup_parse_self(const char *text, size_t n, uint32_t ctls, char *ret, size_t size);
/* "cpu io memory" to a mask of ours. v1 takes commas and cpuacct and freezer as well. */
uint32_t cgroup_parse_ctls(const char *text, size_t n);
/* The value of the line "KEY VALUE", CGROUP_UNKNOWN when absent or malformed. */
uint64_t cgroup_parse_key(const char *text, const char *key);
/* A decimal number that ends the text or the line, else CGROUP_UNKNOWN. */
uint64_t cgroup_parse_u64(const char *text);
/* One pid from a list; *text moves on. 0 for a process outside our pid namespace, -1 at the end. */
long cgroup_parse_pid(const char **text);
/* Where the process's cgroup `self` is seen below mount m. 0, -ENOENT (not visible there),
 * -ENAMETOOLONG. */
int cgroup_parse_own(const struct cgroup_mount *m, const char *self, char *ret, size_t size);
/* Cuts the last component; false (and unchanged) when the parent would leave `top`, or when path
 * is a systemd unit (.scope, .service, .slice): what is above belongs to systemd. */
bool cgroup_path_up(char *path, const char *top);
/* True for ABSOLUTE/cleave/ID without any "." or "..". */
bool cgroup_path_is_ours(const char *path);

/* ---- cgroup_file.c: files in a cgroup directory ---- */

/* Opens a directory and checks that it is on a cgroup file system. Returns the version (1, 2), or
 * -errno (-ENOTDIR, -EMEDIUMTYPE for another file system). */
int cgroup_dir_open(int at_fd, const char *path, int *ret_fd);
/* Opens a directory below one that was checked to be a cgroup. 0 or -errno. */
int cgroup_subdir_open(int dir_fd, const char *name, int *ret_fd);
/* Reads a file whole, ends it with NUL. Returns the length, -errno, -E2BIG when it does not fit. */
int cgroup_file_read(int dir_fd, const char *name, char *buf, size_t size);
int cgroup_file_write(int dir_fd, const char *name, const char *text);
uint64_t cgroup_file_u64(int dir_fd, const char *name);
uint64_t cgroup_file_key(int dir_fd, const char *name, const char *key);
bool cgroup_file_exists(int dir_fd, const char *name);
/* The caller, or another process that runs the same program file: the client that waits for this
 * keeper, another keeper. False for one that can't be looked at. */
bool cgroup_is_our_program(long pid);
/* A file of any size up to max_bytes, from malloc, NUL-terminated; more is cut. NULL: see errno. */
char *cgroup_file_slurp(int dir_fd, const char *name, size_t max_bytes, size_t *ret_n);

/* ---- cgroup_probe.c ---- */

/* cgroup_probe with the texts of /proc/self/mountinfo and /proc/self/cgroup given: tests hide a
 * hierarchy with it. */
int cgroup_probe_texts(uint32_t want, const char *mounts, size_t mounts_n, const char *self,
		       size_t self_n, struct cgroup_host *ret);

/* ---- cgroup_sub.c ---- */

/* Calls fn for each child of d, opened, until it returns something else than 0, which is given
 * back. What comes or goes meanwhile may be missed. */
int cgroup_each_sub(const struct cgroup_dir *d, int (*fn)(const struct cgroup_dir *, void *),
		    void *arg);

/* ---- cgroup.c ---- */

/* The created directory that carries ctl, NULL when none does. */
const struct cgroup_dir *cgroup_dir_for(const struct cgroup *cg, enum cgroup_ctl ctl);
/* The monotonic clock. */
uint64_t cgroup_now_ns(void);
/* Waits a little for a change of events_fd (POLLPRI; -1: none), growing from a yield to 5 ms.
 * *round counts up from 0. False when the deadline is over. */
bool cgroup_wait(int events_fd, uint64_t deadline_ns, unsigned *round);
