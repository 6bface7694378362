/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of what is being captured. A sandbox whose main process has exited ends itself a moment
 * later; SIGKILL ends even a task that stands still for us. Both look like missing processes to the
 * rows: here they get their name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

/* What SIGKILL has hit needs the processor for some microseconds before it is seen to be dead. */
#define DYING_NS UINT64_C(200000000)

static bool dead(const struct proc_status *s)
{
	return s->state == 'Z' || s->state == 'X';
}

static int find_living(void *arg, int tid)
{
	struct proc_text text = {0};
	struct proc_status s;
	bool found = proc_read(&text, tid, "status") == 0 && proc_status_parse(text.p, &s) == 0 &&
		     !dead(&s);

	ignore_err(arg, "the answer is enough");
	proc_text_done(&text);
	return found;
}

/* Some thread of the process runs on: its main thread may have exited before. */
static bool lives(struct harvest *h, pid_t pid, struct proc_status *ret)
{
	if (proc_read(&h->text, pid, "status") || proc_status_parse(h->text.p, ret))
		return false;
	return !dead(ret) || proc_each(pid, "task", find_living, NULL) > 0;
}

static bool main_lives(struct harvest *h)
{
	struct proc_text children = {0};
	struct proc_status s;
	char name[48], *at, *end;
	bool found = false;

	snprintf(name, sizeof(name), "task/%d/children", h->src->init_pid);
	if (proc_read(&children, h->src->init_pid, name) == 0)
		for (at = children.p; !found; at = end) {
			long child = strtol(at, &end, 10);

			if (end == at)
				break;
			found = lives(h, (pid_t)child, &s) && s.ns_tgid == h->src->main_pid;
		}
	proc_text_done(&children);
	return found;
}

static bool sandbox_lives(struct harvest *h)
{
	struct proc_status s;

	return lives(h, h->src->init_pid, &s) && (!h->src->main_pid || main_lives(h));
}

int life_check(struct harvest *h, struct err *e)
{
	if (sandbox_lives(h))
		return 0;
	err_set(e, ERR_STATE, 0, "the sandbox is ending: %s",
		h->src->main_pid ? "its main command has ended" : "its init is gone");
	return -EBADFD;
}

/* What we hold stands in a tracing stop. One that does not was hit by SIGKILL: it dies or is dead.
 */
static const struct tracee *lost(struct harvest *h, bool *ret_dead)
{
	struct proc_status s;

	for (uint32_t i = 0; i < h->n_tracees; i++) {
		const struct tracee *t = &h->tracee[i];

		if (t->state != TRACEE_STOPPED)
			continue;
		*ret_dead = proc_read(&h->text, t->tid, "status") ||
			    proc_status_parse(h->text.p, &s) || dead(&s);
		if (*ret_dead || s.state != 't')
			return t;
	}
	return NULL;
}

int life_explain(struct harvest *h, int r, struct err *e)
{
	uint64_t deadline = fork_now_ns() + DYING_NS;
	const struct tracee *t;
	bool is_dead;

	while ((t = lost(h, &is_dead)) && !is_dead && fork_now_ns() < deadline)
		usleep(1000);
	if (!sandbox_lives(h)) {
		*e = ERR_INIT;
		return life_check(h, e);
	}
	if (!t)
		return r;
	*e = ERR_INIT;
	REFUSE(e, ESRCH, "process %d was killed while it was captured",
	       t->status.ns_tgid ? t->status.ns_tgid : t->tid);
}
