/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of elf/: the files that were found so far, and why each is there. */
#pragma once

#include "elf/programs.h"
#include "elf/search.h"

#define CLOSURE_CACHE "/etc/ld.so.cache"
#define NOBODY SIZE_MAX

struct node {
	char *path; /* real */
	struct elf_object o;
	size_t interp; /* its loader's node, or NOBODY */
	size_t named;  /* what the caller named, for which this is here */
	bool native;   /* a loader or library of another node */
};

/* A file in the address space of the program that is gone through. */
struct loaded {
	size_t node, by; /* by: what it was loaded by, as an index of these; the first by itself */
	const char *asked; /* the name by which it was; NULL: by none */
	char *found;       /* the path at which; NULL: the node's */
	bool again;        /* a second name of what was loaded before */
};

/* Why a file enters: it is named by the caller, stands behind #!, or is a loader or library. */
enum role { NAMED, INTERPRETER, NATIVE };

struct closure {
	struct node *v;
	size_t n;
	struct loaded *loaded; /* the program first */
	size_t n_loaded, room_loaded;
	struct elf_items links, files;
	struct elf_cache cache;
	bool cache_needed;
	struct err *e;
	struct elf_looked looked;
};

static inline const char *closure_path(const struct closure *c, size_t i)
{
	return c->v[i].path;
}

/* Adds the file with this name. 1: it is new; 0: it is there already. *ret_i: its node. */
int closure_add(struct closure *c, const char *path, size_t loader, enum role role, size_t *ret_i);

/* libraries.c: those that every program needs, and theirs. */
int closure_add_libraries(struct closure *c);
