/* SPDX-License-Identifier: Apache-2.0 */
/* What a limit becomes: who enforces it, or why nobody can. Pure. */
#include "plan/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define ROOT_BYTES (8u << 20)
#define DISK_BYTES (UINT64_C(1) << 30)
#define DISK_INODES 262144

void plan_layer(struct result *r, enum layer_id id, enum layer_state state, const char *how,
		const char *remedy)
{
	r->layers[id].state = state;
	snprintf(r->layers[id].how, sizeof(r->layers[id].how), "%s", how);
	snprintf(r->layers[id].remedy, sizeof(r->layers[id].remedy), "%s", remedy ? remedy : "");
}

static void limit(struct result *r, enum limit_id id, uint64_t asked, const char *by)
{
	r->limits[id].asked = asked;
	r->limits[id].enforced = asked != SPEC_UNSET;
	snprintf(r->limits[id].by, sizeof(r->limits[id].by), "%s", asked != SPEC_UNSET ? by : "");
}

static const char *const cgroup_by[] = {"none", "cgroup v1", "cgroup v2"};

/* Into a hierarchy of v2 a process is born, one of v1 it joins by itself. */
static uint64_t cgroup_facts(int version)
{
	return version == 1 ? PLAN_CGROUP_BESIDE | PLAN_CGROUP_V1 : PLAN_CGROUP;
}

/* A limit that only a cgroup can enforce. Returns 0, or an error unless the user said --degrade. */
static int cgroup_limit(struct plan *p, struct result *r, uint64_t asked, enum limit_id id,
			uint64_t fact, const struct plan_ctl *c, bool degrade, struct err *e)
{
	const char *hint = c->hint ? c->hint : "";

	limit(r, id, asked, cgroup_by[c->version]);
	if (asked == SPEC_UNSET)
		return 0;
	if (c->version) {
		p->facts |= fact | cgroup_facts(c->version);
		return 0;
	}
	r->limits[id].enforced = false;
	if (degrade)
		return 0;
	err_set(e, ERR_LIMIT, 0, "--%s can't be enforced: %s", limit_name(id),
		c->why_not && *c->why_not ? c->why_not : "no cgroup controller for it");
	err_hint(e, "%s%sor go on without it by --degrade", hint, *hint ? ", " : "");
	return -EOPNOTSUPP;
}

/* One that is a layer, too. */
static int layer_limit(struct plan *p, struct result *r, uint64_t asked, enum limit_id id,
		       enum layer_id layer_id, uint64_t fact, const struct plan_ctl *c,
		       bool degrade, struct err *e)
{
	if (asked == SPEC_UNSET)
		plan_layer(r, layer_id, LAYER_OFF, "no limit asked", NULL);
	else if (c->version)
		plan_layer(r, layer_id, LAYER_ON, cgroup_by[c->version], NULL);
	else
		plan_layer(r, layer_id, LAYER_DEGRADED,
			   c->why_not ? c->why_not : "no cgroup controller", c->hint);
	return cgroup_limit(p, r, asked, id, fact, c, degrade, e);
}

/* Counted by a cgroup, or by init: there is no host that can't. */
static void cpu_time(struct plan *p, uint64_t asked, const struct plan_host *h, struct result *r)
{
	int version = h->cpu_time.version;

	limit(r, LIMIT_CPU_TIME, asked, version ? cgroup_by[version] : "sum of processes");
	if (asked != SPEC_UNSET && version)
		p->facts |= PLAN_CPU_TIME | cgroup_facts(version);
}

static void output_limits(const struct spec_limits *l, struct result *r)
{
	limit(r, LIMIT_OUTPUT, l->output_bytes, "relay");
	limit(r, LIMIT_STDOUT, l->stdout_bytes, "relay");
	limit(r, LIMIT_STDERR, l->stderr_bytes, "relay");
}

/* Three limits that need a controller each. */
static int cgroup_limits(struct plan *p, const struct spec *s, const struct plan_host *h,
			 struct result *r, struct err *e)
{
	const struct spec_limits *l = &s->limits;
	int rc = layer_limit(p, r, l->memory_bytes, LIMIT_MEMORY, LAYER_CGROUP_MEMORY, PLAN_MEMORY,
			     &h->memory, s->degrade, e);

	limit(r, LIMIT_SWAP, l->swap_bytes, cgroup_by[h->memory.version]);
	r->limits[LIMIT_SWAP].enforced = l->swap_bytes != SPEC_UNSET && h->memory.version;
	if (rc == 0)
		rc = layer_limit(p, r, l->pids, LIMIT_PIDS, LAYER_CGROUP_PIDS, PLAN_PIDS, &h->pids,
				 s->degrade, e);
	if (rc == 0)
		rc = layer_limit(p, r, l->cpus_milli, LIMIT_CPUS, LAYER_CGROUP_CPU, PLAN_CPUS,
				 &h->cpus, s->degrade, e);
	return rc;
}

