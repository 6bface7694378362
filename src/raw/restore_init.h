/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Init's part of a restore: linked into the freestanding init (and into the test driver). Needs
 * CAP_CHECKPOINT_RESTORE or SYS_ADMIN in the user namespace that owns the pid namespace, pid 1's
 * place in it, the root already pivoted, the Landlock domain already entered.
 *
 * The caller guarantees: all its signals are blocked or default, it has no other thread, no rseq
 * registration, and no descriptor >= 256 (the restore's own numbers start there).
 */
#pragma once

#include "raw/restore_plan.h"

struct restore_request {
	int plan_fd, image_fd;       /* sealed memfds from the keeper */
	int stdio_fd[RESTORE_STDIO]; /* -1: none; an image that needs it fails at FILES */
	uint64_t vdso;               /* this process's AT_SYSINFO_EHDR */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; a tree that does not stand by then failed */
	/* The processors of the tree, where the caller is pinned to one; 0 bytes: it is not. */
	const uint8_t *affinity;
	uint32_t affinity_bytes;
};

struct restore_tree {
	const struct restore_plan *plan;
	struct restore_sync *sync;
	int master_fd; /* of the main command's terminal, the caller's from now on; -1: none */
};

/*
 * Builds the tree up to the gate: every process exists, mapped and confined, none has run an
 * instruction of the workload. Returns 0, or -errno with *r filled: the caller must then end its
 * namespace (it may hold half-built tasks). Closes no descriptor of the request.
 */
long restore_tree_build(struct restore_tree *t, const struct restore_request *q,
			struct restore_report *r);

/* Opens the gate and forgets the region. The roots' pids are restore_tree_root() before this. */
void restore_tree_go(struct restore_tree *t);

/* Pid of root i < plan->n_roots: a child of the caller. */
static inline int32_t restore_tree_root(const struct restore_tree *t, uint32_t i)
{
	const uint32_t *roots = (const uint32_t *)t->plan->roots;

	return ((const struct restore_task *)t->plan->tasks)[roots[i]].tid;
}
