/* SPDX-License-Identifier: Apache-2.0 */
/* Where the restorer lies in a clone: at one place that is free in every process of it. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fork/planner.h"

/* Where the region may lie: below everything that grows, or far from init's own places (its text at
 * 2 MiB, its stack and vdso near the top). */
static const uint64_t windows[][2] = {{0x10000, 0x200000}, {0x1000000000, 0x500000000000}};

struct range {
	uint64_t start, end;
};

static int by_start(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* What is mapped in any process, in order: a workload chooses how many there are and where. */
static struct range *all_mapped(const struct image *im)
{
	struct range *all = calloc(im->map_n + 1u, sizeof(*all));

	for (uint32_t i = 0; all && i < im->map_n; i++)
		all[i] = (struct range){im->map[i].start, im->map[i].end};
	if (all)
		qsort(all, im->map_n, sizeof(*all), by_start);
	return all;
}

/* The first address of a window at which `bytes` are free in every process; 0: there is none. */
static uint64_t hole(const struct range *all, uint32_t n, uint64_t bytes, const uint64_t window[2])
{
	uint64_t at = window[0];

	for (uint32_t i = 0; i < n && all[i].start < at + bytes; i++)
		if (all[i].end > at)
			at = all[i].end;
	return at + bytes <= window[1] ? at : 0;
}

int planner_hole(const struct image *im, uint64_t bytes, uint64_t *ret)
{
	AUTO_FREE struct range *all = all_mapped(im);

	*ret = 0;
	for (size_t i = 0; all && i < ARRAY_LEN(windows) && !*ret; i++)
		*ret = hole(all, im->map_n, bytes, windows[i]);
	return all ? 0 : -ENOMEM;
}
