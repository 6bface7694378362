/* SPDX-License-Identifier: Apache-2.0 */
/* Rows UNMAP, MAP, MM: one process's address space as system calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "fork/carriers.h"
#include "fork/kernel.h"
#include "fork/planner.h"

#define MAP_DROPPABLE_ 0x8 /* 6.11 */

static const struct {
	uint32_t flag;
	int advice;
	bool may_fail; /* only speed depends on it, and the kernel may be built without */
} advices[] = {
	{IMAGE_MAP_WIPEONFORK, 18, false},          {IMAGE_MAP_DONTFORK, MADV_DONTFORK, false},
	{IMAGE_MAP_HUGE, MADV_HUGEPAGE, true},      {IMAGE_MAP_NOHUGE, MADV_NOHUGEPAGE, true},
	{IMAGE_MAP_DONTDUMP, MADV_DONTDUMP, false}, {IMAGE_MAP_SEQUENTIAL, MADV_SEQUENTIAL, true},
	{IMAGE_MAP_RANDOM, MADV_RANDOM, true},      {IMAGE_MAP_MERGEABLE, MADV_MERGEABLE, true},
};

/* Lies the kernel's data, seen from its code, where this kernel puts it? What a clone moves there
 * is taken from that distance out of init's memory. */
static bool is_the_kernels(uint64_t distance, uint64_t bytes)
{
	AUTO_FREE char *line = NULL;
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start[4], end[4], from, to, code = 0;
	unsigned n = 0;
	size_t room = 0;
	bool found = false;

	while (f && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		if (strstr(line, " [vdso]"))
			code = from;
		if (strstr(line, " [vvar") && n < ARRAY_LEN(start)) {
			start[n] = from;
			end[n++] = to;
		}
	}
	if (f)
		ignore_err(fclose(f), "it was read");
	for (unsigned i = 0; i < n; i++)
		found = found || (start[i] - code == distance && end[i] - start[i] == bytes);
	return found;
}

static void vdso(struct planner *p, const struct image_proc *x, bool place)
{
	uint64_t at =
		p->head.region + p->head.keep_bytes + p->head.stack_bytes + p->head.sync_bytes;
	uint64_t base = 0;

	for (uint32_t i = x->maps.first; i < x->maps.first + x->maps.count; i++)
		if (p->im->map[i].kind == IMAGE_MAP_VDSO)
			base = p->im->map[i].start;
	for (uint32_t i = x->maps.first; i < x->maps.first + x->maps.count; i++) {
		const struct image_map *m = &p->im->map[i];
		uint64_t n = m->end - m->start;

		if (m->kind != IMAGE_MAP_VDSO && m->kind != IMAGE_MAP_VVAR)
			continue;
		if (m->kind == IMAGE_MAP_VVAR && !place && !is_the_kernels(m->start - base, n))
			p->moved = true;
		if (place)
			OP(p, MAP, SYS_mremap, at, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, m->start);
		else
			OP(p, UNMAP, RESTORE_OP_VDSO, m->start - base, n, at);
		at += n;
	}
}

/* [start, end) of the mapping as it is without the image's pages. */
static void map_base(struct planner *p, const struct image_map *m, uint64_t start, uint64_t end)
{
	int flags = MAP_FIXED | (m->flags & IMAGE_MAP_NORESERVE ? MAP_NORESERVE : 0);
	uint64_t n = end - start, offset = m->file_offset + (start - m->start);

	if (start == end)
		return;
	if (m->kind == IMAGE_MAP_SHMEM) {
		OP(p, MAP, SYS_mmap, start, n, m->prot, (uint64_t)(flags | MAP_SHARED),
		   p->shared_slot[m->file], offset);
		return;
	}
	if (m->kind == IMAGE_MAP_FILE) {
		const uint32_t *slot = m->flags & IMAGE_MAP_WRITABLE ? p->write_slot : p->file_slot;

		flags |= m->flags & IMAGE_MAP_SHARED ? MAP_SHARED : MAP_PRIVATE;
		OP(p, MAP, SYS_mmap, start, n, m->prot, (uint64_t)flags, slot[m->file], offset);
		return;
	}
	flags |= MAP_ANONYMOUS | (m->flags & IMAGE_MAP_DROPPABLE ? MAP_DROPPABLE_ : MAP_PRIVATE);
	if (m->kind == IMAGE_MAP_STACK)
		OP(p, MAP, SYS_mmap, start, n, m->prot | PROT_READ | PROT_WRITE,
		   (uint64_t)(flags | MAP_GROWSDOWN), ~0ull, 0);
	else
		OP(p, MAP, SYS_mmap, start, n, m->prot, (uint64_t)flags, ~0ull, 0);
}

