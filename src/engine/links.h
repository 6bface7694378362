/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: files with several names that a walk has met, and where their first copies went. Without it
 * one file with 10^5 names would become 10^5 files.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

struct link_copy {
	dev_t from_dev, dev;
	ino_t from_ino, ino; /* of the source; of the copy */
	char *path;          /* of the copy; NULL: an empty slot */
};

struct links {
	struct link_copy *v; /* open addressing; size is a power of two */
	size_t n, size;
};

/* The first copy of this source; NULL: none yet. Valid until links_add. */
const struct link_copy *links_find(const struct links *l, const struct stat *from);
/* Remembers a copy; to NULL: it has no inode. When out of memory it is not remembered, which costs
 * space only. */
void links_add(struct links *l, const struct stat *from, const struct stat *to, const char *path);
void links_done(struct links *l);
