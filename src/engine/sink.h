/* SPDX-License-Identifier: Apache-2.0 */
/* L5: the visitor that builds on one side what a walk of the other side meets. */
#pragma once

#include "engine/links.h"
#include "engine/tree.h"

#define SINK_ENTRY 4096

struct sink {
	const struct side *side;
	struct tree_report *report;
	const char
		*top_name; /* of the top, below dir_fd[0]; NULL: dir_fd[0] receives what is in it */
	int dir_fd[TREE_DEPTH + 2];
	unsigned depth; /* dir_fd[depth] is where we are */
	bool top_made;
	struct stat top; /* the directory that we fill, lest it be copied into itself */
	size_t prefix;   /* of the walk's paths: the top's name in the source */
	struct links links;
	bool no_links;          /* a symbolic link is skipped like a device */
	uint64_t *budget_bytes; /* what may still be made, SINK_ENTRY at least a thing; NULL: all */
	uint64_t files, bytes;  /* made */
	char *buffer;
};

/* dir_fd is borrowed. as: what the walk calls its top (tree_walk). NULL when out of memory. */
struct sink *sink_new(const struct side *side, int dir_fd, const char *top_name, const char *as,
		      struct tree_report *report);
void sink_free(struct sink *k);
struct tree_visitor sink_visitor(struct sink *k);
