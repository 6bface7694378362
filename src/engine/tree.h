/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: walks a tree of one side by descriptors and hands each thing in it to a visitor, a directory
 * before what is in it. The tree may change meanwhile, in whatever order hurts most: what vanishes
 * is passed over, what changes its type is what it is when it is opened, and the walk never leaves
 * the tree.
 *
 * Bounds: TREE_DEPTH directories in one another (each costs a descriptor), TREE_ENTRIES in all, so
 * that a sandbox which goes on creating can't keep us for ever.
 */
#pragma once

#include <stddef.h>

#include "engine/side.h"

#define TREE_DEPTH 256
#define TREE_ENTRIES (1u << 24)

struct tree_entry {
	const char *path; /* from the top, names joined by '/'; as long as it takes */
	const char *name; /* the last component; "" for a top that has no name */
	struct stat st;   /* of the opened thing, where fd is one */
	int fd;           /* directory or file, open for reading; -EBADF: not opened */
	const char *link; /* text of a symbolic link */
};

/* What was not copied, for the end of the story. */
struct tree_report {
	uint64_t entries; /* that were met */
	uint64_t visited; /* that were handed to the visitor */
	uint64_t skipped; /* devices, fifos, sockets, files of the kernel */
	uint64_t failed;  /* what could not be read */
	struct err first_skipped, first_failed;
};

/* A negative result ends the walk with it; e is set. */
struct tree_visitor {
	void *arg;
	/* 1: don't go in (leave is not called then) */
	int (*enter)(void *arg, const struct tree_entry *t, struct err *e);
	int (*leave)(void *arg, struct err *e);
	/* regular files and symbolic links; with `look` everything that is no directory */
	int (*item)(void *arg, const struct tree_entry *t, struct err *e);
	bool look;      /* open no files, read no links */
	bool one_mount; /* pass over what is mounted below the top */
};

/*
 * Visits `name` below dir_fd and, if that is a directory, everything in it; name NULL: the
 * directory dir_fd itself, as a top without a name. as: the name that paths begin with (NULL:
 * name).
 */
int tree_walk(const struct side *s, int dir_fd, const char *name, const char *as,
	      const struct tree_visitor *v, struct tree_report *report, struct err *e);

/* Counts something that is passed over; the first one's sentence is kept. */
void tree_skip(struct tree_report *r, const char *path, const char *why);
void tree_fail(struct tree_report *r, const char *path, int code);
