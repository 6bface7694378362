/* SPDX-License-Identifier: Apache-2.0 */
/* Rows SIGNALS to THREAD_STATE: what a process and its threads get besides memory. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fork/carriers.h"
#include "fork/kernel.h"
#include "fork/planner.h"

void plan_signals(struct planner *p, const struct image_proc *x)
{
	struct image_action plain = {0};

	/* SIGPIPE and the like may be ignored in init: every signal is set, most to default. */
	for (uint32_t s = 1, i = x->actions.first; s <= 64; s++) {
		const struct image_action *a = &plain;
		uint64_t at;

		if (s == SIGKILL || s == SIGSTOP)
			continue;
		if (i < x->actions.first + x->actions.count && p->im->action[i].signo == s)
			a = &p->im->action[i++];
		at = planner_put(p, &a->handler, 32);
		OP(p, SIGNALS, SYS_rt_sigaction, s, at, 0, 8);
	}
}

static const struct image_fd *fd_find(const struct planner *p, const struct image_proc *x,
				      uint32_t number, uint32_t ofd)
{
	for (uint32_t i = x->fds.first; i < x->fds.first + x->fds.count; i++) {
		const struct image_fd *f = &p->im->fd[i];

		if ((number == IMAGE_NONE || f->number == number) && f->ofd == ofd)
			return f;
	}
	return NULL;
}

/* The kernel files a watch under the number that it was registered by: so the first process that
 * holds set and number registers it again, once its descriptors have their numbers. */
static void plan_watches(struct planner *p, const struct image_proc *x)
{
	const struct image *im = p->im;

	for (uint32_t i = 0; i < im->ofd_n; i++) {
		struct image_span s = im->ofd[i].watches;
		const struct image_fd *set = s.count ? fd_find(p, x, IMAGE_NONE, i) : NULL;

		for (uint32_t k = s.first; set && k < s.first + s.count; k++) {
			const struct image_watch *w = &im->watch[k];
			struct {
				uint32_t events;
				uint64_t data;
			} __attribute__((packed)) event = {w->events, w->data};

			if (p->watched[k] || !fd_find(p, x, w->fd, w->ofd))
				continue;
			p->watched[k] = true;
			OP(p, FILES, SYS_epoll_ctl, set->number, 1 /* ADD */, w->fd,
			   planner_put(p, &event, sizeof(event)));
		}
	}
}

void plan_descriptors(struct planner *p, const struct image_proc *x)
{
	if (!carrier_off(CARRIER_CWD)) {
		OP(p, FILES, SYS_fchdir, p->dir_slot[x->cwd]);
		OP(p, FILES, SYS_umask, x->umask);
	}
	for (uint32_t i = x->fds.first; i < x->fds.first + x->fds.count; i++) {
		const struct image_fd *f = &p->im->fd[i];

		OP(p, FILES, SYS_dup3, p->ofd_slot[f->ofd], f->number, f->cloexec ? O_CLOEXEC : 0);
	}
	plan_watches(p, x);
	OP(p, FILES, SYS_close_range, p->head.slot_first, p->head.slot_end - 1, 0);
}

void plan_queue(struct planner *p, int32_t pid, int32_t tid, struct image_span s)
{
	for (uint32_t i = s.first; i < s.first + s.count; i++) {
		const struct image_pending *q = &p->im->pending[i];
		uint64_t at = planner_put(p, q, sizeof(*q));
		int32_t signo;

		memcpy(&signo, q, 4);
		if (tid)
			OP(p, ATTRIBUTES, SYS_rt_tgsigqueueinfo, (uint64_t)pid, (uint64_t)tid,
			   (uint64_t)signo, at);
		else
			OP(p, ATTRIBUTES, SYS_rt_sigqueueinfo, (uint64_t)pid, (uint64_t)signo, at);
	}
}

static void plan_policy(struct planner *p, const struct image_thread *t)
{
	uint64_t reset = t->flags & IMAGE_THREAD_RESET_ON_FORK ? 0x40000000 : 0;
	uint64_t priority = 0;

	if (t->flags & (IMAGE_THREAD_POLICY | IMAGE_THREAD_RESET_ON_FORK)) {
		OP(p, ATTRIBUTES, SYS_sched_setscheduler, 0, t->policy | reset,
		   planner_put(p, &priority, sizeof(priority)));
		/* whoever was started idle (SCHED_IDLE) may not be anything else */
		planner_flag(p, RESTORE_MAY_FAIL);
	}
	if (t->flags & IMAGE_THREAD_IO_PRIORITY)
		OP(p, ATTRIBUTES, SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, t->io_priority);
}

