/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an image and the forker's confinement to a restore plan: finds the region, lays the data
 * out, writes each task's list. Decisions are made here and in the plan_*.c files, the clone only
 * walks. The image was decoded, so that its tables can be trusted to be tables, but not to be sane:
 * what a process of the clone may do never depends on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/arch/hosted.h"
#include "fork/carriers.h"
#include "fork/harvest.h"
#include "fork/planner.h"
#include "restorer-blob.h"

#define ALIGN_UP(v, a) (((v) + (a)-1) & ~(uint64_t)((a)-1))
#define FIRST_SLOT 256u

uint64_t planner_put(struct planner *p, const void *bytes, uint64_t n)
{
	uint64_t at = ALIGN_UP(p->bytes, 8), room = p->room ? p->room : 65536;
	uint8_t *v;

	while (room < at + n)
		room *= 2;
	if (room != p->room) {
		v = room > 1u << 30 ? NULL : realloc(p->data, room);
		if (!v) {
			p->failed = true;
			/* lint-allow: analyzer-malloc-leak: there is none (gcc 12) */
			return 0;
		}
		memset(v + p->room, 0, room - p->room);
		p->data = v;
		p->room = room;
	}
	if (n)
		memcpy(p->data + at, bytes, n);
	p->bytes = at + n;
	return p->data_at + at;
}

struct restore_op *planner_op(struct planner *p, enum restore_step step, uint32_t nr)
{
	struct restore_op *o;

	if (p->n_ops == p->room_ops) {
		uint32_t room = p->room_ops ? p->room_ops * 2 : 1024;

		o = realloc(p->op, room * sizeof(*o));
		if (!o) {
			p->failed = true;
			return NULL;
		}
		p->op = o;
		p->room_ops = room;
	}
	o = &p->op[p->n_ops++];
	*o = (struct restore_op){.nr = nr, .step = (uint16_t)step};
	return o;
}

void planner_flag(struct planner *p, uint16_t flag)
{
	if (p->n_ops)
		p->op[p->n_ops - 1].flags |= flag;
}

uint64_t planner_take_ops(struct planner *p, uint32_t *ret_n)
{
	uint64_t at = planner_put(p, p->op, p->n_ops * sizeof(*p->op));

	*ret_n = p->n_ops;
	p->total_ops += p->n_ops;
	p->n_ops = 0;
	return at;
}

static uint32_t leader_task(const struct image *im, uint32_t proc)
{
	uint32_t zombie = im->thread_n;

	if (!(im->proc[proc].flags & IMAGE_PROC_ZOMBIE))
		return im->proc[proc].threads.first;
	for (uint32_t i = 0; i < proc; i++)
		zombie += im->proc[i].flags & IMAGE_PROC_ZOMBIE;
	return zombie;
}

/* An orphan is started by its session's leader as a sibling (CLONE_PARENT): child of init, but in
 * the leader's session. The capture refused what is neither. Returns the process that starts it,
 * IMAGE_NONE = init. */
static uint32_t starter(const struct image *im, uint32_t proc)
{
	const struct image_proc *x = &im->proc[proc];

	if (x->parent != IMAGE_NONE || x->sid == x->pid)
		return x->parent;
	for (uint32_t i = 0; i < proc; i++)
		if (im->proc[i].pid == x->sid)
			return i;
	return IMAGE_NONE;
}

