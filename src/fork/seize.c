/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows FREEZE .. STOP and their undo: every thread below init becomes ours, standing still.
 *
 * With a freezer the tree is stopped before the first thread is seized, so one look at /proc finds
 * all; without one the look is repeated until it finds nothing new. New children of seized threads
 * are traced from birth (TRACEFORK and so on), so nobody slips through between two looks.
 * No EXITKILL here: if the tracer dies now, the kernel lets all go as they were.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/portable.h"
#include "fork/harvest.h"

#define MAX_TASKS 4096u
#define STOP_NS 50000000ull
#define BUSY_NS 3000000000ull /* more for those who only wait for a processor */
#define RELEASE_NS 2000000ull /* a stop takes microseconds, unless the thread is in vfork */
#define TRACE_OPTIONS \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)

static struct tracee *find(struct harvest *h, pid_t tid)
{
	for (uint32_t i = 0; i < h->n_tracees; i++)
		if (h->tracee[i].tid == tid)
			return &h->tracee[i];
	return NULL;
}

static struct tracee *tracee_add(struct harvest *h, pid_t tid, pid_t pid)
{
	struct tracee *t;

	if (h->n_tracees == h->room_tracees) {
		uint32_t room = h->room_tracees ? h->room_tracees * 2 : 64;

		t = realloc(h->tracee, room * sizeof(*t));
		if (!t)
			return NULL;
		h->tracee = t;
		h->room_tracees = room;
	}
	t = &h->tracee[h->n_tracees++];
	*t = (struct tracee){.tid = tid, .pid = pid};
	return t;
}

int row_freeze(struct harvest *h, struct err *e)
{
	int r;

	if (!h->src->freeze || h->frozen)
		return 0;
	if (h->src->paused && !h->seized) {
		h->frozen = true;
		return 0;
	}
	r = h->src->freeze(h->src->arg);
	if (r < 0)
		return err_set(e, ERR_LIMIT, -r, "freeze the sandbox");
	h->frozen = true;
	return 0;
}

int row_thaw(struct harvest *h, struct err *e)
{
	int r;

	if (!h->frozen)
		return 0;
	r = h->src->thaw(h->src->arg);
	if (r < 0)
		return err_set(e, ERR_LIMIT, -r, "thaw the sandbox");
	h->frozen = false;
	return 0;
}

/* State of one look at the tree. */
struct look {
	struct harvest *h;
	struct err *e;
	pid_t pid;
	uint32_t found;
};

/* The pid that the workload knows a task by. */
static int inside(struct harvest *h, pid_t tid)
{
	struct proc_status s = {.ns_pid = tid};

	if (proc_read(&h->text, tid, "status") == 0)
		ignore_err(proc_status_parse(h->text.p, &s), "then the host's number names it");
	return s.ns_pid;
}

/* SEIZE answers EPERM for the dead, for what is ours already (born while its parent was seized, its
 * event not seen yet), and for what somebody else traces. */
static int not_ours(struct look *l, pid_t tid)
{
	struct proc_status s;
	int r = proc_read(&l->h->text, tid, "status");

	if (r < 0 || proc_status_parse(l->h->text.p, &s) < 0 || s.state == 'Z' || s.state == 'X')
		return 0;
	if (s.tracer && s.tracer != getpid())
		REFUSE(l->e, EPERM, "process %d is traced by another process", s.ns_tgid);
	if (!s.tracer)
		REFUSE(l->e, EPERM, "process %d can't be traced", s.ns_tgid);
	l->found++;
	return tracee_add(l->h, tid, l->pid) ? 0 : -ENOMEM;
}

static int seize_thread(void *arg, int tid)
{
	struct look *l = arg;
	struct tracee *t;

	if (find(l->h, tid))
		return 0;
	if (l->h->n_tracees >= MAX_TASKS)
		REFUSE(l->e, E2BIG, "the sandbox has more than %u tasks", MAX_TASKS);
	if (ptrace(PTRACE_SEIZE, tid, 0, TRACE_OPTIONS)) {
		if (errno == ESRCH)
			return 0; /* it exited meanwhile; zombies are seen in row TREE */
		if (errno == EPERM)
			return not_ours(l, tid);
		REFUSE(l->e, errno, "trace thread %d", tid);
	}
	if (!l->h->stopped_ns)
		l->h->stopped_ns = fork_now_ns();
	ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	t = tracee_add(l->h, tid, l->pid);
	if (!t)
		REFUSE(l->e, ENOMEM, "trace thread %d", tid);
	l->found++;
	return 0;
}

static int look_process(struct look *l, pid_t pid, int depth);

/* The children of a thread: text, not a directory. */
static int look_children(struct look *l, pid_t pid, pid_t tid, int depth)
{
	struct proc_text text = {0};
	char name[64], *s, *end;
	int r;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	r = proc_read(&text, pid, name);
	if (r == -ENOENT || r == -ESRCH)
		r = 0;
	else if (r < 0)
		err_set(l->e, ERR_HOST, -r, "read /proc/%d/%s", pid, name);
	for (s = text.p; r == 0 && s; s = end) {
		long child = strtol(s, &end, 10);

		if (end == s)
			break;
		r = look_process(l, (pid_t)child, depth + 1);
	}
	proc_text_done(&text);
	return r;
}