/* Its own processors as far as the clone's sandbox has them; where it has none of them, those. */
static void plan_affinity(struct planner *p, const struct image_thread *t)
{
	const struct fork_confine *c = p->confine;
	const uint8_t *own = image_bytes(p->im, t->affinity);
	uint8_t both[sizeof(c->affinity)] = {0};
	bool any = false;

	for (uint64_t i = 0; i < t->affinity.bytes && i < sizeof(both); i++) {
		both[i] = own[i] & (uint8_t)(c->affinity_bytes ? c->affinity[i] : 0xff);
		any = any || both[i];
	}
	if (c->affinity_bytes)
		OP(p, THREAD_STATE, SYS_sched_setaffinity, 0, c->affinity_bytes, p->affinity_at);
	if (any) {
		OP(p, THREAD_STATE, SYS_sched_setaffinity, 0, sizeof(both),
		   planner_put(p, both, sizeof(both)));
		/* a cpuset of the clone may have none of them */
		planner_flag(p, RESTORE_MAY_FAIL);
	}
	p->task[t - p->im->thread].own_affinity = any;
}

void plan_thread(struct planner *p, const struct image_proc *x, const struct image_thread *t)
{
	OP(p, ATTRIBUTES, SYS_prctl, PR_SET_NAME, planner_put(p, t->comm, sizeof(t->comm)));
	OP(p, ATTRIBUTES, SYS_prctl, PR_SET_TIMERSLACK, t->timer_slack_ns);
	plan_policy(p, t);
	if (t->nice > 0)
		OP(p, ATTRIBUTES, SYS_setpriority, 0, 0, (uint64_t)(uint32_t)t->nice);
	plan_queue(p, x->pid, t->tid, t->pendings);
	plan_drop(p, RESTORE_DROP);
	OP(p, THREAD_STATE, SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, t->regs.fs_base);
	OP(p, THREAD_STATE, SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, t->regs.gs_base);
	if (t->robust_list)
		OP(p, THREAD_STATE, SYS_set_robust_list, t->robust_list, t->robust_bytes);
	OP(p, THREAD_STATE, SYS_set_tid_address, t->tid_address);
	plan_affinity(p, t);
	if (t->rseq)
		OP(p, THREAD_STATE, 334 /* rseq */, t->rseq, t->rseq_bytes, 0, t->rseq_sig);
}

/* While the process has one thread: with more of them it takes the kernel milliseconds. */
void plan_membarrier(struct planner *p, const struct image_proc *x)
{
	for (uint32_t k = 0; k < KERNEL_MEMBARRIER_N; k++)
		if (x->flags & (uint32_t)IMAGE_PROC_MEMBARRIER_GLOBAL << k)
			OP(p, ATTRIBUTES, SYS_membarrier, KERNEL_MEMBARRIER_REGISTER(k), 0, 0);
}

void plan_timers(struct planner *p, const struct image_proc *x)
{
	for (uint64_t i = 0; i < 3; i++) {
		const struct image_itimer *t = &x->itimer[i];
		uint64_t v[4] = {t->interval_us / 1000000, t->interval_us % 1000000,
				 t->value_us / 1000000, t->value_us % 1000000};

		if (t->value_us)
			OP(p, ATTRIBUTES, SYS_setitimer, i, planner_put(p, v, sizeof(v)), 0);
	}
}

/* Children that are dead in the image have died before the actions are set, and the SIGCHLDs of
 * their deaths are thrown away: the source has had its own (or has them pending). */
void plan_dead(struct planner *p, uint32_t proc)
{
	struct image_action ignore = {.handler = 1};
	bool any = false;

	for (uint32_t i = proc + 1; i < p->im->proc_n; i++)
		if (p->im->proc[i].parent == proc && p->im->proc[i].flags & IMAGE_PROC_ZOMBIE) {
			/* WEXITED | WNOWAIT */
			OP(p, SIGNALS, SYS_waitid, 1 /* P_PID */, (uint64_t)p->im->proc[i].pid, 0,
			   0x1000004, 0);
			any = true;
		}
	if (any)
		OP(p, SIGNALS, SYS_rt_sigaction, SIGCHLD, planner_put(p, &ignore.handler, 32), 0,
		   8);
}
