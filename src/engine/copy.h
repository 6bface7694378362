/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: copies files and trees between the host and a sandbox.
 *
 * As with cp -r, a target that is a directory receives the source under the source's own name; a
 * source that ends in "/." stands for what is in it. A target that ends in "/" has to be a
 * directory. Symbolic links are copied as links; one named with a slash at its end is followed
 * inside, and never on the host. Kept: content, holes, several names of one file, permissions,
 * modification time of files. What is no file (device, fifo, socket) is skipped and counted.
 */
#pragma once

#include "engine/tree.h"

struct copy {
	struct side from, to;
	const char *from_path,
		*to_path; /* to_path NULL: a tar stream to stream_fd; from_path NULL: from it */
	int stream_fd;
	/* to a tree alone: */
	bool no_links;          /* symbolic links are skipped, too */
	uint64_t *budget_bytes; /* NULL: no bound; -EFBIG beyond it */
	uint64_t *ret_files, *ret_bytes;
};

/* 0, or negative with e set: the source can't be read at all, or the target can't be written. */
int copy_run(const struct copy *c, struct tree_report *report, struct err *e);

/* The operand of a copy, taken apart. */
struct copy_operand {
	char *parent;   /* malloc'd: what the name lies in, "." or "/" at least; with contents the
			   whole */
	char *name;     /* malloc'd: the last component; NULL with contents */
	bool contents;  /* the last component is ".", ".." or the root: what is in it */
	bool directory; /* ends in "/": has to be a directory */
};

int copy_operand_parse(const char *path, struct copy_operand *ret);
void copy_operand_done(struct copy_operand *o);