static void plan_start(struct planner *p, uint32_t proc)
{
	const struct image *im = p->im;
	const struct image_proc *x = &im->proc[proc];
	bool root = starter(im, proc) == IMAGE_NONE;
	uint64_t all = planner_put(p, &(uint64_t){~0ull}, 8);

	if (root) {
		OP(p, SPAWN_ROOT, SYS_rt_sigprocmask, SIG_SETMASK, all, 0, 8);
		if (p->head.slot_first > 0)
			OP(p, SPAWN_ROOT, SYS_close_range, 0, p->head.slot_first - 1, 0);
		OP(p, SPAWN_ROOT, SYS_close_range, p->head.slot_end, ~0u, 0);
		plan_bounding(p);
	}
	if (x->sid == x->pid)
		OP(p, SESSION, SYS_setsid);
	plan_terminal(p, x);
	if (x->flags & IMAGE_PROC_SUBREAPER)
		OP(p, SESSION, SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	if (x->pgid == x->pid && x->sid != x->pid)
		OP(p, SESSION, SYS_setpgid, 0, 0);
	for (uint32_t i = proc + 1; i < im->proc_n; i++)
		if (starter(im, i) == proc) {
			bool orphan = im->proc[i].parent == IMAGE_NONE;

			OP(p, SPAWN, RESTORE_OP_PROCESS, leader_task(im, i),
			   orphan ? 0x8000 /* CLONE_PARENT */ : 0, orphan ? 0 : SIGCHLD);
		}
	OP(p, GROUP, RESTORE_OP_BARRIER, 0);
	if (x->pgid != x->pid)
		OP(p, GROUP, SYS_setpgid, 0, (uint64_t)x->pgid);
	plan_foreground(p, x);
}

static void task_finish(struct planner *p, uint32_t task, int32_t tid, uint32_t proc,
			uint64_t frame)
{
	struct restore_task *t = &p->task[task];

	t->ops = planner_take_ops(p, &t->n_ops);
	t->tid = tid;
	t->process = proc;
	t->frame = frame;
	t->stack_top =
		p->head.region + p->head.keep_bytes + (uint64_t)(task + 1) * RESTORE_STACK_BYTES;
}

static void plan_process(struct planner *p, uint32_t proc, const uint64_t *frames)
{
	const struct image *im = p->im;
	const struct image_proc *x = &im->proc[proc];
	uint32_t first = x->threads.first, n = x->threads.count;

	/* The other threads first: their lists are done when the leader starts them. */
	for (uint32_t i = first + 1; i < first + n; i++) {
		plan_thread(p, x, &im->thread[i]);
		OP(p, THREAD_STATE, RESTORE_OP_READY, proc);
		OP(p, GATE, RESTORE_OP_ARRIVE, 0);
		OP(p, LEAVE, RESTORE_OP_LEAVE, proc);
		task_finish(p, i, im->thread[i].tid, proc, frames[i]);
	}
	plan_start(p, proc);
	plan_memory(p, x);
	plan_dead(p, proc);
	plan_signals(p, x);
	plan_descriptors(p, x);
	OP(p, ATTRIBUTES, SYS_personality, x->personality);
	plan_membarrier(p, x);
	for (uint32_t i = first + 1; i < first + n; i++)
		OP(p, THREADS, RESTORE_OP_THREAD, i);
	if (x->flags & IMAGE_PROC_NO_THP)
		OP(p, ATTRIBUTES, SYS_prctl, PR_SET_THP_DISABLE, 1);
	if (x->flags & IMAGE_PROC_TILES)
		OP(p, ATTRIBUTES, SYS_arch_prctl, 0x1023 /* REQ_XCOMP_PERM */, 18 /* tile data */);
	plan_queue(p, x->pid, 0, x->pendings);
	plan_limits(p, x);
	plan_thread(p, x, &im->thread[first]);
	OP(p, THREAD_STATE, RESTORE_OP_TOGETHER, proc, n - 1);
	plan_timers(p, x);
	if (x->pdeathsig)
		OP(p, DROP, SYS_prctl, PR_SET_PDEATHSIG, x->pdeathsig);
	/* Last of all: changing ids cleared it. */
	OP(p, DROP, SYS_prctl, PR_SET_DUMPABLE,
	   x->flags & IMAGE_PROC_UNDUMPABLE ? 0 : p->confine->dumpable);
	plan_filter(p, n);
	OP(p, GATE, RESTORE_OP_ARRIVE, 0);
	OP(p, LEAVE, RESTORE_OP_LEAVE, proc);
	task_finish(p, first, x->pid, proc, frames[first]);
}

static void plan_zombie(struct planner *p, uint32_t proc)
{
	const struct image_proc *x = &p->im->proc[proc];
	/* 1, not 0: 0 would still run a piped core_pattern as the host's root. */
	uint64_t one = planner_put(p, &(uint64_t[2]){1, 1}, 16);

	plan_start(p, proc);
	OP(p, SIGNALS, SYS_prlimit64, 0, 4 /* CORE */, one, 0);
	planner_flag(p, RESTORE_MAY_FAIL); /* as in plan_limits */
	plan_drop(p, RESTORE_DROP);
	OP(p, LEAVE, RESTORE_OP_DIE, (uint64_t)(uint32_t)x->exit_code);
	task_finish(p, leader_task(p->im, proc), x->pid, proc, 0);
}

/* Sizes are upper bounds here; planner_finish checks them. */
static int layout(struct planner *p, uint64_t *ret_data_room, struct err *e)
{
	const struct image *im = p->im;
	struct restore_plan *h = &p->head;
	uint64_t ops, room, park = 0;
	int r;

	h->n_tasks = im->thread_n;
	for (uint32_t i = 0; i < im->proc_n; i++)
		h->n_tasks += im->proc[i].flags & IMAGE_PROC_ZOMBIE;
	h->n_processes = im->proc_n;
	h->n_alive = im->thread_n;
	for (uint32_t i = 0; i < im->map_n; i++)
		if (im->map[i].kind == IMAGE_MAP_VDSO || im->map[i].kind == IMAGE_MAP_VVAR)
			park += im->map[i].end - im->map[i].start;
	h->keep_bytes = ALIGN_UP(ALIGN_UP(sizeof(restorer_blob), 64) +
					 im->thread_n * arch_frame_bytes(&im->header->host),
				 4096);
	h->stack_bytes = ((uint64_t)h->n_tasks + 1) * RESTORE_STACK_BYTES;
	h->sync_bytes = ALIGN_UP(sizeof(struct restore_sync) + im->proc_n * 8ull, 4096);
	h->park_bytes = park;
	ops = im->map_n * 6ull + im->run_n + im->fd_n + im->ofd_n * 6ull + im->file_n * 3ull +
	      im->shared_n * 4ull + im->pending_n + im->proc_n * 200ull + im->thread_n * 100ull +
	      im->watch_n * 2ull + im->socket_n * 12ull + im->pty_n * 16ull + IMAGE_MAX_PTY * 4ull +
	      64;
	room = ops * sizeof(struct restore_op) + im->byte_n + im->proc_n * 8192ull +
	       (im->file_n + im->ofd_n + im->pty_n) * 160ull + im->pending_n * 136ull +
	       im->watch_n * 16ull + h->n_tasks * (sizeof(struct restore_task) + 1024) +
	       (p->confine->filter_n + p->confine->profile_n) * 8ull + 65536;
	*ret_data_room = ALIGN_UP(room, 4096);
	room = *ret_data_room + h->keep_bytes + h->stack_bytes + h->sync_bytes + park;
	r = planner_hole(im, room, &h->region);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "make the restore plan");
	if (!h->region)
		return err_set(e, ERR_IMAGE, ENOMEM,
			       "the image leaves no %llu KiB of address space free",
			       (unsigned long long)room / 1024);
	p->room_end = h->region + room;
	p->data_at = h->region + h->keep_bytes + h->stack_bytes + h->sync_bytes + h->park_bytes;
	return 0;
}

