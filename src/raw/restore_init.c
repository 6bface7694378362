/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The INIT rows of restore.def: maps the region, lets the opener open, forks the roots, waits until
 * every thread of the tree stands confined at the gate. Freestanding; trusts the plan (the keeper
 * wrote it), and nothing that the restored tasks write: they are the restorer's code until the
 * gate.
 *
 * Context: init, before it gives its capabilities away.
 */
#include "raw/restore_init.h"

#include "raw/arch_task.h"
#include "raw/syscall.h"

#define PROT_R 1
#define PROT_RW 3
#define PROT_RX 5
#define SHARED_ANON 0x21
#define PRIVATE 2
#define PRIVATE_ANON 0x22
#define FIXED_NOREPLACE 0x100000
#define EPROTO_ 71
#define ETIMEDOUT_ 110
#define SIGCHLD_ 17
#define RLIMIT_NOFILE_ 7

#ifdef CLEAVE_DEV
#define FAULT(p, row)                                  \
	do {                                           \
		while ((p)->stop_step == (row))        \
			SYS0(SYS_pause);               \
		if ((p)->fail_step == (row))           \
			return -(long)(p)->fail_errno; \
		if ((p)->skip_step == (row))           \
			return 0;                      \
	} while (0)
#else
#define FAULT(p, row) ((void)(p))
#endif

static long map(uint64_t at, uint64_t bytes, int prot, int flags, int fd, uint64_t offset)
{
	long r = SYS6(SYS_mmap, at, bytes, prot, flags | FIXED_NOREPLACE, fd, offset);

	if (r < 0 && r > -4096)
		return r;
	if ((uint64_t)r != at) {
		/* A kernel before 4.17 takes the address as a hint. */
		SYS2(SYS_munmap, r, bytes);
		return -17; /* EEXIST */
	}
	return 0;
}

static long region_map(struct restore_tree *t, const struct restore_request *q)
{
	long r = SYS6(SYS_mmap, 0, 4096, PROT_R, PRIVATE, q->plan_fd, 0);
	struct restore_plan h;
	uint64_t at;

	if (r < 0 && r > -4096)
		return r;
	h = *(const struct restore_plan *)r;
	SYS2(SYS_munmap, r, 4096);
	if (h.magic != RESTORE_MAGIC)
		return -EPROTO_;
	FAULT(&h, RESTORE_REGION);
	at = h.region;
	r = map(at, h.keep_bytes, PROT_RX, PRIVATE, q->plan_fd, h.data_bytes);
	at += h.keep_bytes;
	if (r == 0)
		r = map(at, h.stack_bytes, PROT_RW, PRIVATE_ANON, -1, 0);
	at += h.stack_bytes;
	if (r == 0)
		r = map(at, h.sync_bytes, PROT_RW, SHARED_ANON, -1, 0);
	t->sync = (struct restore_sync *)at;
	at += h.sync_bytes + h.park_bytes;
	if (r == 0)
		r = map(at, h.data_bytes, PROT_R, PRIVATE, q->plan_fd, 0);
	if (r == 0)
		t->plan = (const struct restore_plan *)at;
	return r;
}

static const struct restore_task *tasks(const struct restore_plan *p)
{
	return (const struct restore_task *)p->tasks;
}

static void sync_init(struct restore_tree *t, const struct restore_request *q)
{
	t->sync->vdso = q->vdso;
	for (uint32_t i = 0; i < t->plan->n_tasks; i++)
		t->sync->process[tasks(t->plan)[i].process].leaving++;
}

static long descriptors(const struct restore_plan *p, const struct restore_request *q)
{
	uint64_t limit[2];
	long r = SYS4(SYS_prlimit64, 0, RLIMIT_NOFILE_, 0, limit);

	FAULT(p, RESTORE_DESCRIPTORS);
	if (r == 0 && limit[1] < p->slot_end)
		r = -24; /* EMFILE */
	if (r == 0 && limit[0] < p->slot_end) {
		limit[0] = limit[1];
		r = SYS4(SYS_prlimit64, 0, RLIMIT_NOFILE_, limit, 0);
	}
	if (r == 0)
		r = SYS3(SYS_dup3, q->image_fd, p->image_slot, 02000000);
	for (int i = 0; r >= 0 && i < RESTORE_STDIO; i++)
		if (q->stdio_fd[i] >= 0)
			r = SYS3(SYS_dup3, q->stdio_fd[i], p->stdio_slot + (uint32_t)i, 02000000);
	return r < 0 ? r : 0;
}

static void (*blob(const struct restore_plan *p))(uint64_t, uint64_t)
{
	return (void (*)(uint64_t, uint64_t))p->region;
}

static long failed(const struct restore_tree *t)
{
	return __atomic_load_n(&t->sync->failed, __ATOMIC_SEQ_CST) ? -(long)t->sync->error : 0;
}

static long opener(const struct restore_tree *t)
{
	/* VM | FS | FILES | VFORK: shares our descriptors, ends before we go on. */
	struct arch_clone_args a = {.flags = 0x4100 | 0x400, .exit_signal = 0};
	const struct restore_plan *p = t->plan;
	uint64_t top = p->region + p->keep_bytes + p->stack_bytes;
	int status = 0;
	long pid, r;

	a.stack = top - RESTORE_STACK_BYTES;
	a.stack_size = RESTORE_STACK_BYTES;
	pid = arch_clone(&a, top, (uint64_t)p, RESTORE_OPENER, blob(p));
	if (pid < 0)
		return pid;
	do
		r = SYS4(SYS_wait4, pid, &status, 0x40000000 /* __WALL */, 0);
	while (r == -4);
	if (r == pid && status && !failed(t))
		return -EPROTO_;
	return failed(t);
}

