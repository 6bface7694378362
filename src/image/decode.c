/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder: bytes that may be hostile become tables that need no further check. Every rule of
 * docs/IMAGE.md stands here once. Pure: reads only the two buffers it is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

#define BAD(e, ...) return err_set((e), ERR_IMAGE, EINVAL, __VA_ARGS__)

static const uint32_t record_bytes[IMAGE_SECTION_N] = {
#define SECTION(id, type) [IMAGE_##id] = sizeof(struct image_##type),
#include "image/sections.def"
#undef SECTION
};

static const char *const section_name[IMAGE_SECTION_N] = {
#define SECTION(id, type) [IMAGE_##id] = #type,
#include "image/sections.def"
#undef SECTION
};

static bool text_field_ok(const char *s, size_t n)
{
	return memchr(s, 0, n) != NULL;
}

int image_header_check(const struct image_header *h, uint64_t file_bytes, struct err *e)
{
	if (h->magic != IMAGE_MAGIC)
		BAD(e, "this is not an image");
	if (h->version != IMAGE_VERSION)
		BAD(e, "image of format %u, this is format %u", h->version, IMAGE_VERSION);
	if (h->header_bytes != sizeof(*h) || h->file_bytes != file_bytes)
		BAD(e, "the image is cut off or padded");
	if (h->pages_offset != IMAGE_PAGE || h->pages_bytes % IMAGE_PAGE ||
	    h->pages_bytes > file_bytes || h->desc_bytes > IMAGE_MAX_DESCRIPTION ||
	    h->desc_offset != IMAGE_PAGE + h->pages_bytes || h->desc_offset > file_bytes ||
	    h->desc_bytes != file_bytes - h->desc_offset)
		BAD(e, "the parts of the image don't fit its length");
	if (!text_field_ok(h->host.release, sizeof(h->host.release)) ||
	    !text_field_ok(h->host.version, sizeof(h->host.version)) ||
	    !text_field_ok(h->host.machine, sizeof(h->host.machine)))
		BAD(e, "the image's kernel name is malformed");
	return 0;
}

static int sections_check(const struct image_header *h, struct err *e)
{
	uint64_t at = 0;

	for (int i = 0; i < IMAGE_SECTION_N; i++) {
		uint64_t bytes = (uint64_t)h->section[i].count * record_bytes[i];
		uint32_t max = i == IMAGE_BYTE ? IMAGE_MAX_DESCRIPTION : IMAGE_MAX_RECORDS;

		if (h->section[i].record_bytes != record_bytes[i] || h->section[i].count > max ||
		    h->section[i].offset != at || bytes > h->desc_bytes - at)
			BAD(e, "table %s of the image lies outside it", section_name[i]);
		at += (bytes + 7) & ~7ull;
		if (at > h->desc_bytes)
			BAD(e, "table %s of the image lies outside it", section_name[i]);
	}
	if (at != h->desc_bytes)
		BAD(e, "the image's description has a tail");
	return 0;
}

static bool ref_ok(const struct image *im, struct image_ref r)
{
	return r.bytes <= im->byte_n && r.offset <= im->byte_n - r.bytes && r.offset % 8 == 0;
}

/* An absolute path with exactly one NUL, its last byte. */
static bool path_ok(const struct image *im, struct image_ref r)
{
	const char *s;

	if (!ref_ok(im, r) || r.bytes < 2 || r.bytes > 4096)
		return false;
	s = (const char *)image_bytes(im, r);
	return s[0] == '/' && memchr(s, 0, r.bytes) == s + r.bytes - 1;
}

/* Slices must tile their table in order: no record belongs to two owners or to none. */
static bool span_next(struct image_span s, uint32_t *at, uint32_t n)
{
	if (!s.count)
		return s.first == 0 || s.first == *at;
	if (s.first != *at || s.count > n - *at)
		return false;
	*at += s.count;
	return true;
}

