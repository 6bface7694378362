/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L0: one Landlock domain from a flat list of open descriptors: the second wall around the files,
 * kept by another part of the kernel than mounts and namespaces. Freestanding; init calls it after
 * its last mount (a confined task can't change mounts) and every command inherits the domain.
 *
 * Owns nothing: descriptors stay the caller's and may be closed afterwards, the domain keeps what
 * it needs. Needs no_new_privs or CAP_SYS_ADMIN in the caller's user namespace. Declares the
 * kernel's structures itself: Debian 12's headers know ABI 2.
 *
 * What a domain does not judge: descriptors that were open before, pipes, sockets, memfds. What no
 * rule names is refused, wherever it lies; a rule on a directory holds for all mounts below it.
 */
#pragma once

#include "raw/syscall.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* ABI 1 forbids every rename and link between directories, which breaks git and package managers:
 * older kernels go without this layer. */
#define RAW_LANDLOCK_ABI_MIN 2

/* What a rule grants below its directory (or for its file), to be combined. */
#define RAW_LANDLOCK_READ 1u  /* read files, list directories */
#define RAW_LANDLOCK_EXEC 2u  /* execute files */
#define RAW_LANDLOCK_WRITE 4u /* write, create, rename, remove; never device nodes */
#define RAW_LANDLOCK_IOCTL 8u /* ioctl of devices that are opened from now on (ABI 5) */
#define RAW_LANDLOCK_FILE 16u /* the descriptor is no directory: only what applies to files */

struct raw_landlock_rule {
	int32_t fd; /* O_PATH suffices */
	uint32_t access;
};

/* Access rights of files and directories, by the ABI that brought them. */
#define RAW_LL_EXECUTE (1ull << 0)
#define RAW_LL_WRITE_FILE (1ull << 1)
#define RAW_LL_READ_FILE (1ull << 2)
#define RAW_LL_READ_DIR (1ull << 3)
#define RAW_LL_REMOVE_DIR (1ull << 4)
#define RAW_LL_REMOVE_FILE (1ull << 5)
#define RAW_LL_MAKE_CHAR (1ull << 6)
#define RAW_LL_MAKE_DIR (1ull << 7)
#define RAW_LL_MAKE_REG (1ull << 8)
#define RAW_LL_MAKE_SOCK (1ull << 9)
#define RAW_LL_MAKE_FIFO (1ull << 10)
#define RAW_LL_MAKE_BLOCK (1ull << 11)
#define RAW_LL_MAKE_SYM (1ull << 12)
#define RAW_LL_REFER (1ull << 13)     /* ABI 2 */
#define RAW_LL_TRUNCATE (1ull << 14)  /* ABI 3 */
#define RAW_LL_IOCTL_DEV (1ull << 15) /* ABI 5 */
/* Scopes: no abstract UNIX socket and no process outside of the domain (ABI 6). */
#define RAW_LL_SCOPE_ABSTRACT_UNIX (1ull << 0)
#define RAW_LL_SCOPE_SIGNAL (1ull << 1)

/* Fields that an older kernel does not know must be zero, then it takes the whole. */
struct raw_ll_ruleset_attr {
	uint64_t handled_fs;
	uint64_t handled_net; /* 0: the network namespace is the wall */
	uint64_t scoped;
};

struct raw_ll_path_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

/* The kernel's Landlock ABI, or -ENOSYS (not built in) or -EOPNOTSUPP (not switched on). */
static inline long raw_landlock_abi(void)
{
	return SYS3(SYS_landlock_create_ruleset, 0, 0, 1 /* VERSION */);
}

/* Every right that this ABI knows: what is not handled would stay allowed. */
static inline uint64_t raw_landlock_handled(int abi)
{
	uint64_t all = (RAW_LL_REFER << 1) - 1;

	if (abi >= 3)
		all |= RAW_LL_TRUNCATE;
	if (abi >= 5)
		all |= RAW_LL_IOCTL_DEV;
	return all;
}

/* The rights of a combination of RAW_LANDLOCK_*, unmasked by the ABI. */
static inline uint64_t raw_landlock_rights(uint32_t access)
{
	const uint64_t of_files = RAW_LL_EXECUTE | RAW_LL_WRITE_FILE | RAW_LL_READ_FILE |
				  RAW_LL_TRUNCATE | RAW_LL_IOCTL_DEV;
	uint64_t r = 0;

	if (access & RAW_LANDLOCK_READ)
		r |= RAW_LL_READ_FILE | RAW_LL_READ_DIR;
	if (access & RAW_LANDLOCK_EXEC)
		r |= RAW_LL_EXECUTE;
	if (access & RAW_LANDLOCK_WRITE)
		r |= RAW_LL_WRITE_FILE | RAW_LL_TRUNCATE | RAW_LL_REMOVE_DIR | RAW_LL_REMOVE_FILE |
		     RAW_LL_MAKE_DIR | RAW_LL_MAKE_REG | RAW_LL_MAKE_SOCK | RAW_LL_MAKE_FIFO |
		     RAW_LL_MAKE_SYM | RAW_LL_REFER;
	if (access & RAW_LANDLOCK_IOCTL)
		r |= RAW_LL_IOCTL_DEV;
	return access & RAW_LANDLOCK_FILE ? r & of_files : r;
}

static inline long raw_landlock_add(int ruleset_fd, const struct raw_landlock_rule *rules,
				    unsigned n, uint64_t handled)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct raw_ll_path_attr attr = {raw_landlock_rights(rules[i].access) & handled,
						rules[i].fd};
		long r;

		if (!attr.allowed)
			continue; /* the kernel refuses a rule that grants nothing */
		r = SYS4(SYS_landlock_add_rule, ruleset_fd, 1 /* PATH_BENEATH */, &attr, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Confines the caller for good to what the n rules grant; rules NULL: files are not judged, only
 * signals and abstract sockets are (ABI 6). `abi` is the kernel's (as probed when the
 * plan was made); newer ones than this file knows are used as ABI 7. Returns 0; -EOPNOTSUPP below
 * RAW_LANDLOCK_ABI_MIN; else what the kernel said, and then nothing has changed: the launch ends.
 * Context: child, init; one thread.
 */
static inline long raw_landlock_enter(const struct raw_landlock_rule *rules, unsigned n, int abi)
{
	struct raw_ll_ruleset_attr attr = {rules ? raw_landlock_handled(abi) : 0, 0, 0};
	long fd, r;

	if (abi < RAW_LANDLOCK_ABI_MIN)
		return -95 /* EOPNOTSUPP */;
	if (abi >= 6)
		attr.scoped = RAW_LL_SCOPE_ABSTRACT_UNIX | RAW_LL_SCOPE_SIGNAL;
	fd = SYS3(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0)
		return fd;
	r = raw_landlock_add((int)fd, rules, n, attr.handled_fs);
	if (r == 0)
		r = SYS2(SYS_landlock_restrict_self, fd, 0);
	raw_close((int)fd);
	return r;
}
