/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L3: spec + what the host can do -> plan and command. Pure: no system call, no global, no clock.
 * The only place where policy is decided: what is mounted, which layers are on, what a limit
 * becomes.
 */
#pragma once

#include "base/err.h"
#include "plan/plan.h"
#include "spec/result.h"
#include "spec/spec.h"

#define PLAN_TOPS 6

/* The version of the cgroup that can enforce a limit: 0 none, 1, 2; why_not and hint when 0. */
struct plan_ctl {
	int version;
	const char *why_not, *hint;
};

/* Facts about the host and the caller, gathered beforehand. */
struct plan_host {
	bool root;         /* may map a range of ids and take a slot */
	uint32_t uid, gid; /* of the caller */
	struct plan_idmap sub_uid,
		sub_gid;       /* its subordinate ids; known where a spec asks for them */
	unsigned landlock_abi; /* 0: none */
	bool no_cgroup_ns;     /* see probe_quick */
	struct plan_ctl memory, pids, cpus, cpu_time, cpuset, io;
	uint32_t processors; /* of the machine; known where a --cpu-time was asked for, else 0 */
	/* bin, sbin, lib, lib32, lib64, libx32 of the host's root */
	struct {
		bool exists;
		bool link; /* then text is its target */
		char text[64];
	} top[PLAN_TOPS];
	uint64_t nofile_hard;              /* RLIMIT_NOFILE of the caller */
	unsigned generation;               /* 0: started; a fork of it: 1 ... */
	char machine_id[33];               /* random, of the new sandbox */
	const char *test_fail, *test_stop; /* development builds; NULL */
	int test_errno;
#ifdef CLEAVE_DEV
	const char *test_without; /* NULL: every wall stands (raw/without.h) */
#endif
};

extern const char *const plan_top_names[PLAN_TOPS];

/* A plan under way: bytes that may still be changed until they are written. Freed by plan_free. */
struct plan_bytes {
	struct plan *plan;
	size_t size;
};

/*
 * Makes the plan. layers and limits of *report are filled with what will be; a limit that can't be
 * enforced is an ERR_LIMIT unless spec->degrade. Returns 0 or a negative errno with *e set.
 */
int plan_make(const struct spec *spec, const struct plan_host *host, struct plan_bytes *ret,
	      struct result *report, struct err *e);

/* With --degrade, where only the launch learns it: this kernel bounds memory but not swap. */
void plan_swap_is_free(struct result *report);
/* The same for core files: nobody here may set the one limit that keeps the host's helper away. */
void plan_core_helper_runs(struct result *report);
/*
 * The limits of one exec in a sandbox that lives: fills limits (and layers, where it has one of its
 * own) of *report and the facts PLAN_MEMORY, PLAN_PIDS, PLAN_CPUS, PLAN_CPU_TIME that a cgroup of
 * its own has to answer for. An ERR_LIMIT where the host can't, as for a sandbox.
 */
int plan_exec_limits(const struct spec *spec, const struct plan_host *host, struct result *report,
		     uint64_t *ret_facts, struct err *e);
void plan_free(struct plan_bytes *p);

/* --ids range: the capabilities that a command of this user keeps, as 1 << CAP_...; else none. */
uint64_t plan_caps(bool ids_range, enum spec_user user);

/* What the command runs as flat bytes; malloc'd, *ret_size its size. */
struct cmd *plan_command(const struct spec *spec, const struct spec_command *c,
			 const struct plan_host *host, bool main_command, struct err *e);