struct thread_list {
	pid_t *tid;
	int n;
};

static int collect(void *arg, int tid)
{
	struct thread_list *v = arg;
	pid_t *grown = v->tid;

	if (v->n % 64 == 0)
		grown = realloc(v->tid, ((size_t)v->n + 64) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	v->tid = grown;
	grown[v->n++] = tid;
	return 0;
}

static int look_below(struct look *l, pid_t pid, int depth)
{
	struct thread_list v = {0};
	int r = proc_each(pid, "task", collect, &v);

	if (r == -ENOENT || r == -ESRCH)
		r = 0;
	else if (r < 0)
		err_set(l->e, ERR_UNFORKABLE, r, "list the threads of process %d", pid);
	for (int i = 0; r == 0 && i < v.n; i++)
		r = look_children(l, pid, v.tid[i], depth);
	free(v.tid);
	return r;
}

static int look_process(struct look *l, pid_t pid, int depth)
{
	int r = 0;

	if (depth > 64)
		REFUSE(l->e, E2BIG, "process %d has more than 64 ancestors", pid);
	if (depth) {
		l->pid = pid;
		r = proc_each(pid, "task", seize_thread, l);
	}
	if (r == -ENOENT || r == -ESRCH)
		return 0;
	if (r < 0)
		REFUSE(l->e, r, "list the threads of process %d", pid);
	return look_below(l, pid, depth);
}

static int look(struct harvest *h, uint32_t *ret_found, struct err *e)
{
	struct look l = {.h = h, .e = e};
	int r = look_process(&l, h->src->init_pid, 0);

	*ret_found = l.found;
	return r;
}

int row_seize(struct harvest *h, struct err *e)
{
	uint32_t found = 1;
	int r = 0;

	h->seized = true;
	for (int i = 0; r == 0 && found && i < 64; i++)
		r = look(h, &found, e);
	return r;
}

static bool gone(struct tracee *t)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", t->pid ? t->pid : t->tid, t->tid);
	return access(path, F_OK) != 0;
}

static int newborn(struct harvest *h, pid_t tid, struct tracee **ret, struct err *e)
{
	if (h->n_tracees >= MAX_TASKS)
		REFUSE(e, E2BIG, "the sandbox has more than %u tasks", MAX_TASKS);
	*ret = tracee_add(h, tid, 0);
	if (!*ret)
		REFUSE(e, ENOMEM, "trace thread %d", tid);
	return 0;
}

/* One event of some tracee. */
static int event(struct harvest *h, pid_t tid, int status, struct err *e)
{
	struct tracee *t = find(h, tid);
	unsigned long message;
	int kind = status >> 16, r = 0;

	if (!t) {
		/* A child that was born while its parent was being seized. */
		if (!WIFSTOPPED(status))
			return 0;
		r = newborn(h, tid, &t, e);
		if (r < 0 || !t)
			return r;
	}
	if (!WIFSTOPPED(status)) {
		t->state = TRACEE_GONE;
		return 0;
	}
	if (kind == PTRACE_EVENT_STOP) {
		/* one that is paused without a freezer; letting go puts it back into this stop */
		bool pause = h->src->paused && !h->src->freeze && WSTOPSIG(status) == SIGSTOP;

		if (WSTOPSIG(status) != SIGTRAP && !pause)
			REFUSE(e, EBUSY, "process %d is stopped by job control (signal %d)",
			       inside(h, tid), WSTOPSIG(status));
		t->state = TRACEE_STOPPED;
		return 0;
	}
	if (kind == PTRACE_EVENT_CLONE || kind == PTRACE_EVENT_FORK || kind == PTRACE_EVENT_VFORK) {
		if (ptrace(PTRACE_GETEVENTMSG, tid, 0, &message) == 0 && !find(h, (pid_t)message))
			r = newborn(h, (pid_t)message, &t, e);
		ptrace(PTRACE_CONT, tid, 0, 0);
		return r;
	}
	/* A signal on its way in: it is the workload's, let it arrive; the interrupt follows. */
	ptrace(PTRACE_CONT, tid, 0, kind ? 0 : WSTOPSIG(status) & 0x7f);
	return 0;
}

static struct tracee *unstopped(struct harvest *h)
{
	for (uint32_t i = 0; i < h->n_tracees; i++)
		if (h->tracee[i].state == TRACEE_SEIZED)
			return &h->tracee[i];
	return NULL;
}

/*
 * A process in vfork can't stop before its child has executed a program or exited, and the child is
 * held by us: let the children of t run on.
 */
static void release(struct harvest *h, const struct tracee *t)
{
	for (uint32_t i = 0; i < h->n_tracees; i++) {
		struct tracee *c = &h->tracee[i];
		struct proc_status s;

		if (c->state != TRACEE_STOPPED || c->released_for ||
		    proc_read(&h->text, c->tid, "status") || proc_status_parse(h->text.p, &s) ||
		    s.ppid != t->pid)
			continue;
		c->released_for = t->tid;
		h->n_released++;
		c->state = TRACEE_SEIZED;
		ptrace(PTRACE_CONT, c->tid, 0, 0);
	}
}