static void slots(struct planner *p)
{
	const struct image *im = p->im;
	uint32_t first = FIRST_SLOT;

	for (uint32_t i = 0; i < im->fd_n; i++)
		if (im->fd[i].number >= first)
			first = im->fd[i].number + 1;
	p->head.slot_first = first;
	p->head.image_slot = first;
	p->head.stdio_slot = first + 1;
	p->next_slot = first + 1 + RESTORE_STDIO;
	for (uint32_t i = 0; i < im->map_n; i++)
		if (im->map[i].kind == IMAGE_MAP_FILE) {
			uint32_t *slot = im->map[i].flags & IMAGE_MAP_WRITABLE
						 ? &p->write_slot[im->map[i].file]
						 : &p->file_slot[im->map[i].file];

			if (!*slot)
				*slot = p->next_slot++;
		}
	for (uint32_t i = 0; i < im->shared_n; i++)
		p->shared_slot[i] = p->next_slot++;
	for (uint32_t i = 0; i < im->proc_n; i++) {
		if (im->proc[i].flags & IMAGE_PROC_ZOMBIE)
			continue;
		if (!p->file_slot[im->proc[i].exe])
			p->file_slot[im->proc[i].exe] = p->next_slot++;
		if (!p->dir_slot[im->proc[i].cwd])
			p->dir_slot[im->proc[i].cwd] = p->next_slot++;
	}
	plan_pty_slots(p);
	for (uint32_t i = 0; i < im->ofd_n; i++)
		p->ofd_slot[i] = im->ofd[i].kind == IMAGE_OFD_STDIO
					 ? p->head.stdio_slot + im->ofd[i].ref
					 : p->next_slot++;
	p->spare_slot = p->next_slot++;
	p->head.slot_end = p->next_slot;
}

