/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/programs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "elf/programs.h"

int programs_enter(struct spec *s, struct err *e)
{
	struct elf_items items;
	struct spec_mount *m;
	int r;

	if (!s->programs.n || s->root)
		return 0;
	r = elf_programs(s->programs.v, s->programs.n, &items, e);
	if (r < 0)
		return r;
	s->root = strdup("programs");
	m = s->root ? spec_mounts_before(s, items.n) : NULL;
	for (size_t i = 0; m && r == 0 && i < items.n; i++) {
		struct elf_item *item = &items.v[i];

		m[i] = (struct spec_mount){.kind = item->link ? SPEC_LINK : SPEC_PROGRAM,
					   .size = SPEC_UNSET,
					   .target = item->path};
		m[i].source = item->link ? item->link : strdup(item->path);
		item->path = item->link = NULL; /* the spec's now */
		r = m[i].source ? 0 : -ENOMEM;
	}
	elf_items_done(&items);
	return m && r == 0 ? 0 : err_set(e, ERR_INTERNAL, ENOMEM, "--bin");
}
