/* SPDX-License-Identifier: Apache-2.0 */
/* Growing tables and their lay-out as bytes. Pure; trusts its caller, unlike decode.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

static const uint32_t record_bytes[IMAGE_SECTION_N] = {
#define SECTION(id, type) [IMAGE_##id] = sizeof(struct image_##type),
#include "image/sections.def"
#undef SECTION
};

static int grow(struct image_table *t, uint32_t size, uint32_t more, uint32_t max)
{
	uint64_t need = (uint64_t)t->count + more, room = t->room ? t->room : 64;
	void *p;

	if (need > max)
		return -ENOMEM;
	if (need <= t->room)
		return 0;
	while (room < need)
		room *= 2;
	if (room > max)
		room = max;
	p = realloc(t->data, room * size);
	if (!p)
		return -ENOMEM;
	t->data = p;
	t->room = (uint32_t)room;
	return 0;
}

void *image_builder_add(struct image_builder *b, enum image_section section, uint32_t *ret_index)
{
	struct image_table *t = &b->table[section];
	uint32_t size = record_bytes[section];
	char *p;

	if (grow(t, size, 1, IMAGE_MAX_RECORDS))
		return NULL;
	p = (char *)t->data + (size_t)t->count * size;
	memset(p, 0, size);
	if (ret_index)
		*ret_index = t->count;
	t->count++;
	return p;
}

void *image_builder_at(const struct image_builder *b, enum image_section section, uint32_t index)
{
	return (char *)b->table[section].data + (size_t)index * record_bytes[section];
}

int image_builder_bytes(struct image_builder *b, const void *p, size_t n, struct image_ref *ret)
{
	struct image_table *t = &b->table[IMAGE_BYTE];
	uint32_t aligned;

	/* 8-byte aligned, so that a reader may look at numbers in place. */
	if (n > IMAGE_MAX_DESCRIPTION || grow(t, 1, (uint32_t)n + 8, IMAGE_MAX_DESCRIPTION))
		return -ENOMEM;
	aligned = (t->count + 7) & ~7u;
	memset((char *)t->data + t->count, 0, aligned - t->count);
	if (n)
		memcpy((char *)t->data + aligned, p, n);
	*ret = (struct image_ref){n ? aligned : 0, n};
	t->count = aligned + (uint32_t)n;
	return 0;
}

void image_builder_done(struct image_builder *b)
{
	for (int i = 0; i < IMAGE_SECTION_N; i++)
		free(b->table[i].data);
	*b = (struct image_builder){0};
}

int image_encode(const struct image_builder *b, struct image_header *ret_header, void **ret_desc)
{
	struct image_header *h = ret_header;
	uint64_t at = 0;
	char *desc;

	*h = (struct image_header){.magic = IMAGE_MAGIC,
				   .version = IMAGE_VERSION,
				   .header_bytes = sizeof(*h),
				   .pages_offset = IMAGE_PAGE,
				   .pages_bytes = b->pages_bytes,
				   .desc_offset = IMAGE_PAGE + b->pages_bytes,
				   .host = b->host};
	for (int i = 0; i < IMAGE_SECTION_N; i++) {
		h->section[i].offset = at;
		h->section[i].count = b->table[i].count;
		h->section[i].record_bytes = record_bytes[i];
		at += ((uint64_t)b->table[i].count * record_bytes[i] + 7) & ~7ull;
	}
	h->desc_bytes = at;
	h->file_bytes = h->desc_offset + at;
	desc = calloc(1, at ? at : 1);
	if (!desc)
		return -ENOMEM;
	for (int i = 0; i < IMAGE_SECTION_N; i++)
		if (b->table[i].count)
			memcpy(desc + h->section[i].offset, b->table[i].data,
			       (size_t)b->table[i].count * record_bytes[i]);
	*ret_desc = desc;
	return 0;
}
