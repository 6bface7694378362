/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/builder.h"

#include <stdlib.h>
#include <string.h>

uint32_t builder_room(struct builder *b, size_t size)
{
	size_t at = (b->size + 7) & ~(size_t)7, need = at + size;

	if (b->failed || need > UINT32_MAX / 2) {
		b->failed = true;
		return 0;
	}
	if (need > b->room) {
		size_t room = need * 2 + 16384; /* mostly enough at once */
		char *bytes = realloc(b->bytes, room);

		if (!bytes) {
			b->failed = true;
			return 0;
		}
		b->bytes = bytes;
		b->room = room;
	}
	memset(b->bytes + b->size, 0, need - b->size);
	b->size = need;
	return (uint32_t)at;
}

uint32_t builder_put(struct builder *b, const void *data, size_t size)
{
	uint32_t at = builder_room(b, size);

	if (!b->failed && size)
		memcpy(b->bytes + at, data, size);
	return at;
}

uint32_t builder_text(struct builder *b, const char *s)
{
	return builder_put(b, s, strlen(s) + 1);
}

struct plan_entry *builder_entry(struct builder *b, enum plan_group group, enum plan_kind kind,
				 const char *target, const char *source)
{
	static _Thread_local struct plan_entry scratch;
	struct plan_entry *e = &scratch;

	if (b->n_entries == b->entries_room) {
		size_t room = b->entries_room * 2 + 128;
		void *p = b->failed ? NULL : realloc(b->entries, room * sizeof(*b->entries));

		if (p) {
			b->entries = p;
			b->entries_room = room;
		} else {
			b->failed = true;
		}
	}
	if (!b->failed)
		e = &b->entries[b->n_entries++];
	*e = (struct plan_entry){
		.group = (uint16_t)group,
		.kind = (uint16_t)kind,
		.fd = -1,
		.mode = 0755,
		.target = builder_text(b, target),
		.source = source ? builder_text(b, source) : 0,
	};
	return e;
}

void builder_done(struct builder *b)
{
	free(b->bytes);
	free(b->entries);
	*b = (struct builder){0};
}
