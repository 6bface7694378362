/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: a growing pool of bytes with offsets that survive growth. Out of memory sticks
 * until the end. */
#pragma once

#include "plan/plan.h"

struct builder {
	char *bytes;
	size_t size, room;
	struct plan_entry *entries;
	size_t n_entries, entries_room;
	bool failed;
};

/* Appends, aligned to 8; returns the offset. */
uint32_t builder_put(struct builder *b, const void *data, size_t size);
uint32_t builder_text(struct builder *b, const char *s);
/* Reserves size zero bytes; returns the offset. */
uint32_t builder_room(struct builder *b, size_t size);
/* A new entry, zeroed, fd -1, mode 0755; never NULL (a scratch one when out of memory). */
struct plan_entry *builder_entry(struct builder *b, enum plan_group group, enum plan_kind kind,
				 const char *target, const char *source);
void builder_done(struct builder *b);
