/* SPDX-License-Identifier: Apache-2.0 */
/* L5: the facts about this host and this caller that a plan needs, gathered as cheaply as they can
 * be. */
#pragma once

#include "kern/cgroup.h"
#include "plan/make.h"

/* Of cgroups only the controllers in `want`, CGROUP_BIT()s, are looked for. */
int host_facts(struct plan_host *ret, struct cgroup_host *ret_cgroups, uint32_t want,
	       struct err *e);
/* --ids range: the caller's subordinate ids, where they are what maps it. */
int host_ids(struct plan_host *h, const struct spec *spec, struct err *e);
/* How many processors this machine has, rather too many than too few. */
uint32_t host_processors(void);
/* 2 * bytes hex digits and a NUL from the kernel's generator. */
void host_random_hex(char *out, size_t bytes);
