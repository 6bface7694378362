/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: what this host can do. The table is probe.def; the meaning for the user (layers) is decided
 * in plan/. Two depths:
 *
 *   probe_quick   what every start asks: a few system calls that change nothing, no memory
 *   probe_full    everything, for doctor: tries it out in short-lived children (milliseconds)
 *
 * What this room must not do: change anything on the host, leave a process, mount or descriptor
 * behind, decide what a missing feature means.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "kern/cgroup.h"

enum probe_id {
#define F(id, name, since, need, asked, lost, remedy) PROBE_##id,
#include "kern/probe.def"
#undef F
	PROBE_N
};

enum probe_need { PROBE_REQUIRED, PROBE_LAYER, PROBE_FORK, PROBE_EXTRA };

struct probe_feature {
	const char *name;
	const char *since; /* first kernel, or "" */
	enum probe_need need;
	const char *asked, *lost, *remedy;
};
extern const struct probe_feature probe_features[PROBE_N];

#define PROBE_KERNEL(major, minor) ((uint32_t)(major) << 16 | (uint32_t)(minor))
#define PROBE_KERNEL_MIN PROBE_KERNEL(5, 15)

struct probe_quick {
	uint32_t kernel;  /* PROBE_KERNEL() */
	int landlock_abi; /* 0: none */
	/* The caller may give each sandbox a range of ids: it is root, with the capabilities, where
	 * the host's ids from 0x70000000 to 0x7ffeffff exist. Else: the caller's one id. */
	bool id_range;
	/* We are in a user namespace, and a limit of one around us allows no cgroup namespace,
	 * as --nest does for an ordinary user. */
	bool no_cgroup_ns;
};

/*
 * For the path of every start. Fails with ERR_HOST, naming the feature and its remedy, when one
 * that every launch needs is plainly missing; what needs trying out is found by the launch itself.
 * Context: any thread; 10 us.
 */
MUST_CHECK int probe_quick(struct probe_quick *ret, struct err *e);

enum probe_state { PROBE_UNASKED, PROBE_ABSENT, PROBE_PRESENT };

struct probe_answer {
	enum probe_state state; /* UNASKED: could not be tried, `how` says why */
	int code;               /* positive errno of a refusal, or 0 */
	char how[192];          /* present: in what form; absent: what was seen; may be empty */
	char remedy[256];       /* absent: what mends it on this host; may be empty */
};

struct probe {
	struct probe_quick quick;
	char release[65];
	uint32_t uid;
	struct probe_answer f[PROBE_N];
	struct cgroup_host cgroup;
};

/* Asks everything; always fills *ret (about 30 KiB: not for small stacks). Returns 0, or -errno
 * when not even a child could be made (then much is UNASKED). Context: any thread. */
int probe_full(struct probe *ret);

/* For the error of a launch whose clone or first step in a new user namespace failed with `code`
 * (positive errno): sets the hint that fits this host's settings. Context: any; reads /proc/sys. */
void probe_hint_user_ns(int code, struct err *e);
/* For one whose first step there was denied: the line, if something on this host is known to take
 * the rights of a new namespace away. */
void probe_hint_powerless(struct err *e);
/* probe_hint_user_ns as text; empty when nothing fits. */
void probe_user_ns_remedy(int code, char *buf, size_t size);

/* Whether our user namespace is not the machine's first. */
bool probe_inside_user_ns(void);

/* True when CLEAVE_TEST_NO names the feature; never in a release build. */
bool probe_test_absent(enum probe_id id);
