/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Development builds only: takes out of a decoded image what a switched-off carrier has put in. The
 * tables that are changed are copies; the image stays what it is for the next clone.
 */
#include "fork/carriers.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "raw/restore_plan.h"
#include "raw/without.h"

#define OTHER_PIDS 1000

static const char *const names[] = {
#define CARRIER(id, name, without) name,
#include "fork/carriers.def"
#undef CARRIER
};

bool carrier_off(enum carrier c)
{
	const char *list = getenv("CLEAVE_TEST_WITHOUT");

	return list && raw_without(list, "carrier", names[c]);
}

uint32_t restore_row_off(void)
{
	const char *list = getenv("CLEAVE_TEST_WITHOUT");
	uint32_t i = 0;

	while (i < RESTORE_STEP_N &&
	       !(list && raw_without(list, "restore", restore_step_name(i) + strlen("restore."))))
		i++;
	return i;
}

uint32_t restore_row_stop(void)
{
	const char *name = getenv("CLEAVE_TEST_STOP");
	uint32_t i = 0;

	while (i < RESTORE_STEP_N && !(name && strcmp(name, restore_step_name(i)) == 0))
		i++;
	return i;
}

static void cut_map(struct image_map *m)
{
	bool memory = m->kind == IMAGE_MAP_ANON || m->kind == IMAGE_MAP_STACK;
	bool own = m->kind == IMAGE_MAP_FILE && !(m->flags & IMAGE_MAP_SHARED);
	bool kernel = m->kind == IMAGE_MAP_VDSO || m->kind == IMAGE_MAP_VVAR;
	bool gone = (own && carrier_off(CARRIER_MEM_FILE)) || (kernel && carrier_off(CARRIER_VDSO));

	if (gone || (memory && carrier_off(CARRIER_MEM_ANON)) ||
	    (own && carrier_off(CARRIER_MEM_FILE_DIRTY)))
		m->runs.count = 0;
	if (gone) {
		m->kind = IMAGE_MAP_ANON;
		m->file = IMAGE_NONE;
	}
}

static void cut_thread(struct image_thread *t)
{
	struct image_regs r = t->regs;

	if (carrier_off(CARRIER_REGS))
		t->regs = (struct image_regs){.rip = r.rip,
					      .rsp = r.rsp,
					      .cs = r.cs,
					      .ss = r.ss,
					      .eflags = r.eflags,
					      .fs_base = r.fs_base,
					      .gs_base = r.gs_base};
	if (carrier_off(CARRIER_TLS))
		t->regs.fs_base = t->regs.gs_base = 0;
	if (carrier_off(CARRIER_XSTATE))
		t->xstate.bytes = 0;
	if (carrier_off(CARRIER_NAMES))
		memset(t->comm, 0, sizeof(t->comm));
	if (carrier_off(CARRIER_FUTEX))
		t->robust_list = t->tid_address = 0;
	if (carrier_off(CARRIER_RSEQ))
		t->rseq = 0;
	if (carrier_off(CARRIER_SCHEDULING)) {
		t->flags = t->policy = 0;
		t->affinity = (struct image_ref){0};
	}
	if (carrier_off(CARRIER_SIGNALS)) {
		t->sigmask = t->altstack = t->altstack_bytes = 0;
		t->altstack_flags = 2; /* SS_DISABLE */
	}
	if (carrier_off(CARRIER_PIDS))
		t->tid += OTHER_PIDS;
}

static void cut_ofd(struct image_ofd *o)
{
	if (o->kind != IMAGE_OFD_FILE || !carrier_off(CARRIER_FD_STATE))
		return;
	o->position = 0;
	o->status_flags &= O_ACCMODE;
}

static bool descriptor_gone(const struct image *im, const struct image_fd *f)
{
	switch (im->ofd[f->ofd].kind) {
	case IMAGE_OFD_FILE:
		return carrier_off(CARRIER_FD_FILE);
	case IMAGE_OFD_PIPE:
		return carrier_off(CARRIER_FD_PIPE);
	case IMAGE_OFD_STDIO:
		return carrier_off(CARRIER_FD_STDIO);
	case IMAGE_OFD_DEV:
		return carrier_off(CARRIER_FD_DEV);
	default:
		return false;
	}
}

static void cut_proc(struct image *im, struct image_proc *p)
{
	struct image_fd *fd = (struct image_fd *)im->fd;
	uint32_t n = p->fds.first;

	for (uint32_t i = p->fds.first; i < p->fds.first + p->fds.count; i++)
		if (!descriptor_gone(im, &fd[i]))
			fd[n++] = fd[i];
	p->fds.count = n - p->fds.first;
	if (carrier_off(CARRIER_SIGNALS))
		p->actions.count = 0;
	if (carrier_off(CARRIER_MEM_ANON))
		p->mm.brk = p->mm.start_brk;
	if (carrier_off(CARRIER_TREE))
		p->parent = IMAGE_NONE;
	if (carrier_off(CARRIER_GROUPS))
		p->sid = p->pgid = p->pid;
	if (carrier_off(CARRIER_PIDS)) {
		p->pid += OTHER_PIDS;
		p->pgid += OTHER_PIDS;
		p->sid += OTHER_PIDS;
	}
}

/* The planner takes a thread's place in the table for its number among the tasks. */
static void cut_threads(struct image *im)
{
	struct image_thread *t = (struct image_thread *)im->thread;
	struct image_proc *p = (struct image_proc *)im->proc;
	uint32_t n = 0;

	for (uint32_t i = 0; i < im->proc_n; i++)
		if (!(p[i].flags & IMAGE_PROC_ZOMBIE)) {
			t[n] = t[p[i].threads.first];
			p[i].threads = (struct image_span){n++, 1};
		}
	im->thread_n = n;
}

static void *copy(const void *p, size_t n)
{
	void *v = malloc(n + 1);

	if (!v)
		abort(); /* a test's program */
	return memcpy(v, p, n);
}

#define COPY(im, table) ((im)->table = copy((im)->table, (im)->table##_n * sizeof(*(im)->table)))
#define EACH(im, type, call)                             \
	for (uint32_t i_ = 0; i_ < (im)->type##_n; i_++) \
	call((struct image_##type *)&(im)->type[i_])

static void cut_pipe(struct image_pipe *p)
{
	if (carrier_off(CARRIER_FD_CONTENT))
		p->content.bytes = 0;
}

const struct image *carriers_cut(const struct image *im, struct image *ret)
{
	*ret = *im;
	COPY(ret, proc);
	COPY(ret, thread);
	COPY(ret, map);
	COPY(ret, ofd);
	COPY(ret, fd);
	COPY(ret, pipe);
	EACH(ret, map, cut_map);
	EACH(ret, thread, cut_thread);
	EACH(ret, pipe, cut_pipe);
	EACH(ret, ofd, cut_ofd);
	for (uint32_t i = 0; i < ret->proc_n; i++)
		cut_proc(ret, (struct image_proc *)&ret->proc[i]);
	if (carrier_off(CARRIER_THREADS))
		cut_threads(ret);
	return ret;
}

void carriers_cut_done(struct image *cut)
{
	free((void *)cut->proc);
	free((void *)cut->thread);
	free((void *)cut->map);
	free((void *)cut->ofd);
	free((void *)cut->fd);
	free((void *)cut->pipe);
}
