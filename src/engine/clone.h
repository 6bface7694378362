/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: forks of living sandboxes. The source's keeper captures (a tracer child does the work); a
 * clone's keeper launches with what was captured. The client carries descriptors and words from the
 * one to the others.
 */
#pragma once

#include "engine/keeper.h"

/* What a clone's keeper is made with. */
struct clone_parts {
	int image_fd, layer_fd, plan_fd;
	int slot_fd; /* lock of the lineage's ids, -EBADF as an ordinary user */
	/* {id_base, main_pid, timeout_left_ns, lineage, generation}; source_limits: those of each
	 * process by the source's spec, where the clones' differs */
	json_t *meta;

	/* What the nursery read once for all clones; a keeper shares it copy-on-write. */
	const struct spec *spec;
	const struct plan_host *host;
	const struct cgroup_host *cgroups;
	int exe_fd;  /* init's program */
	int gate_fd; /* a byte from there: go; its end: end */
	uint32_t index;
};

#define CLONE_PARTS_INIT                          \
	((struct clone_parts){.image_fd = -EBADF, \
			      .layer_fd = -EBADF, \
			      .plan_fd = -EBADF,  \
			      .slot_fd = -EBADF,  \
			      .exe_fd = -EBADF,   \
			      .gate_fd = -EBADF})

/*
 * Method "checkpoint": answers when the capture is over with image, layer and (root) slot
 * descriptors and the meta object. Steals nothing.
 */
int clone_checkpoint(struct keeper *k, struct conn *c, const json_t *id, struct err *e);

/* In place of a fresh launch and main command: the tree stands, confined and parked, after 0. */
int clone_launch(struct keeper *k, const struct clone_parts *parts, struct err *e);
/* Lets it go. */
int clone_go(struct keeper *k, const struct clone_parts *parts, struct err *e);

/* What every clone of this spec on this host is confined by: the restore plan, once for all clones.
 */
int clone_make_plan(const struct spec *spec, const struct plan_host *host,
		    const struct clone_parts *parts, struct err *e);
