/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows INFECT and CURE: one process after the other gets a few pages of ours, each of its threads
 * runs the parasite once, the pages go again.
 *
 * Between the first and the last of these steps the registers of a thread are not its own. If the
 * tracer died then, the thread would run on in our code: PTRACE_O_EXITKILL is set for exactly that
 * while. A source killed with a tracer that somebody killed is the lesser evil beside one that runs
 * on corrupted; outside this row (under 1 ms a process) the tracer's death harms nobody.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "fork/harvest.h"
#include "fork/kernel.h"
#include "parasite-blob.h"

_Static_assert(sizeof(parasite_blob) <= PARASITE_CODE_BYTES, "the parasite is one page of code");
/* lint-allow: bugprone-implicit-widening-of-multiplication-result: constants */
_Static_assert(sizeof(struct parasite_page) <= 2 * 4096, "and two pages of answers");

#define OPTIONS \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)
#define ALL_BUT_TRAP (~(1ull << (SIGTRAP - 1)))

static int arm(struct tracee *t, bool on)
{
	uint64_t mask = ALL_BUT_TRAP;

	if (ptrace(PTRACE_SETOPTIONS, t->tid, 0, OPTIONS | (on ? PTRACE_O_EXITKILL : 0)))
		return -errno;
	if (on && ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask))
		return -errno;
	t->masked = t->masked || on;
	return 0;
}

static int memory_make(struct harvest *h, struct captive *c, struct tracee *t)
{
	uint64_t map[6] = {0,
			   PARASITE_BYTES,
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS,
			   (uint64_t)-1,
			   0};
	uint64_t protect[6] = {0, PARASITE_CODE_BYTES, PROT_READ | PROT_EXEC};
	long at;
	int r = tracee_syscall(h, t, c->syscall_at, SYS_mmap, map, &at);

	if (r < 0)
		return r;
	if (at < 0 && at > -4096)
		return (int)at;
	c->scratch = (uint64_t)at;
	r = tracee_write(c->pid, c->scratch, parasite_blob, sizeof(parasite_blob));
	if (r < 0)
		return r;
	protect[0] = c->scratch;
	r = tracee_syscall(h, t, c->syscall_at, SYS_mprotect, protect, &at);
	return r < 0 ? r : (int)at;
}

/* Behind its breakpoint. */
static uint64_t parasite_end(const struct captive *c)
{
	const unsigned char *end = memmem(parasite_blob, sizeof(parasite_blob), "\xcc\xeb\xfe", 3);

	return end ? c->scratch + (uint64_t)(end - parasite_blob) + 1 : 0;
}

static int ask(struct harvest *h, struct captive *c, struct tracee *t, bool leader)
{
	struct parasite_page page = {.leader = leader};
	uint64_t data = c->scratch + PARASITE_DATA;
	int r = tracee_write(c->pid, data, &page, sizeof(page));

	if (r == 0)
		r = tracee_run(h, t, c->scratch, c->scratch + PARASITE_STACK - 64, data,
			       parasite_end(c));
	if (r == 0)
		r = tracee_read(c->pid, data, &page, sizeof(page));
	if (r < 0)
		return r;
	t->answers = page.thread;
	if (leader)
		c->answers = page.process;
	return (int)page.thread.error;
}

/* The breakpoint's SIGTRAP resets a disposition that ignored it: put it back. */
static int trap_mend(struct harvest *h, struct captive *c, struct tracee *t)
{
	const struct parasite_action *a = &c->answers.action[SIGTRAP];
	uint64_t at = c->scratch + PARASITE_DATA;
	uint64_t args[6] = {SIGTRAP, at, 0, 8};
	long answer;
	int r;

	if (a->handler != 1) /* SIG_IGN */
		return 0;
	r = tracee_write(c->pid, at, a, sizeof(*a));
	if (r == 0)
		r = tracee_syscall(h, t, c->syscall_at, SYS_rt_sigaction, args, &answer);
	return r < 0 ? r : (int)answer;
}

static int cure(struct harvest *h, struct captive *c)
{
	struct tracee *leader = &h->tracee[c->first];
	uint64_t args[6] = {c->scratch, PARASITE_BYTES};
	long answer = 0;
	int r = 0, q;

	if (c->scratch && leader->state == TRACEE_STOPPED) {
		r = trap_mend(h, c, leader);
		q = tracee_syscall(h, leader, c->syscall_at, SYS_munmap, args, &answer);
		r = q < 0 ? q : answer < 0 ? (int)answer : r;
	}
	c->scratch = 0;
	for (uint32_t i = 0; i < c->n; i++) {
		struct tracee *t = &h->tracee[c->first + i];

		q = tracee_restore(t);
		if (q == 0 && t->state == TRACEE_STOPPED)
			q = arm(t, false);
		if (r == 0 && q != -ESRCH)
			r = q;
	}
	return r;
}

static int infect(struct harvest *h, struct captive *c)
{
	struct tracee *leader = &h->tracee[c->first];
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < c->n; i++)
		r = arm(&h->tracee[c->first + i], true);
	if (r == 0)
		r = memory_make(h, c, leader);
	for (uint32_t i = 0; r == 0 && i < c->n; i++)
		r = ask(h, c, &h->tracee[c->first + i], i == 0);
	return r;
}