void plan_swap_is_free(struct result *r)
{
	plan_layer(r, LAYER_CGROUP_MEMORY, LAYER_DEGRADED,
		   "memory is bounded, but this kernel does not account swap",
		   "boot with swapaccount=1, or switch swap off");
	r->limits[LIMIT_SWAP].enforced = false;
	r->limits[LIMIT_SWAP].by[0] = 0;
}

void plan_core_helper_runs(struct result *r)
{
	plan_layer(r, LAYER_RLIMITS, LAYER_DEGRADED,
		   "the caller's hard limit of core files is 0: a crash runs the host's helper",
		   "ulimit -Hc 1 where that limit is set");
}

static uint64_t count_cpus(const char *list)
{
	uint64_t n = 0;

	while (*list) {
		unsigned from = (unsigned)strtoul(list, (char **)&list, 10), to = from;

		if (*list == '-')
			to = (unsigned)strtoul(list + 1, (char **)&list, 10);
		n += to >= from ? to - from + 1 : 0;
		list += *list == ',';
	}
	return n;
}

/* Two that are no layers: what keeps others out is the limit of processor time, and no disk is in
 * reach but what the user gave. The processors are told as how many they are. */
static int named_limits(struct plan *p, const struct spec *s, const struct plan_host *h,
			struct result *r, struct err *e)
{
	static const char v2_only[] = "boot with cgroup v2 alone "
				      "(systemd.unified_cgroup_hierarchy=1: version 1 does not see "
				      "what is written back later)";
	struct plan_ctl io = h->io;
	int rc = cgroup_limit(p, r, s->cpuset ? count_cpus(s->cpuset) : SPEC_UNSET, LIMIT_CPUSET,
			      PLAN_CPUSET, &h->cpuset, s->degrade, e);

	if (!io.hint || !*io.hint)
		io.hint = v2_only;
	if (rc == 0)
		rc = cgroup_limit(p, r, s->limits.io_bytes, LIMIT_IO, PLAN_IO, &io, s->degrade, e);
	return rc;
}

int plan_sandbox_limits(struct plan *p, const struct spec *s, const struct plan_host *h,
			struct result *r, struct err *e)
{
	const struct spec_limits *l = &s->limits;
	int rc;

	limit(r, LIMIT_TIMEOUT, l->timeout_ns, "timer");
	limit(r, LIMIT_DISK, l->disk_bytes, "tmpfs");
	limit(r, LIMIT_INODES, l->disk_inodes, "tmpfs");
	output_limits(l, r);
	limit(r, LIMIT_NOFILE, l->nofile, "rlimit");
	limit(r, LIMIT_FSIZE, l->fsize_bytes, "rlimit");
	limit(r, LIMIT_STACK, l->stack_bytes, "rlimit");
	cpu_time(p, l->cpu_time_ns, h, r);
	rc = cgroup_limits(p, s, h, r, e);
	if (rc == 0)
		rc = named_limits(p, s, h, r, e);
	if (p->facts & PLAN_CGROUP) /* one hierarchy of v2 is enough */
		p->facts &= ~(uint64_t)PLAN_CGROUP_BESIDE;
	p->disk_bytes = l->disk_bytes == SPEC_UNSET ? DISK_BYTES : l->disk_bytes;
	p->disk_inodes = l->disk_inodes == SPEC_UNSET ? DISK_INODES : l->disk_inodes;
	p->root_bytes = ROOT_BYTES;
	return rc;
}

int plan_exec_limits(const struct spec *s, const struct plan_host *h, struct result *r,
		     uint64_t *ret_facts, struct err *e)
{
	struct result_layer before[LAYER_N];
	const enum layer_id own[] = {LAYER_CGROUP_MEMORY, LAYER_CGROUP_PIDS, LAYER_CGROUP_CPU};
	const enum limit_id asked[] = {LIMIT_MEMORY, LIMIT_PIDS, LIMIT_CPUS};
	const struct spec_limits *l = &s->limits;
	struct plan p = {0};
	int rc;

	memcpy(before, r->layers, sizeof(before));
	limit(r, LIMIT_TIMEOUT, l->timeout_ns, "timer");
	output_limits(l, r);
	if (s->command.no_aslr)
		plan_layer(r, LAYER_ASLR, LAYER_OFF, "--no-aslr", NULL);
	cpu_time(&p, l->cpu_time_ns, h, r);
	rc = cgroup_limits(&p, s, h, r, e);
	/* where the exec asks for nothing the sandbox's own limit stands as it was */
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (r->limits[asked[i]].asked == SPEC_UNSET)
			r->layers[own[i]] = before[own[i]];
	*ret_facts = p.facts;
	return rc;
}