static int files_check(const struct image *im, struct err *e)
{
	for (uint32_t i = 0; i < im->file_n; i++)
		if (!path_ok(im, im->file[i].path) || im->file[i].flags & ~IMAGE_FILE_FLAGS)
			BAD(e, "file %u of the image is malformed", i);
	for (uint32_t i = 0; i < im->pipe_n; i++)
		if (!ref_ok(im, im->pipe[i].content) || im->pipe[i].capacity > 1u << 30 ||
		    im->pipe[i].content.bytes > im->pipe[i].capacity)
			BAD(e, "pipe %u of the image is malformed", i);
	for (uint32_t i = 0; i < im->socket_n; i++) {
		const struct image_socket *s = &im->socket[i];
		bool peer = s->peer == IMAGE_NONE || (s->peer < im->socket_n && s->peer != i &&
						      im->socket[s->peer].peer == i);

		if (!ref_ok(im, s->content) || !peer || s->shutdown > 3 || s->passcred > 1)
			BAD(e, "socket %u of the image is malformed", i);
	}
	return 0;
}

static int ptys_check(const struct image *im, struct err *e)
{
	uint32_t keeper = 0;

	for (uint32_t i = 0; i < im->pty_n; i++) {
		const struct image_pty *p = &im->pty[i];

		keeper += p->flags & IMAGE_PTY_KEEPER;
		if (p->index >= IMAGE_MAX_PTY || (i && p->index <= im->pty[i - 1].index) ||
		    p->flags & ~(uint32_t)IMAGE_PTY_FLAGS || keeper > 1 || p->foreground < 0 ||
		    (p->flags & IMAGE_PTY_KEEPER && p->flags & IMAGE_PTY_MASTER))
			BAD(e, "terminal %u of the image is malformed", i);
	}
	return 0;
}

static bool ofd_ok(const struct image *im, const struct image_ofd *o)
{
	if (o->watches.count && o->kind != IMAGE_OFD_EPOLL)
		return false;
	switch ((enum image_ofd_kind)o->kind) {
	case IMAGE_OFD_FILE:
	case IMAGE_OFD_DIR:
	case IMAGE_OFD_DEV:
		return o->ref < im->file_n && o->position <= INT64_MAX;
	case IMAGE_OFD_PIPE:
		return o->ref < im->pipe_n && (o->status_flags & O_ACCMODE) != O_ACCMODE;
	case IMAGE_OFD_STDIO:
		return o->ref < 3;
	case IMAGE_OFD_SOCKET:
		return o->ref < im->socket_n;
	case IMAGE_OFD_EVENT:
		return o->ref < 2;
	case IMAGE_OFD_EPOLL:
	case IMAGE_OFD_SIGNAL:
		return true;
	case IMAGE_OFD_TIMER:
		return o->ref < 16;
	case IMAGE_OFD_SHARED:
		return o->ref < im->shared_n && o->position <= INT64_MAX;
	case IMAGE_OFD_PTY:
		return o->ref < im->pty_n && o->value < 2 &&
		       (!o->value || im->pty[o->ref].flags & IMAGE_PTY_MASTER);
	case IMAGE_OFD_PIDFD:
		for (uint32_t i = 0; i < im->proc_n; i++)
			if (im->proc[i].pid == (int32_t)o->ref)
				return true;
		return false;
	case IMAGE_OFD_KIND_N:
		break;
	}
	return false;
}

static int ofds_check(const struct image *im, struct err *e)
{
	uint32_t watch = 0;

	for (uint32_t i = 0; i < im->ofd_n; i++) {
		const struct image_ofd *o = &im->ofd[i];

		if (!ofd_ok(im, o) || !span_next(o->watches, &watch, im->watch_n))
			BAD(e, "open file %u of the image is malformed", i);
	}
	if (watch != im->watch_n)
		BAD(e, "the image has watches without an owner");
	for (uint32_t i = 0; i < im->watch_n; i++)
		if (im->watch[i].ofd >= im->ofd_n || im->watch[i].fd >= IMAGE_MAX_FD)
			BAD(e, "watch %u of the image is malformed", i);
	return 0;
}

