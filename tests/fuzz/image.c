/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: the decoder, a reader that follows every reference, and the planner up to the sealed
 * restore plan. The input is a flag byte, the header record and the description; the pages are only
 * counted. With an odd flag what a mutation would never hit is made right: magic, version, lengths
 * and the places of the tables. The host is always this one.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fork/fork.h"

static const uint32_t record_bytes[IMAGE_SECTION_N] = {
#define SECTION(id, type) [IMAGE_##id] = sizeof(struct image_##type),
#include "image/sections.def"
#undef SECTION
};

static volatile uint64_t sink;

static void read_bytes(const struct image *im, struct image_ref r)
{
	for (uint64_t i = 0; i < r.bytes; i++)
		sink += image_bytes(im, r)[i];
}

/* guards: a process's mapping may have regions without bytes. */
static void read_runs(const struct image *im, struct image_span s, uint64_t start, uint64_t end,
		      bool guards)
{
	for (uint32_t i = s.first; i < s.first + s.count; i++) {
		const struct image_run *r = &im->run[i];

		FUZZ_CHECK(r->start >= start && r->start < r->end && r->end <= end);
		FUZZ_CHECK((guards && !r->offset) ||
			   (r->offset >= im->header->pages_offset &&
			    r->offset + (r->end - r->start) <= im->header->desc_offset));
	}
}

static void read_proc(const struct image *im, const struct image_proc *p)
{
	read_bytes(im, p->auxv);
	sink += im->file[p->exe].size + im->file[p->cwd].size;
	for (uint32_t i = p->fds.first; i < p->fds.first + p->fds.count; i++)
		sink += im->ofd[im->fd[i].ofd].kind;
	for (uint32_t i = p->threads.first; i < p->threads.first + p->threads.count; i++) {
		read_bytes(im, im->thread[i].xstate);
		read_bytes(im, im->thread[i].affinity);
	}
	for (uint32_t i = p->actions.first; i < p->actions.first + p->actions.count; i++)
		sink += im->action[i].handler;
	for (uint32_t i = p->maps.first; i < p->maps.first + p->maps.count; i++) {
		const struct image_map *m = &im->map[i];

		FUZZ_CHECK(m->start >= 65536 && m->start < m->end && m->end <= IMAGE_ADDRESS_END);
		FUZZ_CHECK(m->kind != IMAGE_MAP_FILE || m->file < im->file_n);
		read_runs(im, m->runs, m->start, m->end, true);
	}
}

static void read_all(const struct image *im)
{
	for (uint32_t i = 0; i < im->file_n; i++)
		sink += strlen((const char *)image_bytes(im, im->file[i].path));
	for (uint32_t i = 0; i < im->pipe_n; i++)
		read_bytes(im, im->pipe[i].content);
	for (uint32_t i = 0; i < im->socket_n; i++)
		read_bytes(im, im->socket[i].content);
	for (uint32_t i = 0; i < im->shared_n; i++)
		read_runs(im, im->shared[i].runs, 0, UINT64_MAX, false);
	for (uint32_t i = 0; i < im->proc_n; i++)
		if (!(im->proc[i].flags & IMAGE_PROC_ZOMBIE))
			read_proc(im, &im->proc[i]);
}

static void plan(struct fork_image *im)
{
	struct fork_confine confine = {.uid = 1000, .gid = 1000, .dumpable = 1};
	uint32_t vdso = im->header.host.vdso_bytes;
	struct fork_plan plan;
	struct err e = ERR_INIT;
	struct stat st;

	im->header.host = (struct image_host){.vdso_bytes = vdso};
	FUZZ_CHECK(fork_host(&im->header.host, &e) == 0);
	if (fork_plan_make(im, &confine, NULL, &plan, &e) < 0) {
		FUZZ_CHECK(e.id);
		return;
	}
	FUZZ_CHECK(fstat(plan.fd, &st) == 0 && st.st_size == plan.bytes && plan.ops);
	FUZZ_CHECK(fcntl(plan.fd, F_GET_SEALS) & F_SEAL_WRITE);
	fork_plan_done(&plan);
}

static void make_right(struct image_header *h, size_t size)
{
	uint64_t at = 0;

	h->magic = IMAGE_MAGIC;
	h->version = IMAGE_VERSION;
	h->header_bytes = sizeof(*h);
	h->pages_offset = IMAGE_PAGE;
	h->pages_bytes = (h->pages_bytes & 0xffff) * IMAGE_PAGE;
	h->desc_offset = IMAGE_PAGE + h->pages_bytes;
	h->host = (struct image_host){.vdso_bytes = h->host.vdso_bytes & 0xffff};
	for (int i = 0; i < IMAGE_SECTION_N; i++) {
		uint64_t room = (size - at) / record_bytes[i];

		if (h->section[i].count > room || i == IMAGE_BYTE)
			h->section[i].count = (uint32_t)room;
		h->section[i].offset = at;
		h->section[i].record_bytes = record_bytes[i];
		at += ((uint64_t)h->section[i].count * record_bytes[i] + 7) & ~7ull;
	}
	h->desc_bytes = at;
	h->file_bytes = h->desc_offset + at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool right = fuzz_selector(&data, &size) & 1;
	struct fork_image im = {.fd = -EBADF};
	struct err e = ERR_INIT;
	uint64_t *desc;

	if (size < sizeof(im.header))
		return 0;
	memcpy(&im.header, data, sizeof(im.header));
	data += sizeof(im.header);
	size = (size - sizeof(im.header)) & ~7ull;
	if (right)
		make_right(&im.header, size);
	desc = malloc(size ? size : 8);
	FUZZ_CHECK(desc);
	memcpy(desc, data, size);
	if (image_decode(&im.header, desc, size, im.header.desc_offset + size, &im.image, &e) < 0) {
		FUZZ_CHECK(e.id == ERR_IMAGE && e.what[0]);
	} else {
		read_all(&im.image);
		plan(&im);
	}
	free(desc);
	return 0;
}
