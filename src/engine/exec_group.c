/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/exec_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/host.h"
#include "raw/syscall.h"

#define KILL_TIMEOUT_NS UINT64_C(1000000000)
#define TAG_BITS 62 /* below what a resource limit of "unlimited" is */

static bool has_own_limits(const struct spec_limits *l)
{
	return l->timeout_ns != SPEC_UNSET || l->cpu_time_ns != SPEC_UNSET ||
	       l->output_bytes != SPEC_UNSET || l->stdout_bytes != SPEC_UNSET ||
	       l->stderr_bytes != SPEC_UNSET || l->memory_bytes != SPEC_UNSET ||
	       l->pids != SPEC_UNSET || l->cpus_milli != SPEC_UNSET;
}

int exec_group_plan(const struct keeper *k, struct command_state *c, const struct spec *spec,
		    struct err *e)
{
	c->limits = spec->limits;
	c->bounded = has_own_limits(&spec->limits);
	c->degrade = spec->degrade;
	return plan_exec_limits(spec, &k->host, &c->result, &c->facts, e);
}

static uint32_t offered(const struct cgroup *cg)
{
	uint32_t mask = 0;

	for (int i = 0; i < cg->dir_n; i++)
		mask |= cg->dir[i].ctls;
	return mask;
}

static int set_limits(const struct keeper *k, struct command_state *c, struct cgroup *cg,
		      struct err *e)
{
	int r = 0;

	(void)k; /* asked in development builds */
	if (c->facts & PLAN_MEMORY)
		r = cgroup_limit_memory(
			cg, c->limits.memory_bytes,
			c->limits.swap_bytes == SPEC_UNSET ? 0 : c->limits.swap_bytes, e);
	if (r == 0 && c->facts & PLAN_MEMORY &&
	    raw_without(k->plan.plan->test_without, "limit", "swap"))
		r = 1;
	if (r == 1)
		plan_swap_is_free(&c->result);
	if (r == 1 && !c->degrade) {
		err_hint(e, "switch swap off, or go on with --degrade");
		return err_set(e, ERR_LIMIT, EOPNOTSUPP,
			       "--memory: this kernel does not account swap");
	}
	if (r >= 0 && c->facts & PLAN_PIDS)
		r = cgroup_limit_pids(cg, c->limits.pids, e);
	if (r >= 0 && c->facts & PLAN_CPUS) {
		r = cgroup_limit_cpu(cg, c->limits.cpus_milli, e);
		if (r == -EINVAL)
			err_hint(e, "the sandbox itself has fewer (its own --cpus)");
	}
	return r < 0 ? r : 0;
}

static void oom_ready(struct keeper *k, struct source *s, uint32_t events)
{
	struct exec_group *g =
		(struct exec_group *)((char *)s - offsetof(struct exec_group, oom_source));
	uint64_t kills = s->fd < 0 ? 0 : cgroup_oom_take(&g->oom);

	(void)k;
	(void)events;
	if (kills == CGROUP_UNKNOWN || kills == 0 || g->command->end.oom_killed)
		return;
	g->command->end.oom_killed = true;
	exec_group_kill(g->command);
}

static int group_open(struct keeper *k, struct command_state *c, struct err *e)
{
	uint32_t want =
		offered(&k->box.cgroup) & (CGROUP_BIT(CGROUP_CPUACCT) | CGROUP_BIT(CGROUP_FREEZER));
	uid_t init_uid = k->box.id_base + k->plan.plan->init_uid;
	struct exec_group *g = calloc(1, sizeof(*g));
	char name[32];
	int r;

	if (!g)
		return err_set(e, ERR_INTERNAL, ENOMEM, "prepare the command");
	*g = (struct exec_group){
		.oom = CGROUP_OOM_INIT, .oom_source = {.fd = -EBADF}, .command = c};
	c->group = g;
	want |= c->facts & PLAN_MEMORY ? CGROUP_BIT(CGROUP_MEMORY) : 0;
	want |= c->facts & PLAN_PIDS ? CGROUP_BIT(CGROUP_PIDS) : 0;
	want |= c->facts & PLAN_CPUS ? CGROUP_BIT(CGROUP_CPU) : 0;
	snprintf(name, sizeof(name), "exec-%u", c->id);
	r = cgroup_sub_create(&k->box.cgroup, name, want, k->host.root ? init_uid : k->host.uid,
			      &g->cgroup, e);
	if (r == 0)
		r = set_limits(k, c, &g->cgroup, e);
	if (r == 0 && c->facts & PLAN_MEMORY) {
		r = cgroup_oom_open(&g->cgroup, &g->oom, e);
		g->oom_source = (struct source){g->oom.fd, oom_ready};
		if (r == 0)
			r = keeper_watch(k, &g->oom_source, g->oom.events, e);
	}
	k->n_groups++;
	return r;
}