/* Code and frames: the part of the plan that stays mapped. */
static uint8_t *keep_make(struct planner *p, uint64_t *frames)
{
	const struct image *im = p->im;
	uint8_t *keep = calloc(1, p->head.keep_bytes);
	uint64_t at = ALIGN_UP(sizeof(restorer_blob), 64);

	if (!keep)
		return NULL;
	memcpy(keep, restorer_blob, sizeof(restorer_blob));
	for (uint32_t i = 0; i < im->thread_n; i++) {
		const struct image_thread *t = &im->thread[i];

		frames[i] = arch_frame_write(keep + at, p->head.region + at, &im->header->host, t,
					     image_bytes(im, t->xstate));
		at += arch_frame_bytes(&im->header->host);
	}
	return keep;
}

static void plan_roots(struct planner *p, uint32_t *roots)
{
	for (uint32_t i = 0; i < p->im->proc_n; i++)
		if (starter(p->im, i) == IMAGE_NONE)
			roots[p->head.n_roots++] = leader_task(p->im, i);
}

#ifdef CLEAVE_DEV
static void fault(struct planner *p, const char *fail)
{
	for (uint32_t i = 0; fail && i < RESTORE_STEP_N; i++) {
		const char *name = restore_step_name(i);
		size_t n = strlen(name);

		if (strncmp(fail, name, n) || (fail[n] && fail[n] != ':'))
			continue;
		p->head.fail_step = i;
		p->head.fail_errno = fail[n] ? (uint32_t)strtol(fail + n + 1, NULL, 10) : EIO;
	}
	p->head.skip_step = restore_row_off();
	p->head.stop_step = restore_row_stop();
}
#else
static void fault(struct planner *p, const char *fail)
{
	(void)p;
	(void)fail;
}
#endif

