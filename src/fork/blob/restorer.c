/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The restorer: walks a task's list of operations and becomes the workload. Freestanding and
 * position independent: the planner copies it into the plan, init maps it into the region, every
 * process of the clone inherits it there. It decides nothing; the first operation that fails ends
 * the restore for the whole tree (init sees sync->failed and dies with its namespace).
 *
 * Context: blob. Runs with the privileges of the row that it carries out; see restore.def.
 */
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "raw/arch_task.h"
#include "raw/mem.h"
#include "raw/restore_plan.h"
#include "raw/syscall.h"

#define CLONE_THREAD_FLAGS 0x50f00ul /* VM FS FILES SIGHAND THREAD SYSVSEM */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#define NR_clone3 435
#define NR_openat2 437
#define AT_FDCWD (-100)

static void run(uint64_t plan, uint64_t task);

/* The entry must be the first byte of the blob. */
__attribute__((section(".text.entry"), used, visibility("default"))) _Noreturn void restorer_entry(
	uint64_t plan, uint64_t task);
void restorer_entry(uint64_t plan, uint64_t task)
{
	run(plan, task);
	raw_exit(127);
}

static struct restore_sync *sync_of(const struct restore_plan *p)
{
	return (struct restore_sync *)(p->region + p->keep_bytes + p->stack_bytes);
}

static void futex_wait(uint32_t *word, uint32_t value)
{
	SYS4(SYS_futex, word, FUTEX_WAIT, value, 0);
}

static void futex_wake(uint32_t *word)
{
	SYS3(SYS_futex, word, FUTEX_WAKE, 0x7fffffff);
}