/* Are the bytes of the run inside the pages? */
static bool run_lies_in(const struct image *im, const struct image_run *x)
{
	uint64_t first = im->header->pages_offset, last = im->header->desc_offset;

	return x->offset % IMAGE_PAGE == 0 && x->offset >= first && x->offset <= last &&
	       x->end - x->start <= last - x->offset;
}

static int runs_check(const struct image *im, struct image_span s, uint64_t start, uint64_t end,
		      bool guards, struct err *e)
{
	uint64_t at = start;

	for (uint32_t r = s.first; r < s.first + s.count; r++) {
		const struct image_run *x = &im->run[r];

		if (x->start % IMAGE_PAGE || x->end % IMAGE_PAGE || x->start < at ||
		    x->end <= x->start || x->end > end ||
		    !(run_lies_in(im, x) || (guards && x->offset == 0)))
			BAD(e, "pages at %llx of the image lie outside it",
			    (unsigned long long)x->start);
		at = x->end;
	}
	return 0;
}

/* Objects come after all mappings: their runs end the table. */
static int shared_check(const struct image *im, uint32_t *run, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < im->shared_n; i++) {
		const struct image_shared *s = &im->shared[i];

		if (s->bytes > IMAGE_MAX_SHARED || !ref_ok(im, s->name) || s->name.bytes > 256 ||
		    (s->name.bytes && image_bytes(im, s->name)[s->name.bytes - 1]) ||
		    s->seals > 63 || !span_next(s->runs, run, im->run_n))
			BAD(e, "shared memory %u of the image is malformed", i);
		r = runs_check(im, s->runs, 0,
			       (s->bytes + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE, false, e);
	}
	return r;
}

static int map_check(const struct image *im, const struct image_map *m, uint64_t *at, uint32_t *run,
		     struct err *e)
{
	if (m->start % IMAGE_PAGE || m->end % IMAGE_PAGE || m->start < *at || m->start < 65536 ||
	    m->end <= m->start || m->end > IMAGE_ADDRESS_END || m->kind >= IMAGE_MAP_KIND_N ||
	    m->prot & ~7u || m->flags & ~(uint32_t)IMAGE_MAP_FLAGS)
		BAD(e, "mapping at %llx of the image is malformed", (unsigned long long)m->start);
	if (m->kind == IMAGE_MAP_FILE &&
	    (m->file >= im->file_n || m->file_offset % IMAGE_PAGE || m->file_offset > INT64_MAX))
		BAD(e, "mapping at %llx of the image has no file", (unsigned long long)m->start);
	if (m->kind == IMAGE_MAP_SHMEM &&
	    (m->file >= im->shared_n || m->file_offset % IMAGE_PAGE || m->file_offset > INT64_MAX))
		BAD(e, "mapping at %llx of the image has no object", (unsigned long long)m->start);
	if (!span_next(m->runs, run, im->run_n) ||
	    (m->runs.count && (m->kind == IMAGE_MAP_VDSO || m->kind == IMAGE_MAP_VVAR ||
			       m->kind == IMAGE_MAP_SHMEM)))
		BAD(e, "mapping at %llx of the image has wrong pages",
		    (unsigned long long)m->start);
	*at = m->end;
	return runs_check(im, m->runs, m->start, m->end, true, e);
}

static bool address_ok(uint64_t a)
{
	return a < IMAGE_ADDRESS_END;
}

/* Real time, for the processor or for disks, is nothing that a sandbox has of its own. */
static bool scheduling_ok(const struct image *im, const struct image_thread *t)
{
	uint32_t io_class = t->io_priority >> 13; /* include/uapi/linux/ioprio.h */

	return !(t->flags & ~(unsigned)IMAGE_THREAD_FLAGS) &&
	       (t->policy == SCHED_OTHER || t->policy == 3 /* BATCH */ ||
		t->policy == 5 /* IDLE */) &&
	       io_class != 1 && io_class <= 3 && ref_ok(im, t->affinity) &&
	       t->affinity.bytes % 8 == 0 && t->affinity.bytes <= IMAGE_MAX_AFFINITY;
}

