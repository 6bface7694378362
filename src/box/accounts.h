/* SPDX-License-Identifier: Apache-2.0 */
/* What init reads in the passwd and group of a foreign root: anything may stand there. Pure; a file
 * of its own so that tests/fuzz/accounts.c reaches it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "raw/mem.h"

/* Is `id` the third field of some line? */
static inline bool accounts_know(const char *text, size_t n, const char *id)
{
	size_t len = raw_strlen(id), field = 0, at = 0;

	for (size_t i = 0; i <= n; i++) {
		bool end = i == n || text[i] == '\n';

		if (!end && text[i] != ':')
			continue;
		if (field == 2 && i - at == len && memcmp(text + at, id, len) == 0)
			return true;
		field = end ? 0 : field + 1;
		at = i + 1;
	}
	return false;
}
