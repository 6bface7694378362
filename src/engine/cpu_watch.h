/* SPDX-License-Identifier: Apache-2.0 */
/* L5: a budget of processor time over a tree that a cgroup counts: --cpu-time of a sandbox or of
 * one exec. Where no cgroup counts, init does (box/init_tree.h). */
#pragma once

#include "kern/cgroup.h"
#include "raw/cpu_pace.h"

struct cpu_watch {
	struct cpu_pace pace; /* pace.at: when to call cpu_watch_over, 0: never */
	const struct cgroup *cgroup;
	uint64_t base_ns; /* used before the command began */
};

/* From now on. limit_ns SPEC_UNSET, or a cgroup that does not count: nothing is watched. */
void cpu_watch_start(struct cpu_watch *w, const struct cgroup *cg, uint64_t limit_ns,
		     uint32_t processors);
/* True once, when the budget is found used up. */
bool cpu_watch_over(struct cpu_watch *w, uint64_t now);
