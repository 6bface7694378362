/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What confines the tasks of a clone, in the order in which each step still has the right to be
 * taken. Everything here comes from the forker's struct fork_confine; the image can only make
 * resource limits smaller, as a process of the source had made its own.
 */
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fork/carriers.h"
#include "fork/planner.h"
#include "fork/procfs.h"

uint32_t plan_cap_last(void)
{
	struct proc_text text = {0};
	uint32_t last = 40;

	if (proc_read_path(&text, "/proc/sys/kernel/cap_last_cap") == 0)
		last = (uint32_t)strtol(text.p, NULL, 10);
	proc_text_done(&text);
	return last < 64 ? last : 63;
}

void plan_bounding(struct planner *p)
{
	for (uint64_t cap = 0; cap <= p->cap_last; cap++)
		if (!(p->confine->bounding >> cap & 1))
			OP(p, BOUNDING, SYS_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
}

void plan_drop(struct planner *p, enum restore_step step)
{
	const struct fork_confine *c = p->confine;
	uint32_t none[8] = {_LINUX_CAPABILITY_VERSION_3, 0};
	uint32_t first = p->n_ops;

	if (step == RESTORE_DROP && carrier_off(CARRIER_CREDS))
		return;
	if (!p->capset_at)
		p->capset_at = planner_put(p, none, sizeof(none));
	if (!c->keep_ids) {
		OP(p, DROP, SYS_setgroups, 0, 0);
		OP(p, DROP, SYS_setresgid, c->gid, c->gid, c->gid);
		OP(p, DROP, SYS_setresuid, c->uid, c->uid, c->uid);
	}
	OP(p, DROP, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	OP(p, DROP, SYS_capset, p->capset_at, p->capset_at + 8);
	OP(p, DROP, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (; first < p->n_ops; first++)
		p->op[first].step = (uint16_t)step;
}

static void put_program(struct planner *p, uint64_t *at, const struct sock_filter *insns,
			uint16_t n, uint32_t threads)
{
	if (!n)
		return;
	if (!*at)
		*at = planner_put(p, (uint64_t[2]){n, planner_put(p, insns, n * sizeof(uint64_t))},
				  16);
	OP(p, FILTER, SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	   threads > 1 ? SECCOMP_FILTER_FLAG_TSYNC : 0, *at);
	planner_flag(p, RESTORE_ZERO); /* TSYNC answers with the thread that stood aside */
}

/* Ours first: it lets the other one be loaded, which may forbid that itself. */
void plan_filter(struct planner *p, uint32_t threads)
{
	put_program(p, &p->filter_at, p->confine->filter, p->confine->filter_n, threads);
	put_program(p, &p->profile_at, p->confine->profile, p->confine->profile_n, threads);
}

void plan_limits(struct planner *p, const struct image_proc *x)
{
	const struct fork_confine *c = p->confine;

	for (uint64_t i = 0; i < 16; i++) {
		uint64_t v[2] = {x->rlimit[i][0], x->rlimit[i][1]};
		bool asked = c->rlimit_mask >> i & 1;

		for (int k = 0; k < 2 && asked && c->source_rlimit_mask >> i & 1; k++)
			if (v[k] == c->source_rlimit[i][k])
				v[k] = c->rlimit[i][k];
		if (asked && (v[1] > c->rlimit[i][1] || i == RLIMIT_CORE))
			v[1] = c->rlimit[i][1];
		if (v[0] > v[1] || i == RLIMIT_CORE)
			v[0] = v[1];
		OP(p, ATTRIBUTES, SYS_prlimit64, 0, i, planner_put(p, v, sizeof(v)), 0);
		/* What init itself was not given can't be raised, which is as it should be. */
		if (!asked || i == RLIMIT_CORE)
			planner_flag(p, RESTORE_MAY_FAIL);
	}
}
