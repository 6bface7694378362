/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside engine/: files with several names in a layer. Capturing asks whether an inode was met
 * before; filling asks where the first name of a number lies. A workload decides how many there are
 * and how long their paths: a lookup is O(1), and a directory is kept once, by its own name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct layer_links {
	struct layer_link *v; /* a hash, at most half full */
	size_t n, size;
};

/* *ret_index: the number of the file; 0: there is no memory, and it becomes a file of its own.
 * True: it was met before. Else it is remembered as `index`, which is not 0. */
bool layer_links_meet(struct layer_links *l, const struct stat *st, uint64_t index,
		      uint64_t *ret_index);
void layer_links_done(struct layer_links *l);

struct layer_names {
	struct layer_dir *dirs;
	size_t n_dirs, room;
	struct layer_name *names; /* by number */
	size_t n;
};

/* Numbers are below n. 0 or -ENOMEM. */
int layer_names_init(struct layer_names *l, uint64_t n);
/* A directory called name (of length len) in parent, whose number this returns: from 1. parent 0: a
 * place, and name is its path. -ENOMEM. */
long layer_names_dir(struct layer_names *l, size_t parent, const char *name, size_t len);
/* The file number `index` is `name` in the directory. 0, -EBADMSG (no such number, or twice),
 * -ENOMEM. */
int layer_names_add(struct layer_names *l, uint64_t index, size_t dir, const char *name);
/* Opens the directory below root_fd in which the file lies, following no link; *ret_name: its name
 * there. A descriptor, -EBADMSG (no such number) or another errno. */
int layer_names_open(const struct layer_names *l, uint64_t index, int root_fd,
		     const char **ret_name);
void layer_names_done(struct layer_names *l);
