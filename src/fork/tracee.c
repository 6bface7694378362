/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One held thread: waiting for it, running a system call or the parasite in it, putting it back.
 *
 * System calls are injected between two syscall-stops, never single-stepped: a step raises SIGTRAP,
 * which a thread that blocks or ignores SIGTRAP would lose its disposition by.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "fork/harvest.h"
#include "fork/kernel.h"

#define RUN_TIMEOUT_NS 2000000000ull

uint64_t fork_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int tracee_wait(struct harvest *h, struct tracee *t, uint64_t timeout_ns, int *ret_status)
{
	uint64_t deadline = fork_now_ns() + timeout_ns, now;
	struct timespec left;
	sigset_t chld;

	ignore_err(h, "one wait serves any harvest");
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		pid_t r = waitpid(t->tid, ret_status, __WALL | WNOHANG);

		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0) {
			if (WIFSTOPPED(*ret_status))
				return 0;
			t->state = TRACEE_GONE;
			return -ESRCH;
		}
		now = fork_now_ns();
		if (now >= deadline)
			return -ETIMEDOUT;
		left = (struct timespec){0, 1000000};
		sigtimedwait(&chld, NULL, &left);
	}
}

static bool stop_is_syscall(const struct tracee *t, int status)
{
	(void)t;
	return WSTOPSIG(status) == (SIGTRAP | 0x80);
}

/* Lets the thread run by `how` until it stops in the expected way; anything else in between is a
 * signal that we keep for later. */
static int resume_until(struct harvest *h, struct tracee *t, int how,
			bool (*expected)(const struct tracee *, int))
{
	int status, r;

	for (int i = 0; i < 16; i++) {
		if (ptrace(how, t->tid, 0, 0))
			return -errno;
		r = tracee_wait(h, t, RUN_TIMEOUT_NS, &status);
		if (r < 0)
			return r;
		if (expected(t, status))
			return 0;
		if (status >> 16 == 0 && WSTOPSIG(status) == SIGSYS)
			return -EPERM; /* an answer to our call, not the thread's own */
		if (status >> 16 == 0)
			t->deferred = WSTOPSIG(status) & 0x7f;
		else if (status >> 16 != PTRACE_EVENT_STOP)
			return -EPROTO;
	}
	return -EBUSY;
}

int tracee_syscall(struct harvest *h, struct tracee *t, uint64_t at, long nr, const uint64_t a[6],
		   long *ret)
{
	struct user_regs_struct r = t->regs;
	int e;

	r.rip = at;
	r.rax = (uint64_t)nr;
	r.orig_rax = (uint64_t)-1;
	r.rdi = a[0];
	r.rsi = a[1];
	r.rdx = a[2];
	r.r10 = a[3];
	r.r8 = a[4];
	r.r9 = a[5];
	r.eflags &= ~0x100ull; /* a trap flag of its own would raise SIGTRAP */
	t->dirty = true;
	if (ptrace(PTRACE_SETREGS, t->tid, 0, &r))
		return -errno;
	e = resume_until(h, t, PTRACE_SYSCALL, stop_is_syscall);
	if (e == 0)
		e = resume_until(h, t, PTRACE_SYSCALL, stop_is_syscall);
	if (e < 0)
		return e;
	if (ptrace(PTRACE_GETREGS, t->tid, 0, &r))
		return -errno;
	if (r.rip != at + 2 || r.orig_rax != (uint64_t)nr)
		return -EPROTO;
	*ret = (long)r.rax;
	return 0;
}

/* Whoever raises SIGTRAP in the workload must not be taken for the parasite's end, which is the one
 * breakpoint that was met where `ends` says. */
static bool stop_is_breakpoint(const struct tracee *t, int status)
{
	struct user_regs_struct r;

	return status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP &&
	       ptrace(PTRACE_GETREGS, t->tid, 0, &r) == 0 && r.rip == t->ends;
}

int tracee_run(struct harvest *h, struct tracee *t, uint64_t rip, uint64_t rsp, uint64_t rdi,
	       uint64_t ends)
{
	struct user_regs_struct r = t->regs;

	r.rip = rip;
	r.rsp = rsp;
	r.rdi = rdi;
	r.orig_rax = (uint64_t)-1;
	r.eflags &= ~0x500ull; /* trap and direction flags */
	t->ends = ends;
	t->dirty = true;
	if (ptrace(PTRACE_SETREGS, t->tid, 0, &r))
		return -errno;
	return resume_until(h, t, PTRACE_CONT, stop_is_breakpoint);
}

/* From call to call, until the last one has loaded the registers of the workload. */
int tracee_leave(struct harvest *h, struct tracee *t, uint64_t start, uint64_t end,
		 uint64_t deadline_ns)
{
	int status, r;

	for (int i = 0; i < 64; i++) {
		if (ptrace(PTRACE_GETREGS, t->tid, 0, &t->regs))
			return -errno;
		t->dirty = false;
		if (t->regs.rip < start || t->regs.rip >= end)
			return 0;
		if (ptrace(PTRACE_SYSCALL, t->tid, 0, 0))
			return -errno;
		if (fork_now_ns() >= deadline_ns)
			return -EBUSY;
		r = tracee_wait(h, t, deadline_ns - fork_now_ns(), &status);
		if (r < 0)
			return r;
		if (status >> 16 == 0 && !stop_is_syscall(t, status))
			return -EPROTO; /* it blocks all signals until then */
	}
	return -EBUSY;
}

int tracee_restore(struct tracee *t)
{
	int r = 0;

	if (t->state == TRACEE_GONE)
		return 0;
	if (t->dirty && ptrace(PTRACE_SETREGS, t->tid, 0, &t->regs))
		r = -errno;
	if (t->masked && ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask))
		r = -errno;
	if (r == 0)
		t->dirty = t->masked = false;
	return r == -ESRCH ? 0 : r;
}

int tracee_read(pid_t pid, uint64_t at, void *p, size_t n)
{
	struct iovec l = {p, n}, q = {(void *)at, n};
	ssize_t r = process_vm_readv(pid, &l, 1, &q, 1, 0);

	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EFAULT;
}

int tracee_write(pid_t pid, uint64_t at, const void *p, size_t n)
{
	struct iovec l = {(void *)p, n}, q = {(void *)at, n};
	ssize_t r = process_vm_writev(pid, &l, 1, &q, 1, 0);

	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EFAULT;
}