/* Where a cgroup can't kill or count the tree of the command, init does. */
static int leave_to_init(struct keeper *k, struct command_state *c, struct err *e)
{
	uint32_t have = c->group ? offered(&c->group->cgroup) : 0;
	bool counts = have & CGROUP_BIT(CGROUP_CPUACCT);
	uint64_t tag;

	if (have & CGROUP_BIT(CGROUP_FREEZER) && counts)
		return 0;
	if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag))
		return err_set(e, ERR_HOST, errno, "get a random number");
	c->cmd->tag = tag >> (64 - TAG_BITS) | 1;
	c->cmd->facts |= CMD_TAG;
	c->cmd->processors = k->host.processors;
	if (!counts && c->limits.cpu_time_ns != SPEC_UNSET)
		c->cmd->cpu_time_ns = spec_kill_ns(&c->limits, c->limits.cpu_time_ns);
	return 0;
}

int exec_group_spawn(struct keeper *k, struct command_state *c, const int fds[3], struct err *e)
{
	struct cgroup_join join = {.clone_fd = -EBADF};
	int r = 0;

	if (c->bounded && k->box.cgroup.dir_n && k->plan.plan->facts & PLAN_SUBIDS)
		r = err_set(e, ERR_LIMIT, EOPNOTSUPP,
			    "limits of one exec with --ids range: init has an id there that may "
			    "not use the caller's cgroups");
	else if (c->bounded && k->box.cgroup.dir_n)
		r = group_open(k, c, e);
	if (r == 0 && c->limits.cpu_time_ns != SPEC_UNSET && !k->host.processors)
		k->host.processors = host_processors();
	if (r == 0 && c->bounded)
		r = leave_to_init(k, c, e);
	if (r == 0 && c->group)
		r = cgroup_join_open(&c->group->cgroup, &join, e);
	if (r == 0)
		r = box_spawn(&k->box, c->id, c->cmd, fds, c->group ? &join : NULL, e);
	if (r == -EPIPE || r == -ECONNRESET) {
		*e = ERR_INIT; /* init is gone, which we shall read in a moment */
		err_set(e, ERR_STATE, 0, "the sandbox has ended");
	}
	cgroup_join_close(&join);
	if (r < 0)
		exec_group_end(k, c);
	return r;
}

void exec_group_started(struct keeper *k, struct command_state *c)
{
	if (c->group)
		cpu_watch_start(&c->group->cpu, &c->group->cgroup,
				spec_kill_ns(&c->limits, c->limits.cpu_time_ns),
				k->host.processors);
}

void exec_group_kill(struct command_state *c)
{
	struct err late = ERR_INIT;

	if (c->group)
		ignore_err(cgroup_kill(&c->group->cgroup, KILL_TIMEOUT_NS, &late),
			   "the end of the command or of the sandbox tries again");
}

void exec_group_end(struct keeper *k, struct command_state *c)
{
	struct exec_group *g = c->group;
	struct err late = ERR_INIT;
	uint64_t kills;

	if (!g)
		return;
	exec_group_kill(c);
	settle_figures(&c->result, &g->cgroup, &c->end);
	if (g->oom.fd >= 0) {
		kills = cgroup_oom_take(&g->oom);
		if (k->host.memory.version == 2 && kills != CGROUP_UNKNOWN)
			k->oom_kills_past += kills;
		keeper_unwatch(k, &g->oom_source);
		g->oom.fd = -EBADF; /* closed with its source */
		close_fd(&g->oom.memory_fd);
		close_fd(&g->oom.event_fd);
		close_fd(&g->oom.timer_fd);
	}
	ignore_err(cgroup_remove(&g->cgroup, KILL_TIMEOUT_NS, &late),
		   "it goes with the sandbox's own");
	/* the loop may hold an event of its source still */
	g->next_dead = k->dead_groups;
	k->dead_groups = g;
	c->group = NULL;
	k->n_groups--;
}

uint64_t exec_group_strike(struct keeper *k)
{
	uint64_t next = 0, now = k->n_groups ? raw_now_ns() : 0;

	for (struct exec_group *g = k->dead_groups, *after; g; g = after) {
		after = g->next_dead;
		free(g);
	}
	k->dead_groups = NULL;
	for (size_t i = 1; k->n_groups && i < KEEPER_COMMANDS; i++) {
		struct command_state *c = &k->commands[i];

		if (!c->used || !c->group)
			continue;
		if (cpu_watch_over(&c->group->cpu, now)) {
			c->end.cpu_over = true;
			exec_group_kill(c);
		}
		if (c->group->cpu.pace.at && (!next || c->group->cpu.pace.at < next))
			next = c->group->cpu.pace.at;
	}
	return next;
}

uint64_t exec_group_oom_kills(struct keeper *k)
{
	uint64_t sum = k->oom_kills_past, kills;

	for (size_t i = 1; k->n_groups && i < KEEPER_COMMANDS; i++) {
		struct exec_group *g = k->commands[i].used ? k->commands[i].group : NULL;

		if (!g || g->oom.fd < 0 || k->host.memory.version != 2)
			continue;
		kills = cgroup_oom_take(&g->oom);
		sum += kills == CGROUP_UNKNOWN ? 0 : kills;
	}
	return sum;
}
