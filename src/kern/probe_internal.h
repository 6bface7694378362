/* SPDX-License-Identifier: Apache-2.0 */
/* What probe.c, probe_full.c and probe_try.c share, and unit tests reach. */
#pragma once

#include "kern/probe.h"

/* "6.1.0-25-amd64" -> PROBE_KERNEL(6, 1); 0 when it is no release. Pure. */
uint32_t probe_kernel_parse(const char *release);
/* Whether the text of a uid_map covers [first, last]. Pure. */
bool probe_map_covers(const char *map, uint32_t first, uint32_t last);
/* At most size - 1 bytes and a NUL. Returns their number or -errno. */
int probe_file_read(const char *path, char *buf, size_t size);
/* The cheap question for a feature that has one: 0 present, else a positive errno; 0 for others. */
int probe_call(enum probe_id id);
int probe_landlock_abi(void);
/* See probe_quick.id_range. */
bool probe_have_id_range(void);

/* What a trial wrote: PROBE_TRY_UNASKED, 0 or a positive errno for each feature. */
#define PROBE_TRY_UNASKED (-1)
struct probe_trial {
	int code[PROBE_N];
};

/*
 * Tries the features that need a new user namespace, in children that write to *t (shared memory,
 * all UNASKED beforehand) and are gone when it returns. 0 or -errno.
 */
int probe_try_namespaces(struct probe_trial *t);
/* False when their number is limited to what exists already. */
bool probe_try_cgroup_ns(void);
/* An idmapped tmpfs, as root: 0 or a positive errno. */
int probe_try_idmapped(void);