static long roots(const struct restore_tree *t)
{
	const struct restore_plan *p = t->plan;
	const uint32_t *index = (const uint32_t *)p->roots;

	FAULT(p, RESTORE_SPAWN_ROOT);
	for (uint32_t i = 0; i < p->n_roots; i++) {
		const struct restore_task *k = &tasks(p)[index[i]];
		int32_t tid = k->tid;
		struct arch_clone_args a = {.flags = 0x100000000ull /* CLEAR_SIGHAND */,
					    .exit_signal = SIGCHLD_,
					    .set_tid = (uint64_t)&tid,
					    .set_tid_size = 1};
		long r = arch_clone(&a, k->stack_top, (uint64_t)p, index[i], blob(p));

		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * The launch is pinned to one processor: on an idle machine that is faster, on one whose other
 * programs keep that very processor busy the tree would wait for it while others stand idle.
 */
static void unpin(const struct restore_tree *t, const struct restore_request *q)
{
	if (!q->affinity_bytes)
		return;
	/* slower, not wrong: a task that does not exist yet inherits it or is met next time */
	(void)SYS3(SYS_sched_setaffinity, 0, q->affinity_bytes, q->affinity);
	for (uint32_t i = 0; i < t->plan->n_tasks; i++)
		if (!tasks(t->plan)[i].own_affinity)
			/* the same */
			(void)SYS3(SYS_sched_setaffinity, tasks(t->plan)[i].tid, q->affinity_bytes,
				   q->affinity);
}

static long gather(const struct restore_tree *t, const struct restore_request *q)
{
	/* lint-allow: bugprone-implicit-widening-of-multiplication-result: constants */
	struct raw_timespec tick = {0, 50 * 1000 * 1000};
	uint32_t n;

	while ((n = __atomic_load_n(&t->sync->arrived, __ATOMIC_SEQ_CST)) != t->plan->n_alive) {
		if (failed(t))
			return failed(t);
		if (raw_now_ns() > q->deadline_ns)
			return -ETIMEDOUT_;
		if (SYS4(SYS_futex, &t->sync->arrived, 0, n, &tick) == -ETIMEDOUT_)
			unpin(t, q);
	}
	return failed(t);
}

static void report(const struct restore_tree *t, struct restore_report *r, uint32_t step,
		   long error)
{
	const struct restore_sync *s = t->sync;
	const struct restore_op *ops;

	r->error = (int32_t)-error;
	r->step = step;
	if (!t->plan || !s->failed)
		return;
	/* The first failure may still be writing its four words. */
	while (__atomic_load_n(&s->failed, __ATOMIC_SEQ_CST) == 1)
		SYS0(SYS_sched_yield);
	r->step = s->step;
	r->op = s->op;
	r->error = s->error;
	ops = (const struct restore_op *)t->plan->opener;
	if (s->task < t->plan->n_tasks) {
		r->pid = tasks(t->plan)[s->task].tid;
		ops = (const struct restore_op *)tasks(t->plan)[s->task].ops;
	}
	r->object = ops[s->op].a[0];
}

long restore_tree_build(struct restore_tree *t, const struct restore_request *q,
			struct restore_report *r)
{
	uint64_t start = raw_now_ns(), now;
	uint32_t step = RESTORE_REGION;
	long error;

	*t = (struct restore_tree){.master_fd = -1};
	*r = (struct restore_report){0};
	error = region_map(t, q);
	if (error == 0) {
		sync_init(t, q);
		step = RESTORE_DESCRIPTORS;
		error = descriptors(t->plan, q);
	}
	if (error == 0) {
		step = RESTORE_OPENER_DROP;
		error = opener(t);
	}
	now = raw_now_ns();
	r->open_ns = now - start;
	start = now;
	if (error == 0) {
		step = RESTORE_SPAWN_ROOT;
		error = roots(t);
	}
	now = raw_now_ns();
	r->spawn_ns = now - start;
	if (error == 0 && t->plan->master_slot) {
		/* not among the first ones, which are the caller's own */
		error = SYS3(SYS_fcntl, t->plan->master_slot, 1030 /* F_DUPFD_CLOEXEC */, 3);
		t->master_fd = (int)error;
		error = error < 0 ? error : 0;
	}
	if (t->plan)
		SYS3(SYS_close_range, t->plan->slot_first, t->plan->slot_end - 1, 0);
	if (error == 0) {
		step = RESTORE_GATE;
		error = gather(t, q);
	}
	r->map_ns = raw_now_ns() - now;
	if (t->plan)
		r->n_roots = t->plan->n_roots;
	if (error)
		report(t, r, step, error);
	return error;
}

void restore_tree_go(struct restore_tree *t)
{
	const struct restore_plan *p = t->plan;
	uint64_t at = p->region, bytes = p->region_bytes;

	__atomic_store_n(&t->sync->gate, 1, __ATOMIC_SEQ_CST);
	SYS3(SYS_futex, &t->sync->gate, 1, 0x7fffffff);
	SYS2(SYS_munmap, at, bytes);
	t->plan = 0;
	t->sync = 0;
}
