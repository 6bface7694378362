/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu_watch.h"

#include "raw/syscall.h"
#include "spec/spec.h"

void cpu_watch_start(struct cpu_watch *w, const struct cgroup *cg, uint64_t limit_ns,
		     uint32_t processors)
{
	*w = (struct cpu_watch){.cgroup = cg};
	if (limit_ns == SPEC_UNSET)
		return;
	w->base_ns = cgroup_cpu_ns(cg);
	if (w->base_ns != CGROUP_UNKNOWN)
		cpu_pace_start(&w->pace, limit_ns, processors, raw_now_ns());
}

bool cpu_watch_over(struct cpu_watch *w, uint64_t now)
{
	uint64_t total;

	if (!w->pace.at || now < w->pace.at)
		return false;
	total = cgroup_cpu_ns(w->cgroup);
	/* a count that can't be read any more bounds nothing: it ends here */
	return cpu_pace_look(&w->pace,
			     total == CGROUP_UNKNOWN ? w->pace.limit_ns : total - w->base_ns, now);
}
