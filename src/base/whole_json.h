/* SPDX-License-Identifier: Apache-2.0 */
/* L1: JSON that is whole. jansson leaves out what it has no memory for and goes on, so that a
 * document could lack a limit, or a field of a result. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* From here on each failed request of jansson for memory is remembered. For programs, at their
 * start: jansson's allocator is the whole process's. Without it nothing is ever said to be lost. */
void whole_json_watch(void);
/* Whether there was one since the last word on it. Context: one thread. */
bool whole_json_lost(void);
/* json_dumps(3), malloc'd; NULL with errno = ENOMEM when `o` is NULL or anything was lost. */
char *whole_json_dumps(const json_t *o, size_t flags);
