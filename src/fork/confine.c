/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The confinement of a clone's tasks from the plan of its sandbox and the command as which its main
 * process was or would be started: the COMMAND rows of box/launch.def, as data.
 */
#include <errno.h>
#include <linux/filter.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "fork/confine.h"

/* Never above what we have ourselves: init inherits it and may not raise it. */
static void limit(struct fork_confine *c, int what, uint64_t soft, uint64_t hard)
{
	struct rlimit own;

	if (prlimit(0, what, NULL, &own) == 0 && hard > own.rlim_max)
		hard = own.rlim_max;
	c->rlimit[what][0] = soft < hard ? soft : hard;
	c->rlimit[what][1] = hard;
	c->rlimit_mask |= 1u << what;
}

void fork_confine_from(const struct plan *plan, const struct cmd *cmd, struct fork_confine *ret)
{
	*ret = (struct fork_confine){
		.uid = cmd->uid,
		.gid = cmd->gid,
		.keep_ids = plan->facts & PLAN_USER,
		.dumpable = 1,
		.filter = (const struct sock_filter *)((const char *)plan + plan->filter),
		.filter_n = (uint16_t)plan->filter_len,
		.profile = (const struct sock_filter *)((const char *)plan + plan->profile),
		.profile_n = (uint16_t)plan->profile_len};
	/* The launch pins init to one processor, and the clone's tasks are its children. */
	if (sched_getaffinity(0, sizeof(ret->affinity), (cpu_set_t *)ret->affinity) == 0)
		ret->affinity_bytes = sizeof(ret->affinity);
	/* the caller's may all lie outside the set that was asked for: then all that are in it */
	if (plan->facts & PLAN_CPUSET)
		memset(ret->affinity, 0xff, sizeof(ret->affinity));
	/* init has it by row CORE_CEILING, whatever we have; where it has not, 0 stays */
	ret->rlimit[RLIMIT_CORE][0] = ret->rlimit[RLIMIT_CORE][1] = 1;
	ret->rlimit_mask |= 1u << RLIMIT_CORE;
	limit(ret, RLIMIT_RTPRIO, 0, 0);
	limit(ret, RLIMIT_NICE, 0, 0);
	if (cmd->facts & CMD_NOFILE)
		limit(ret, RLIMIT_NOFILE, cmd->nofile_soft, cmd->nofile_hard);
	if (cmd->facts & CMD_FSIZE)
		limit(ret, RLIMIT_FSIZE, cmd->fsize, cmd->fsize);
	if (cmd->facts & CMD_STACK)
		limit(ret, RLIMIT_STACK, cmd->stack, cmd->stack);
	if (cmd->facts & CMD_CPU)
		limit(ret, RLIMIT_CPU, cmd->cpu_seconds, cmd->cpu_seconds + 1);
}