/* t has stopped at last: its children are called back. */
static void recall(struct harvest *h, const struct tracee *t)
{
	for (uint32_t i = 0; i < h->n_tracees; i++)
		if (h->tracee[i].released_for == t->tid && h->tracee[i].state == TRACEE_SEIZED) {
			ptrace(PTRACE_INTERRUPT, h->tracee[i].tid, 0, 0);
			h->tracee[i].released_for = 0;
			h->n_released--;
		}
}

static void recall_stopped(struct harvest *h)
{
	for (uint32_t i = 0; h->n_released && i < h->n_tracees; i++)
		if (h->tracee[i].state != TRACEE_SEIZED)
			recall(h, &h->tracee[i]);
}

/*
 * Only short of processor time, on a busy machine? Then it will stop when it gets some. One that
 * stands in a tracing stop already came to it since we asked last.
 */
static bool runnable(struct harvest *h, const struct tracee *t)
{
	struct proc_status s;

	return proc_read(&h->text, t->tid, "status") == 0 &&
	       proc_status_parse(h->text.p, &s) == 0 && (s.state == 'R' || s.state == 't');
}

static int wait_all(struct harvest *h, uint64_t deadline_ns, struct err *e)
{
	uint64_t release_ns = fork_now_ns() + RELEASE_NS, patience = deadline_ns + BUSY_NS;
	struct timespec tick = {0, 1000000};
	struct tracee *t;
	sigset_t chld;
	int status, r = 0;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while (r == 0 && (t = unstopped(h))) {
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

		if (tid > 0) {
			r = event(h, tid, status, e);
			recall_stopped(h);
			/* a workload can see to it that there is always one more */
			if (r == 0 && fork_now_ns() > patience && unstopped(h))
				REFUSE(e, EBUSY, "the sandbox does not come to a stop");
			continue;
		}
		if (tid < 0 && errno != EINTR)
			REFUSE(e, errno, "wait for the tasks of the sandbox");
		if (gone(t)) {
			t->state = TRACEE_GONE;
			continue;
		}
		if (fork_now_ns() > deadline_ns && !(runnable(h, t) && fork_now_ns() < patience)) {
			struct proc_text wchan = {0};

			proc_read(&wchan, t->tid, "wchan");
			err_set(e, ERR_UNFORKABLE, EBUSY,
				"process %d does not stop: it waits in the kernel (%.40s)",
				inside(h, t->tid), wchan.p ? wchan.p : "?");
			proc_text_done(&wchan);
			return -EBUSY;
		}
		if (fork_now_ns() > release_ns)
			release(h, t);
		sigtimedwait(&chld, NULL, &tick);
	}
	return r;
}

int row_stop(struct harvest *h, struct err *e)
{
	uint64_t wait = h->src->vfork_wait_ns ? h->src->vfork_wait_ns : STOP_NS;
	uint64_t deadline = fork_now_ns() + wait;
	uint32_t found = 1;
	int r = 0;

	while (r == 0 && found) {
		r = wait_all(h, deadline, e);
		if (r == 0)
			r = look(h, &found, e);
		if (r == 0 && found && fork_now_ns() > deadline)
			REFUSE(e, EBUSY,
			       "the sandbox makes processes faster than they can be stopped");
	}
	return r < 0 ? r : life_check(h, e);
}

/* DETACH needs a stop: one that is on its way is awaited for a moment. One in vfork never comes:
 * the tracer's exit lets that one go. */
static void await_stop(struct tracee *t)
{
	uint64_t deadline = fork_now_ns() + 5000000;
	int status;

	while (t->state == TRACEE_SEIZED && fork_now_ns() < deadline) {
		pid_t r = waitpid(t->tid, &status, __WALL | WNOHANG);

		if (r == 0) {
			usleep(200);
		} else if (r > 0 && WIFSTOPPED(status)) {
			t->state = TRACEE_STOPPED;
			if (status >> 16 == 0 && !(WSTOPSIG(status) & 0x80))
				t->arriving = WSTOPSIG(status);
		} else if (r > 0 || errno != EINTR) {
			t->state = TRACEE_GONE;
		}
	}
}

/* Undo of SEIZE: whatever state a thread is in, it goes on with its own registers. */
int row_detach(struct harvest *h, struct err *e)
{
	ignore_err(e, "a task that can't be detached is dead");
	for (uint32_t i = 0; i < h->n_tracees; i++) {
		struct tracee *t = &h->tracee[i];

		await_stop(t);
		if (t->state != TRACEE_STOPPED)
			continue;
		tracee_restore(t);
		/* with all that the kernel knows of it */
		ptrace(PTRACE_DETACH, t->tid, 0, t->arriving);
		if (t->deferred)
			tgkill(t->pid, t->tid, t->deferred);
	}
	h->cap->paused_ns = h->stopped_ns ? fork_now_ns() - h->stopped_ns : 0;
	return 0;
}
