/* SPDX-License-Identifier: Apache-2.0 */
#include "base/whole_json.h"

#include <errno.h>
#include <stdlib.h>

static bool lost;

static void *allocate(size_t n)
{
	void *p = malloc(n);

	lost = lost || !p;
	return p;
}

void whole_json_watch(void)
{
	json_set_alloc_funcs(allocate, free);
}

bool whole_json_lost(void)
{
	bool was = lost;

	lost = false;
	return was;
}

char *whole_json_dumps(const json_t *o, size_t flags)
{
	char *text = o ? json_dumps(o, flags) : NULL;

	if (whole_json_lost() || !text) {
		free(text);
		errno = ENOMEM;
		return NULL;
	}
	return text;
}