_Noreturn static void fail(const struct restore_plan *p, uint64_t task, uint32_t op, uint32_t step,
			   long r)
{
	struct restore_sync *s = sync_of(p);
	uint32_t none = 0;

	if (__atomic_compare_exchange_n(&s->failed, &none, 1, 0, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		s->error = (int32_t)-r;
		s->step = step;
		s->task = (uint32_t)task;
		s->op = op;
		__atomic_store_n(&s->failed, 2, __ATOMIC_SEQ_CST);
	}
	__atomic_add_fetch(&s->arrived, 1u << 20, __ATOMIC_SEQ_CST);
	futex_wake(&s->arrived);
	raw_exit(127);
}

static long start(const struct restore_plan *p, uint64_t flags, uint64_t signal, uint64_t task)
{
	const struct restore_task *t = (const struct restore_task *)p->tasks + task;
	int32_t tid = t->tid;
	struct arch_clone_args a = {.flags = flags,
				    .exit_signal = signal,
				    .set_tid = (uint64_t)&tid,
				    .set_tid_size = 1};

	if (flags & 0x100) { /* CLONE_VM */
		a.stack = t->stack_top - RESTORE_STACK_BYTES;
		a.stack_size = RESTORE_STACK_BYTES;
	}
	return arch_clone(&a, t->stack_top, (uint64_t)p, task, run);
}

static long barrier(const struct restore_plan *p)
{
	struct restore_sync *s = sync_of(p);
	uint32_t n = __atomic_add_fetch(&s->created, 1, __ATOMIC_SEQ_CST);

	if (n == p->n_processes) {
		futex_wake(&s->created);
		return 0;
	}
	while ((n = __atomic_load_n(&s->created, __ATOMIC_SEQ_CST)) < p->n_processes)
		futex_wait(&s->created, n);
	return 0;
}

static long ready(const struct restore_plan *p, uint64_t process)
{
	uint32_t *w = &sync_of(p)->process[process].ready;

	__atomic_add_fetch(w, 1, __ATOMIC_SEQ_CST);
	futex_wake(w);
	return 0;
}

static long together(const struct restore_plan *p, uint64_t process, uint64_t n)
{
	uint32_t *w = &sync_of(p)->process[process].ready, seen;

	while ((seen = __atomic_load_n(w, __ATOMIC_SEQ_CST)) < n)
		futex_wait(w, seen);
	return 0;
}

static long arrive(const struct restore_plan *p)
{
	struct restore_sync *s = sync_of(p);

	if (__atomic_add_fetch(&s->arrived, 1, __ATOMIC_SEQ_CST) == p->n_alive)
		futex_wake(&s->arrived);
	while (!__atomic_load_n(&s->gate, __ATOMIC_SEQ_CST))
		futex_wait(&s->gate, 0);
	return 0;
}

/* The kernel's struct stat, as x86-64 and every 64-bit architecture after it lay out statx. */
struct statx_ {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, pad;
	uint64_t ino, size, blocks, attributes_mask;
	struct {
		int64_t sec;
		uint32_t nsec;
		int32_t pad;
	} atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare[14];
};

static uint64_t device(uint32_t major, uint32_t minor)
{
	return ((uint64_t)major << 32) | minor;
}

/* -ESTALE when what was opened is not what was captured. */
static long verify(long fd, const struct restore_stat *want)
{
	struct statx_ st;
	long r = SYS5(SYS_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, 0x7ff, &st);

	if (r < 0)
		return r;
	if ((st.mode & 0170000) != (want->mode & 0170000))
		return -116;
	if ((st.mode & 0170000) == 0020000 && (st.rdev_major << 20 | st.rdev_minor) != want->rdev)
		return -116;
	if (want->sized && st.size != want->size)
		return -116;
	if (want->same && (device(st.dev_major, st.dev_minor) != want->dev || st.ino != want->ino))
		return -116;
	if (want->timed && (st.mtime.sec * 1000000000 + st.mtime.nsec != want->mtime_ns ||
			    st.ctime.sec * 1000000000 + st.ctime.nsec != want->ctime_ns))
		return -116;
	return 0;
}

static long to_slot(long fd, uint64_t slot)
{
	long r;

	if (fd < 0)
		return fd;
	if ((uint64_t)fd == slot)
		return 0;
	r = SYS3(SYS_dup3, fd, slot, 02000000 /* O_CLOEXEC */);
	raw_close((int)fd);
	return r < 0 ? r : 0;
}

/*
 * A file of the clone's own that its mode closes to the workload: the source has it open from
 * before. As its owner the workload may let itself in for a moment; nothing else runs in the clone
 * yet. What others have too (the host's) is left as it is.
 */
static long open_as_owner(const struct restore_op *o)
{
	const struct restore_stat *want = (const struct restore_stat *)o->a[3];
	struct open_how how = *(const struct open_how *)o->a[1];
	char path[40] = "/proc/self/fd/";
	uint64_t flags = how.flags;
	long at, fd = -13 /* EACCES */, r;
	struct statx_ st;

	if (want->same || (want->mode & 0170000) != 0100000)
		return fd;
	how.flags = 010000000 | 02000000; /* O_PATH, O_CLOEXEC */
	at = SYS4(NR_openat2, AT_FDCWD, o->a[0], &how, sizeof(how));
	if (at < 0)
		return at;
	raw_format_u64(path + sizeof("/proc/self/fd/") - 1, (uint64_t)at);
	r = verify(at, want);
	if (r == 0)
		r = SYS5(SYS_statx, at, "", 0x1000 /* AT_EMPTY_PATH */, 0x7ff, &st);
	if (r == 0)
		r = SYS3(SYS_fchmodat, AT_FDCWD, path, (st.mode & 07777) | 0600);
	if (r == 0) {
		fd = SYS3(SYS_openat, AT_FDCWD, path, flags);
		r = SYS3(SYS_fchmodat, AT_FDCWD, path, st.mode & 07777);
	}
	raw_close((int)at);
	if (r < 0 && fd >= 0)
		raw_close((int)fd);
	return r < 0 ? r : fd;
}

static long open_file(const struct restore_op *o)
{
	long fd = SYS4(NR_openat2, AT_FDCWD, o->a[0], o->a[1], sizeof(struct open_how)), r;

	if (fd == -13)
		fd = open_as_owner(o);
	if (fd < 0)
		return fd;
	r = verify(fd, (const struct restore_stat *)o->a[3]);
	if (r < 0) {
		raw_close((int)fd);
		return r;
	}
	return to_slot(fd, o->a[2]);
}

static long make_pipe(const struct restore_op *o)
{
	const char *content = (const char *)o->a[3];
	uint64_t left = o->a[4];
	int fd[2];
	long r = SYS2(SYS_pipe2, fd, 0);

	if (r < 0)
		return r;
	if (o->a[2])
		r = SYS3(SYS_fcntl, fd[1], 1031 /* F_SETPIPE_SZ */, o->a[2]);
	while (r >= 0 && left) {
		r = raw_write(fd[1], content, left);
		if (r > 0) {
			content += r;
			left -= (uint64_t)r;
		}
	}
	for (int i = 0; i < 2; i++) {
		long q = o->a[i] == ~0ull ? raw_close(fd[i]) : to_slot(fd[i], o->a[i]);

		if (r >= 0 && q < 0)
			r = q;
	}
	return r < 0 ? r : 0;
}

static long make_sockets(const struct restore_op *o)
{
	int fd[2];
	long r = SYS4(SYS_socketpair, 1 /* AF_UNIX */, o->a[0], 0, fd), q;

	if (r < 0)
		return r;
	r = to_slot(fd[0], o->a[1]);
	q = to_slot(fd[1], o->a[2]);
	return r < 0 ? r : q;
}

static long fill(const struct restore_op *o)
{
	const char *p = (const char *)o->a[1], *end = p + o->a[2];

	while (end - p >= 4) {
		uint32_t n = *(const uint32_t *)p;
		long r;

		p += 4;
		if ((uint64_t)(end - p) < n)
			return -71; /* EPROTO */
		/* DONTWAIT | NOSIGNAL: a queue that is too small is an error, not a hang */
		r = SYS6(SYS_sendto, o->a[0], p, n, 0x4040, 0, 0);
		if (r < 0)
			return r;
		if ((uint64_t)r != n)
			return -11; /* EAGAIN */
		p += n;
	}
	return 0;
}

static long copy(const struct restore_op *o)
{
	uint64_t from = o->a[1], to = o->a[3], left = o->a[4];

	while (left) {
		long n = SYS6(SYS_copy_file_range, o->a[0], &from, o->a[2], &to, left, 0);

		if (n <= 0)
			return n ? n : -5; /* EIO */
		left -= (uint64_t)n;
	}
	return 0;
}

_Noreturn static void die(uint64_t status)
{
	uint64_t signal = status & 0x7f, none = 0;

	if (signal) {
		/* Dispositions are default, and RLIMIT_CORE was lowered by the plan. */
		SYS4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
		SYS2(SYS_kill, SYS0(SYS_getpid), signal);
	}
	raw_exit((int)(status >> 8 & 0xff));
}

static long special(const struct restore_plan *p, uint64_t task, const struct restore_op *o)
{
	const struct restore_task *t = (const struct restore_task *)p->tasks + task;
	struct restore_sync *s = sync_of(p);

	switch (o->nr) {
	case RESTORE_OP_PROCESS:
		return start(p, o->a[1], o->a[2], o->a[0]);
	case RESTORE_OP_THREAD:
		return start(p, CLONE_THREAD_FLAGS, 0, o->a[0]);
	case RESTORE_OP_BARRIER:
		return barrier(p);
	case RESTORE_OP_VDSO:
		return SYS5(SYS_mremap, s->vdso + o->a[0], o->a[1], o->a[1], 3, o->a[2]);
	case RESTORE_OP_OPEN:
		return open_file(o);
	case RESTORE_OP_PIPE:
		return make_pipe(o);
	case RESTORE_OP_SOCKETS:
		return make_sockets(o);
	case RESTORE_OP_FILL:
		return fill(o);
	case RESTORE_OP_COPY:
		return copy(o);
	case RESTORE_OP_READY:
		return ready(p, o->a[0]);
	case RESTORE_OP_TOGETHER:
		return together(p, o->a[0], o->a[1]);
	case RESTORE_OP_ARRIVE:
		return arrive(p);
	case RESTORE_OP_LEAVE:
		arch_leave(&s->process[o->a[0]].leaving, p->region + p->keep_bytes,
			   p->region_bytes - p->keep_bytes, t->frame);
	case RESTORE_OP_DIE:
		die(o->a[0]);
	default:
		return -38; /* ENOSYS */
	}
}

static void run(uint64_t plan, uint64_t task)
{
	const struct restore_plan *p = (const struct restore_plan *)plan;
	const struct restore_task *t = (const struct restore_task *)p->tasks + task;
	bool opener = task == RESTORE_OPENER;
	const struct restore_op *ops = (const struct restore_op *)(opener ? p->opener : t->ops);
	uint32_t n = opener ? p->n_opener : t->n_ops;

	for (uint32_t i = 0; i < n; i++) {
		const struct restore_op *o = &ops[i];
		long r;

#ifdef CLEAVE_DEV
		while (o->step == p->stop_step)
			SYS0(SYS_pause);
		if (o->step == p->fail_step)
			fail(p, task, i, o->step, -(long)p->fail_errno);
		if (o->step == p->skip_step) {
			i += o->nr == RESTORE_OP_TO_SLOT;
			continue;
		}
#endif
		if (o->nr == RESTORE_OP_TO_SLOT) {
			const struct restore_op *q = &ops[++i];

			r = SYS6(q->nr, q->a[0], q->a[1], q->a[2], q->a[3], q->a[4], q->a[5]);
			r = to_slot(r, o->a[0]);
		} else if (o->nr >= RESTORE_OP_FIRST) {
			r = special(p, task, o);
		} else {
			r = SYS6(o->nr, o->a[0], o->a[1], o->a[2], o->a[3], o->a[4], o->a[5]);
		}
		if (r > 0 && o->flags & RESTORE_ZERO)
			r = -71; /* EPROTO */
		if (r < 0 && r > -4096 && !(o->flags & RESTORE_MAY_FAIL))
			fail(p, task, i, o->step, r);
	}
	if (opener) /* only this task: the memory is init's */
		for (;;)
			SYS1(SYS_exit, 0);
	raw_exit(127);
}
