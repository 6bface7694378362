/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the files that a sandbox wrote, as one stream of records in a memfd: captured at the freeze
 * point of a fork or snapshot, filled into a clone before its processes are rebuilt.
 *
 * What is captured is hostile: every step goes by descriptors from the sandbox's root, names are
 * single components, nothing follows a link, nothing that is opened can block. Owner, mode, times,
 * holes and hard links are kept; sockets and device nodes are not files and are left out (counted).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "plan/plan.h"

#define LAYER_MAGIC 0x3279614c65766c63ULL /* "clveLay2" */

struct layer_header {
	uint64_t magic;
	uint64_t files, bytes; /* entries and data bytes */
	uint64_t ahead_bytes;  /* of these: copied while the sandbox went on, and true */
	uint64_t skipped;      /* sockets and devices */
	uint64_t ahead_ns, ns; /* how long the two passes took, the second with all stopped */
	uint64_t records;      /* where they begin; before them lies what they refer to */
	uint64_t copies;       /* where layer_copies_save's begin */
	uint64_t end;          /* length of the stream */
};

/*
 * Is it a writable place, whose files are the layer's? One is the root itself where that is an
 * overlay: captured where its upper directory is shown, filled through the clone's own overlay, so
 * that the kernel makes the marks for what is gone.
 */
bool layer_is_place(const struct plan_entry *e);
/* Its path inside. */
const char *layer_place(const struct plan *p, const struct plan_entry *e);
/*
 * Writes the writable places of the plan below root_fd to layer_fd (a memfd) in two passes: `begin`
 * copies what is large while the sandbox goes on, layer_capture the rest and what was written
 * since, with everything stopped. NULL for ahead: all of it then. What begin returns (NULL: no
 * memory) is layer_ahead_end's.
 */
struct layer_ahead;
struct layer_ahead *layer_ahead_begin(const struct plan *plan, int root_fd, int layer_fd);
void layer_ahead_end(struct layer_ahead *a);
int layer_capture(const struct plan *plan, int root_fd, int layer_fd, struct layer_ahead *ahead,
		  struct err *e);
int layer_header_read(int layer_fd, struct layer_header *ret, struct err *e);
/* How owners of the layer become owners of the clone. */
struct layer_owner {
	bool set;      /* as root; else everything is the caller's */
	int64_t shift; /* from the source's slot of ids to the clone's */
};

/* Does the layer, or a directory of the host, hold what this --file brought? */
bool layer_has_copy(const struct plan *plan, const struct plan_entry *file);
/* Appends all others, as they lie below root_fd; load opens them for the entries of a clone's plan.
 */
int layer_copies_save(const struct plan *plan, int root_fd, int layer_fd, struct layer_header *head,
		      struct err *e);
int layer_copies_load(int layer_fd, struct plan *plan, struct err *e);

/* Fills them into the clone's root. */
int layer_fill(int layer_fd, int root_fd, struct layer_owner owner, struct err *e);