static void map_one(struct planner *p, const struct image_map *m)
{
	const struct image *im = p->im;
	uint64_t n = m->end - m->start, at = m->start;
	/* Shared memory has its pages already; what grows down can't be a file's. */
	bool whole = m->kind == IMAGE_MAP_STACK || m->kind == IMAGE_MAP_SHMEM;

	if (whole)
		map_base(p, m, m->start, m->end);
	for (uint32_t i = m->runs.first; i < m->runs.first + m->runs.count; i++) {
		const struct image_run *r = &im->run[i];
		uint64_t bytes = r->end - r->start;

		/* piece by piece: a mapping over another one splits it, which costs twice */
		if (!whole)
			map_base(p, m, at, r->start);
		at = r->end;
		if (!r->offset) {
			if (!whole)
				map_base(p, m, r->start, r->end);
			OP(p, MAP, SYS_madvise, r->start, bytes, KERNEL_MADV_GUARD_INSTALL);
			continue;
		}
		if (m->kind == IMAGE_MAP_STACK)
			OP(p, MAP, SYS_pread64, p->head.image_slot, r->start, bytes, r->offset);
		else
			OP(p, MAP, SYS_mmap, r->start, bytes, m->prot, MAP_PRIVATE | MAP_FIXED,
			   p->head.image_slot, r->offset);
	}
	if (!whole)
		map_base(p, m, at, m->end);
	if (m->kind == IMAGE_MAP_STACK && (m->prot & 3) != 3)
		OP(p, MAP, SYS_mprotect, m->start, n, m->prot);
	for (size_t i = 0; i < ARRAY_LEN(advices); i++)
		if (m->flags & advices[i].flag) {
			OP(p, MAP, SYS_madvise, m->start, n, (uint64_t)advices[i].advice);
			if (advices[i].may_fail)
				planner_flag(p, RESTORE_MAY_FAIL);
		}
}

static void mm(struct planner *p, const struct image_proc *x)
{
	/* struct prctl_mm_map: eleven addresses, the vector's pointer, its size, exe's descriptor.
	 */
	uint64_t v[13];

	/* lint-allow: bugprone-implicit-widening-of-multiplication-result: constants */
	_Static_assert(sizeof(x->mm) == 11 * 8, "the kernel's order");
	memcpy(v, &x->mm, sizeof(x->mm));
	v[11] = planner_put(p, image_bytes(p->im, x->auxv), x->auxv.bytes);
	v[12] = x->auxv.bytes | (uint64_t)p->file_slot[x->exe] << 32;
	if (carrier_off(CARRIER_CWD))
		v[12] |= UINT64_C(0xffffffff) << 32;
	OP(p, MM, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, planner_put(p, v, sizeof(v)), sizeof(v), 0);
}

void plan_memory(struct planner *p, const struct image_proc *x)
{
	uint64_t after = p->room_end, end = IMAGE_ADDRESS_END;

	vdso(p, x, false);
	OP(p, UNMAP, SYS_munmap, 0, p->head.region);
	OP(p, UNMAP, SYS_munmap, after, end - after);
	vdso(p, x, true);
	for (uint32_t i = x->maps.first; i < x->maps.first + x->maps.count; i++)
		if (p->im->map[i].kind != IMAGE_MAP_VDSO && p->im->map[i].kind != IMAGE_MAP_VVAR)
			map_one(p, &p->im->map[i]);
	mm(p, x);
}
