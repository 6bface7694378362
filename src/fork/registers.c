/* SPDX-License-Identifier: Apache-2.0 */
/* Row REGISTERS: what ptrace and /proc say about each thread, before we run anything in it. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/arch/hosted.h"
#include "fork/carriers.h"
#include "fork/harvest.h"
#include "fork/kernel.h"

#define XSTATE_ROOM 65536u
#define MAX_PENDING 256

struct rseq_area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t cs;
};

struct rseq_section {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

/*
 * A thread caught inside a restartable sequence goes on at its abort address, as after any
 * preemption. In the source too: the kernel would see to it, but meets the thread in code of ours
 * first (row INFECT) and takes the sequence for left.
 */
static void rseq_abort(struct tracee *t, struct image_thread *x)
{
	struct rseq_area area;
	struct rseq_section s;

	if (!x->rseq || tracee_read(t->pid, x->rseq, &area, sizeof(area)) || !area.cs ||
	    tracee_read(t->pid, area.cs, &s, sizeof(s)))
		return;
	if (x->regs.rip - s.start >= s.length || s.abort >= IMAGE_ADDRESS_END)
		return;
	if (!carrier_off(CARRIER_RSEQ_SECTION))
		x->regs.rip = s.abort;
	t->regs.rip = s.abort;
	t->regs.orig_rax = (uint64_t)-1; /* no call is entered again there */
	t->dirty = true;
}

static int pending(struct harvest *h, struct tracee *t, bool shared, uint32_t *ret_n, struct err *e)
{
	struct {
		uint64_t off;
		uint32_t flags;
		int32_t nr;
	} args = {.flags = shared, .nr = MAX_PENDING};
	siginfo_t *v = calloc(MAX_PENDING, sizeof(*v));
	int stops = 0;
	long n;

	_Static_assert(sizeof(siginfo_t) == sizeof(struct image_pending), "the kernel's siginfo");
	if (!v)
		REFUSE(e, ENOMEM, "read the signals of process %d", t->status.ns_tgid);
	n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &args, v);
	if (n < 0 || n == MAX_PENDING) {
		free(v);
		REFUSE(e, n < 0 ? errno : E2BIG, "read the signals of process %d",
		       t->status.ns_tgid);
	}
	*ret_n = (uint32_t)n;
	for (long i = 0; i < n; i++) {
		struct image_pending *p = image_builder_add(&h->b, IMAGE_PENDING, NULL);

		if (v[i].si_signo == SIGSTOP || v[i].si_signo == SIGKILL)
			stops = v[i].si_signo;

		if (p)
			memcpy(p, &v[i], sizeof(*p));
		else
			*ret_n = UINT32_MAX;
	}
	free(v);
	if (*ret_n == UINT32_MAX)
		REFUSE(e, ENOMEM, "read the signals of process %d", t->status.ns_tgid);
	if (stops) /* they can't be held back until the gate opens */
		REFUSE(e, EBUSY, "process %d is about to be %s", t->status.ns_tgid,
		       stops == SIGKILL ? "killed" : "stopped by job control");
	return 0;
}

static int thread_xstate(struct harvest *h, struct tracee *t, struct image_ref *ret, struct err *e)
{
	static _Alignas(64) uint8_t buf[XSTATE_ROOM];
	struct iovec io = {buf, sizeof(buf)};
	uint64_t n;

	if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &io))
		REFUSE(e, errno, "read the floating point state of process %d", t->status.ns_pid);
	if (!arch_xstate_is_plain(buf, io.iov_len))
		REFUSE(e, ENOTSUP, "process %d uses AMX tiles", t->status.ns_tgid);
	n = io.iov_len < h->b.host.xstate_bytes ? io.iov_len : h->b.host.xstate_bytes;
	if (image_builder_bytes(&h->b, buf, n, ret))
		REFUSE(e, ENOMEM, "describe process %d", t->status.ns_tgid);
	return 0;
}

/* A call that we let such a thread make would be a SIGSYS of its own instead. */
static int dispatch_check(const struct tracee *t, struct err *e)
{
	struct kernel_dispatch_configuration c = {0};

	/* EIO before 6.4 */
	if (ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, t->tid, sizeof(c), &c) == 0 && c.mode)
		REFUSE(e, ENOTSUP, "process %d: thread %d dispatches its system calls itself",
		       t->status.ns_tgid, t->status.ns_pid);
	return 0;
}