static bool alarm_among(const siginfo_t *v, long n)
{
	for (long i = 0; i < n; i++)
		if (v[i].si_signo == SIGALRM)
			return true;
	return false;
}

/* Has the SIGALRM of the real timer come since row REGISTERS read the queue? */
static bool alarm_came(struct harvest *h, const struct captive *c, const struct image_proc *p)
{
	static siginfo_t v[64];
	struct {
		uint64_t off;
		uint32_t flags;
		int32_t nr;
	} args = {.flags = 1 /* of the process */, .nr = ARRAY_LEN(v)};
	const siginfo_t *seen = p->pendings.count
					? image_builder_at(&h->b, IMAGE_PENDING, p->pendings.first)
					: NULL;

	return alarm_among(v, ptrace(PTRACE_PEEKSIGINFO, c->pid, &args, v)) &&
	       !alarm_among(seen, p->pendings.count);
}

static int answers_record(struct harvest *h, struct captive *c, struct err *e)
{
	struct image_proc *p = harvest_proc(h, c);
	const struct parasite_process *a = &c->answers;

	if (a->segments || a->semaphores || a->queues)
		REFUSE(e, ENOTSUP,
		       "process %d: its sandbox has System V objects: %llu memory segments, %llu "
		       "sets of semaphores, %llu message queues",
		       p->pid, (unsigned long long)a->segments, (unsigned long long)a->semaphores,
		       (unsigned long long)a->queues);
	p->mm.brk = a->brk;
	p->pdeathsig = (uint32_t)a->pdeathsig;
	p->flags |= (a->subreaper ? IMAGE_PROC_SUBREAPER : 0) |
		    (a->no_thp ? IMAGE_PROC_NO_THP : 0) | (a->tiles ? IMAGE_PROC_TILES : 0) |
		    (a->dumpable == 1 ? 0 : IMAGE_PROC_UNDUMPABLE);
	for (uint32_t k = 0; k < KERNEL_MEMBARRIER_N; k++)
		if (a->membarrier & KERNEL_MEMBARRIER_REGISTER(k))
			p->flags |= (uint32_t)IMAGE_PROC_MEMBARRIER_GLOBAL << k;
	for (int i = 0; i < 3; i++) {
		p->itimer[i].interval_us = a->itimer[i][0] * 1000000 + a->itimer[i][1];
		p->itimer[i].value_us = a->itimer[i][2] * 1000000 + a->itimer[i][3];
	}
	/* A timer that has fired stands still until its signal is taken, then its interval goes
	 * on. In the clone it fires at once: a signal that is pending there stays one. */
	if (!p->itimer[0].value_us && (p->itimer[0].interval_us || alarm_came(h, c, p)))
		p->itimer[0].value_us = 1;
	p->actions.first = image_builder_count(&h->b, IMAGE_ACTION);
	for (uint32_t i = 1; i < PARASITE_ACTIONS; i++) {
		const struct parasite_action *s = &a->action[i];
		struct image_action *x;

		if (i == SIGKILL || i == SIGSTOP || (!s->handler && !s->flags && !s->mask))
			continue;
		x = image_builder_add(&h->b, IMAGE_ACTION, NULL);
		if (!x)
			REFUSE(e, ENOMEM, "describe process %d", p->pid);
		*x = (struct image_action){i, 0, s->handler, s->flags, s->restorer, s->mask};
	}
	p->actions.count = image_builder_count(&h->b, IMAGE_ACTION) - p->actions.first;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct parasite_thread *t = &h->tracee[c->first + i].answers;
		struct image_thread *x =
			image_builder_at(&h->b, IMAGE_THREAD, p->threads.first + i);

		x->altstack = t->altstack;
		x->altstack_bytes = t->altstack_bytes;
		x->altstack_flags = (uint32_t)t->altstack_flags;
		x->tid_address = t->tid_address;
		x->timer_slack_ns = t->timer_slack_ns;
	}
	return 0;
}

int row_infect(struct harvest *h, struct err *e)
{
	int r = 0, q;

	h->infected = true;
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++) {
		struct captive *c = &h->captive[i];
		int pid = harvest_proc(h, c)->pid;

		r = infect(h, c);
		q = cure(h, c);
		if (r < 0)
			REFUSE(e, r, "ask process %d for its state", pid);
		if (q < 0)
			REFUSE(e, q, "leave process %d as it was", pid);
		r = answers_record(h, c, e);
	}
	return r;
}

int row_cure(struct harvest *h, struct err *e)
{
	int r = 0;

	if (!h->infected)
		return 0;
	for (uint32_t i = 0; i < h->n_captives; i++) {
		int q = cure(h, &h->captive[i]);

		if (q < 0 && r == 0)
			r = err_set(e, ERR_UNFORKABLE, -q, "leave process %d as it was",
				    harvest_proc(h, &h->captive[i])->pid);
	}
	return r;
}