static int write_plan(struct planner *p, const uint8_t *keep, struct fork_plan *ret, struct err *e)
{
	AUTO_FD int fd = memfd_create(RESTORE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	const struct restore_plan *h = &p->head;

	if (fd < 0 || pwrite(fd, p->data, p->bytes, 0) != (ssize_t)p->bytes ||
	    pwrite(fd, keep, h->keep_bytes, (off_t)h->data_bytes) != (ssize_t)h->keep_bytes ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_set(e, ERR_HOST, errno ? errno : EIO, "write the restore plan");
	ret->bytes = (uint32_t)(h->data_bytes + h->keep_bytes);
	ret->ops = p->total_ops;
	ret->fd = take_fd(&fd);
	return 0;
}

static int finish(struct planner *p, const uint8_t *keep, uint64_t data_room, struct fork_plan *ret,
		  struct err *e)
{
	struct restore_plan *h = &p->head;

	if (p->failed)
		return err_set(e, ERR_HOST, ENOMEM, "make the restore plan");
	h->data_bytes = ALIGN_UP(p->bytes, 4096);
	if (h->data_bytes > data_room)
		return err_set(e, ERR_INTERNAL, EOVERFLOW, "the restore plan outgrew its room");
	h->region_bytes =
		h->keep_bytes + h->stack_bytes + h->sync_bytes + h->park_bytes + h->data_bytes;
	memcpy(p->data, h, sizeof(*h));
	memcpy(p->data + (h->tasks - p->data_at), p->task, h->n_tasks * sizeof(*p->task));
	return write_plan(p, keep, ret, e);
}

static int build(struct planner *p, const char *fail, struct fork_plan *ret, struct err *e)
{
	const struct image *im = p->im;
	AUTO_FREE uint64_t *frames = calloc(im->thread_n + 1, sizeof(*frames));
	AUTO_FREE uint32_t *roots = calloc(im->proc_n, sizeof(*roots));
	AUTO_FREE uint8_t *keep = NULL;
	uint64_t data_room;
	int r = layout(p, &data_room, e);

	if (r < 0)
		return r;
	keep = keep_make(p, frames);
	p->task = calloc(p->head.n_tasks, sizeof(*p->task));
	if (!frames || !roots || !keep || !p->task)
		return err_set(e, ERR_HOST, ENOMEM, "make the restore plan");
	p->head.magic = RESTORE_MAGIC;
	p->head.fail_step = p->head.skip_step = p->head.stop_step = RESTORE_STEP_N;
	fault(p, fail);
	planner_put(p, &p->head, sizeof(p->head));
	p->head.tasks = planner_put(p, p->task, p->head.n_tasks * sizeof(*p->task));
	plan_roots(p, roots);
	p->head.roots = planner_put(p, roots, p->head.n_roots * sizeof(*roots));
	slots(p);
	p->affinity_at = planner_put(p, p->confine->affinity, sizeof(p->confine->affinity));
	plan_opener(p);
	p->head.opener = planner_take_ops(p, &p->head.n_opener);
	for (uint32_t i = 0; i < im->proc_n; i++) {
		if (im->proc[i].flags & IMAGE_PROC_ZOMBIE)
			plan_zombie(p, i);
		else
			plan_process(p, i, frames);
	}
	if (p->moved)
		return err_set(e, ERR_UNFORKABLE, ENOTSUP,
			       "a process has moved the kernel's pages ([vvar]) apart");
	return finish(p, keep, data_room, ret, e);
}

int fork_plan_make(const struct fork_image *im, const struct fork_confine *c, const char *fail,
		   struct fork_plan *ret, struct err *e)
{
	struct image cut = {0};
	struct planner p = {.im = carriers_cut(&im->image, &cut), .confine = c};
	struct image_host here = {0};
	uint64_t start = fork_now_ns();
	int r;

	*ret = (struct fork_plan){.fd = -EBADF};
	r = fork_host(&here, e);
	here.vdso_bytes = im->header.host.vdso_bytes; /* the kernel's build decides it */
	if (r == 0)
		r = image_host_check(&im->header.host, &here, e);
	if (r < 0) {
		carriers_cut_done(&cut);
		return r;
	}
	p.cap_last = plan_cap_last();
	p.file_slot = calloc(im->image.file_n + 1, 4);
	p.dir_slot = calloc(im->image.file_n + 1, 4);
	p.ofd_slot = calloc(im->image.ofd_n + 1, 4);
	p.write_slot = calloc(im->image.file_n + 1, 4);
	p.shared_slot = calloc(im->image.shared_n + 1, 4);
	p.watched = calloc(im->image.watch_n + 1, sizeof(*p.watched));
	if (!p.write_slot || !p.shared_slot || !p.watched || !p.file_slot || !p.dir_slot ||
	    !p.ofd_slot)
		r = err_set(e, ERR_HOST, ENOMEM, "make the restore plan");
	else
		r = build(&p, fail, ret, e);
	free(p.file_slot);
	free(p.dir_slot);
	free(p.ofd_slot);
	free(p.write_slot);
	free(p.shared_slot);
	free(p.watched);
	free(p.data);
	free(p.op);
	free(p.task);
	carriers_cut_done(&cut);
	ret->build_ns = fork_now_ns() - start;
	return r;
}

void fork_plan_done(struct fork_plan *p)
{
	close_fd(&p->fd);
}