static int thread_record(struct harvest *h, struct tracee *t, struct err *e)
{
	struct kernel_rseq_configuration rseq = {0};
	struct image_ref xstate;
	struct image_thread *x;
	struct proc_stat stat;
	bool rewind;
	int r;

	if (ptrace(PTRACE_GETREGS, t->tid, 0, &t->regs) ||
	    ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask))
		REFUSE(e, errno, "read the registers of process %d", t->status.ns_pid);
	if (!arch_regs_are_native(&t->regs))
		REFUSE(e, ENOTSUP, "process %d is a 32-bit program", t->status.ns_tgid);
	r = dispatch_check(t, e);
	if (r == 0)
		r = thread_xstate(h, t, &xstate, e);
	if (r < 0)
		return r;
	r = proc_read(&h->text, t->tid, "stat");
	if (r == 0)
		r = proc_stat_parse(h->text.p, &stat);
	if (r < 0)
		REFUSE(e, r, "read the state of process %d", t->status.ns_tgid);
	x = image_builder_add(&h->b, IMAGE_THREAD, NULL);
	if (!x)
		REFUSE(e, ENOMEM, "describe process %d", t->status.ns_tgid);
	x->tid = t->status.ns_pid;
	x->nice = (int32_t)stat.field[19];
	memcpy(x->comm, stat.comm, sizeof(x->comm));
	x->xstate = xstate;
	x->sigmask = t->sigmask;
	arch_regs_settle(&t->regs, &x->regs, &rewind);
	if (carrier_off(CARRIER_SYSCALL))
		memcpy(&x->regs, &t->regs, sizeof(x->regs));
	if (rewind) {
		/* Our interruption must not become an EINTR that the source sees. */
		arch_regs_rewind(&t->regs);
		t->dirty = true;
	}
	/* ENOSYS or EINVAL before 5.13: then the thread's library has no rseq to lose either. */
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, t->tid, sizeof(rseq), &rseq) > 0) {
		x->rseq = rseq.pointer;
		x->rseq_bytes = rseq.size;
		x->rseq_sig = rseq.signature;
	}
	rseq_abort(t, x);
	r = scheduling_record(h, t, x, e);
	if (r < 0)
		return r;
	if (syscall(SYS_get_robust_list, t->tid, &x->robust_list, &x->robust_bytes))
		REFUSE(e, errno, "read the robust list of process %d", t->status.ns_tgid);
	return 0;
}

static int read_number(pid_t pid, const char *name, int base, long *ret)
{
	struct proc_text text = {0};
	int r = proc_read(&text, pid, name);

	if (r == 0)
		*ret = strtol(text.p, NULL, base);
	proc_text_done(&text);
	return r;
}

static int process_record(struct harvest *h, struct captive *c, struct err *e)
{
	struct image_proc *p = harvest_proc(h, c);
	struct proc_stat stat;
	const uint64_t *f = stat.field;
	long personality = 0, oom = 0;
	int r = proc_read(&h->text, c->pid, "stat");

	if (r == 0)
		r = proc_stat_parse(h->text.p, &stat);
	if (r == 0)
		r = read_number(c->pid, "personality", 16, &personality);
	if (r == 0)
		r = read_number(c->pid, "oom_score_adj", 10, &oom);
	if (r == 0)
		r = proc_read(&h->text, c->pid, "timers");
	if (r == -EACCES && geteuid() == 0)
		err_hint(e, "root of a container lacks a capability by default: --cap-add "
			    "DAC_READ_SEARCH (docker, podman), or an ordinary user in there");
	if (r == -EACCES && geteuid() != 0)
		REFUSE(e, EACCES, "process %d is not dumpable (PR_SET_DUMPABLE): read its state",
		       p->pid);
	if (r < 0)
		REFUSE(e, r, "read the state of process %d", p->pid);
	if (stat.field[38] != SIGCHLD)
		REFUSE(e, ENOTSUP, "process %d tells its parent of its end by signal %llu", p->pid,
		       (unsigned long long)stat.field[38]);
	if (h->text.bytes)
		REFUSE(e, ENOTSUP, "process %d has POSIX timers (timer_create)", p->pid);
	r = proc_read(&h->text, c->pid, "auxv");
	if (r < 0 || image_builder_bytes(&h->b, h->text.p, h->text.bytes, &p->auxv))
		REFUSE(e, r, "read the auxiliary vector of process %d", p->pid);
	p->personality = (uint32_t)personality;
	p->oom_score_adj = (int32_t)oom;
	p->mm = (struct image_mm){f[26], f[27], f[45], f[46], f[47], 0,
				  f[28], f[48], f[49], f[50], f[51]};
	for (int i = 0; i < 16; i++) {
		struct rlimit l;

		if (prlimit(c->pid, i, NULL, &l))
			REFUSE(e, errno, "read the limits of process %d", p->pid);
		p->rlimit[i][0] = l.rlim_cur;
		p->rlimit[i][1] = l.rlim_max;
	}
	return 0;
}

/* The threads' queues, then the process's: the order that the format wants. */
static int queues(struct harvest *h, struct captive *c, struct err *e)
{
	struct image_proc *p = harvest_proc(h, c);
	uint32_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		struct tracee *t = &h->tracee[c->first + i];
		struct image_thread *x =
			image_builder_at(&h->b, IMAGE_THREAD, p->threads.first + i);

		x->pendings.first = image_builder_count(&h->b, IMAGE_PENDING);
		if (t->status.pending)
			r = pending(h, t, false, &n, e);
		if (r < 0)
			return r;
		x->pendings.count = t->status.pending ? n : 0;
	}
	p->pendings.first = image_builder_count(&h->b, IMAGE_PENDING);
	if (h->tracee[c->first].status.shared_pending) {
		r = pending(h, &h->tracee[c->first], true, &n, e);
		p->pendings.count = n;
	}
	return r;
}

int row_registers(struct harvest *h, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++) {
		struct captive *c = &h->captive[i];
		uint32_t first = image_builder_count(&h->b, IMAGE_THREAD);

		r = process_record(h, c, e);
		for (uint32_t k = 0; r == 0 && k < c->n; k++)
			r = thread_record(h, &h->tracee[c->first + k], e);
		harvest_proc(h, c)->threads = (struct image_span){first, c->n};
		if (r == 0)
			r = queues(h, c, e);
	}
	return r;
}
