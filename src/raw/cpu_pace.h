/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L0: when to look again at the processor time of a tree that has a budget. Used by the keeper,
 * whose cgroup counts, and by init, which sums over processes where no cgroup can. Pure.
 *
 * What is left can't be used up sooner than on all processors at once: that is when the next look
 * is due, so a long budget costs a few looks in all. Near the end the looks stop coming closer at
 * CPU_PACE_MIN_NS, which is how far a tree may overshoot on each processor; while it uses nothing
 * they move apart again up to CPU_PACE_IDLE_NS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CPU_PACE_MIN_NS UINT64_C(4000000)
#define CPU_PACE_IDLE_NS UINT64_C(100000000)
#define CPU_PACE_MAX_NS UINT64_C(10000000000)
#define CPU_PACE_STIR_NS UINT64_C(1000000)

struct cpu_pace {
	uint64_t limit_ns; /* 0: there is no budget */
	uint32_t processors;
	uint64_t used_ns; /* at the last look */
	uint64_t nap_ns;
	uint64_t at; /* CLOCK_MONOTONIC of the next look, 0: none */
};

static inline void cpu_pace_start(struct cpu_pace *p, uint64_t limit_ns, uint32_t processors,
				  uint64_t now)
{
	*p = (struct cpu_pace){limit_ns, processors ? processors : 1, 0, CPU_PACE_MIN_NS / 2, 0};
	if (limit_ns)
		p->at = now;
}

/* A look: true when the budget is used up, and then there is no next one. */
static inline bool cpu_pace_look(struct cpu_pace *p, uint64_t used_ns, uint64_t now)
{
	uint64_t wait;

	p->at = 0;
	if (!p->limit_ns)
		return false;
	if (used_ns >= p->limit_ns)
		return true;
	wait = (p->limit_ns - used_ns) / p->processors;
	p->nap_ns *= 2;
	if (used_ns >= p->used_ns + CPU_PACE_STIR_NS)
		p->nap_ns = CPU_PACE_MIN_NS;
	if (p->nap_ns > CPU_PACE_IDLE_NS)
		p->nap_ns = CPU_PACE_IDLE_NS;
	if (wait < p->nap_ns)
		wait = p->nap_ns;
	if (wait > CPU_PACE_MAX_NS)
		wait = CPU_PACE_MAX_NS;
	/* a process that is gone may take its part of a sum with it */
	if (used_ns > p->used_ns)
		p->used_ns = used_ns;
	p->at = now + wait;
	return false;
}