static int thread_check(const struct image *im, const struct image_thread *t, uint32_t *pending,
			struct err *e)
{
	if (t->tid < 2 || t->tid > 1 << 22 || !text_field_ok(t->comm, sizeof(t->comm)))
		BAD(e, "a thread of the image is malformed");
	if (!ref_ok(im, t->xstate) || t->xstate.bytes < 576 || t->xstate.bytes > 65536)
		BAD(e, "thread %d of the image has no floating point state", t->tid);
	/* The kernel checks what sigreturn loads; this keeps nonsense out of the plan. */
	if (!address_ok(t->regs.fs_base) || !address_ok(t->regs.gs_base) ||
	    !address_ok(t->regs.rip) || !address_ok(t->rseq) || !address_ok(t->robust_list) ||
	    !address_ok(t->tid_address) || t->rseq_bytes > 4096 || t->regs.cs != 0x33 ||
	    t->regs.ss != 0x2b)
		BAD(e, "thread %d of the image has wild registers", t->tid);
	if (!scheduling_ok(im, t))
		BAD(e, "thread %d of the image has no such schedule", t->tid);
	if (!span_next(t->pendings, pending, im->pending_n))
		BAD(e, "thread %d of the image has wrong signals", t->tid);
	return 0;
}

/* Positions in the tables that belong to processes in order. */
struct cursor {
	uint32_t thread, map, run, fd, action, pending;
};

static int zombie_check(const struct image_proc *p, struct err *e)
{
	if (p->threads.count || p->maps.count || p->fds.count || p->actions.count ||
	    p->pendings.count)
		BAD(e, "zombie %d of the image is alive", p->pid);
	return 0;
}

static int descriptors_check(const struct image *im, const struct image_proc *p, struct err *e)
{
	uint32_t at = 0;

	for (uint32_t i = p->fds.first; i < p->fds.first + p->fds.count; i++) {
		const struct image_fd *f = &im->fd[i];

		if (f->number < at || f->number >= IMAGE_MAX_FD || f->ofd >= im->ofd_n ||
		    f->cloexec > 1)
			BAD(e, "descriptor %u of process %d of the image is malformed", f->number,
			    p->pid);
		at = f->number + 1;
	}
	for (uint32_t i = p->actions.first; i < p->actions.first + p->actions.count; i++)
		if (im->action[i].signo < 1 || im->action[i].signo > 64 ||
		    im->action[i].signo == 9 || im->action[i].signo == 19)
			BAD(e, "process %d of the image handles a wrong signal", p->pid);
	return 0;
}

static int proc_check(const struct image *im, uint32_t index, struct cursor *c, struct err *e)
{
	const struct image_proc *p = &im->proc[index];
	uint64_t at = 0;
	int r;

	if (p->pid < 2 || p->pid > 1 << 22 || p->pgid < 2 || p->sid < 2 ||
	    p->flags & ~(uint32_t)IMAGE_PROC_FLAGS ||
	    (p->parent != IMAGE_NONE && p->parent >= index) ||
	    (p->pty != IMAGE_NONE && (p->pty >= im->pty_n || p->sid != p->pid)) ||
	    (p->parent != IMAGE_NONE && im->proc[p->parent].flags & IMAGE_PROC_ZOMBIE))
		BAD(e, "process %u of the image has no place in a tree", index);
	if (!span_next(p->threads, &c->thread, im->thread_n) ||
	    !span_next(p->maps, &c->map, im->map_n) || !span_next(p->fds, &c->fd, im->fd_n) ||
	    !span_next(p->actions, &c->action, im->action_n))
		BAD(e, "the tables of process %d of the image overlap", p->pid);
	if (p->flags & IMAGE_PROC_ZOMBIE)
		return zombie_check(p, e);
	if (!p->threads.count || im->thread[p->threads.first].tid != p->pid ||
	    p->exe >= im->file_n || p->cwd >= im->file_n || p->umask > 0777 || p->pdeathsig > 64 ||
	    !ref_ok(im, p->auxv) || p->auxv.bytes > 1024 || p->auxv.bytes % 16)
		BAD(e, "process %d of the image is malformed", p->pid);
	for (uint32_t i = p->maps.first; i < c->map; i++) {
		r = map_check(im, &im->map[i], &at, &c->run, e);
		if (r < 0)
			return r;
	}
	for (uint32_t i = p->threads.first; i < c->thread; i++) {
		r = thread_check(im, &im->thread[i], &c->pending, e);
		if (r < 0)
			return r;
	}
	if (!span_next(p->pendings, &c->pending, im->pending_n))
		BAD(e, "process %d of the image has wrong signals", p->pid);
	return descriptors_check(im, p, e);
}

static int compare_ids(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

/* Thread ids and the pids of zombies are the numbers that a restore asks the kernel for: each once.
 */
static int ids_check(const struct image *im, struct err *e)
{
	uint32_t n = 0, want = im->thread_n;
	int32_t *ids;

	for (uint32_t i = 0; i < im->proc_n; i++)
		want += im->proc[i].flags & IMAGE_PROC_ZOMBIE;
	ids = malloc((want + 1) * sizeof(*ids));
	if (!ids)
		return err_set(e, ERR_IMAGE, ENOMEM, "check the image");
	for (uint32_t i = 0; i < im->thread_n; i++)
		ids[n++] = im->thread[i].tid;
	for (uint32_t i = 0; i < im->proc_n; i++)
		if (im->proc[i].flags & IMAGE_PROC_ZOMBIE)
			ids[n++] = im->proc[i].pid;
	qsort(ids, n, sizeof(*ids), compare_ids);
	for (uint32_t i = 1; i < n; i++)
		if (ids[i] == ids[i - 1]) {
			int32_t twice = ids[i];

			free(ids);
			BAD(e, "the image has the id %d twice", twice);
		}
	free(ids);
	return 0;
}

int image_decode(const struct image_header *h, const void *desc, size_t desc_bytes,
		 uint64_t file_bytes, struct image *ret, struct err *e)
{
	struct image im = {.header = h};
	struct cursor c = {0};
	int r = image_header_check(h, file_bytes, e);

	if (r < 0)
		return r;
	if (desc_bytes != h->desc_bytes || (uintptr_t)desc % 8)
		BAD(e, "the image's description was read wrong");
	r = sections_check(h, e);
	if (r < 0)
		return r;
#define SECTION(id, type)                                                                          \
	im.type =                                                                                  \
		(const struct image_##type *)((const char *)desc + h->section[IMAGE_##id].offset); \
	im.type##_n = h->section[IMAGE_##id].count;
#include "image/sections.def"
#undef SECTION
	r = files_check(&im, e);
	if (r == 0)
		r = ptys_check(&im, e);
	if (r == 0)
		r = ofds_check(&im, e);
	for (uint32_t i = 0; r == 0 && i < im.proc_n; i++)
		r = proc_check(&im, i, &c, e);
	if (r == 0)
		r = shared_check(&im, &c.run, e);
	if (r == 0 && (c.thread != im.thread_n || c.map != im.map_n || c.run != im.run_n ||
		       c.fd != im.fd_n || c.action != im.action_n || c.pending != im.pending_n))
		r = err_set(e, ERR_IMAGE, EINVAL, "the image has records without an owner");
	if (r == 0)
		r = ids_check(&im, e);
	if (r == 0)
		*ret = im;
	return r;
}

int image_host_check(const struct image_host *image, const struct image_host *here, struct err *e)
{
	if (strcmp(image->machine, here->machine) || strcmp(image->release, here->release) ||
	    strcmp(image->version, here->version))
		BAD(e, "the image was made by kernel %s (%s), this is %s (%s)", image->release,
		    image->version, here->release, here->version);
	if (image->xstate_features != here->xstate_features ||
	    image->xstate_bytes != here->xstate_bytes)
		BAD(e,
		    "the image was made by a processor with features %llx (%u bytes), this has "
		    "%llx (%u)",
		    (unsigned long long)image->xstate_features, image->xstate_bytes,
		    (unsigned long long)here->xstate_features, here->xstate_bytes);
	if (image->vdso_bytes != here->vdso_bytes)
		BAD(e, "the image's kernel had another vdso");
	return 0;
}
