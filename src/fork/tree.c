/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row TREE: which processes there are, in an order in which parents come first, and whether a clone
 * can be given the same relations and rights. Everything stands still when this runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

static struct captive *captive_find(struct harvest *h, pid_t pid)
{
	for (uint32_t i = 0; i < h->n_captives; i++)
		if (h->captive[i].pid == pid)
			return &h->captive[i];
	return NULL;
}

static int status_read(struct harvest *h, struct tracee *t, struct err *e)
{
	int r = proc_read(&h->text, t->tid, "status");

	if (r == 0)
		r = proc_status_parse(h->text.p, &t->status);
	if (r < 0)
		REFUSE(e, r, "read the status of task %d", t->tid);
	t->pid = t->status.tgid;
	return 0;
}

/* Filters that every task must have: ours, and init's, which are those cleave was started under. */
static int filters_read(struct harvest *h, int *ret, struct err *e)
{
	struct proc_status init;
	int r = 0;

	*ret = h->src->filters;
	if (*ret < 0)
		return 0;
	r = proc_read(&h->text, h->src->init_pid, "status");
	if (r == 0)
		r = proc_status_parse(h->text.p, &init);
	if (r < 0)
		REFUSE(e, r, "read the status of init");
	*ret += init.filters > 0 ? init.filters : 0;
	return 0;
}

/* The rights of every task must be those that a clone will be given. */
static int rights_check(const struct harvest *h, const struct tracee *t, int filters, struct err *e)
{
	const struct proc_status *s = &t->status, *first = &h->tracee[0].status;
	int pid = s->ns_tgid;

	if (s->tracer != getpid())
		REFUSE(e, EPERM, "process %d is traced by another process", pid);
	if (s->state == 'Z' || s->state == 'X')
		REFUSE(e, ENOTSUP, "the main thread of process %d has exited, others go on", pid);
	if (s->cap_any)
		REFUSE(e, EPERM, "process %d holds capabilities", pid);
	if (memcmp(s->uid, first->uid, sizeof(s->uid)) || s->uid[0] != s->uid[1] ||
	    s->uid[0] != s->uid[2] || s->uid[0] != s->uid[3] ||
	    memcmp(s->gid, first->gid, sizeof(s->gid)) || s->gid[0] != s->gid[1] ||
	    s->gid[0] != s->gid[2] || s->gid[0] != s->gid[3])
		REFUSE(e, EPERM, "process %d has other ids than the workload", pid);
	if (s->seccomp == 1)
		REFUSE(e, EPERM, "process %d is in strict seccomp mode", pid);
	if (s->filters != (filters >= 0 ? filters : first->filters))
		REFUSE(e, EPERM, "process %d has loaded a seccomp filter of its own", pid);
	if (s->no_new_privs != first->no_new_privs)
		REFUSE(e, EPERM, "process %d differs in no_new_privs", pid);
	return 0;
}

static struct captive *captive_add(struct harvest *h, pid_t pid)
{
	struct captive *c;

	if (h->n_captives == h->room_captives) {
		uint32_t room = h->room_captives ? h->room_captives * 2 : 16;

		c = realloc(h->captive, room * sizeof(*c));
		if (!c)
			return NULL;
		h->captive = c;
		h->room_captives = room;
	}
	c = &h->captive[h->n_captives++];
	*c = (struct captive){.pid = pid};
	return c;
}

static int by_process(const void *a, const void *b)
{
	const struct tracee *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if ((x->tid == x->pid) != (y->tid == y->pid))
		return x->tid == x->pid ? -1 : 1;
	return x->tid < y->tid ? -1 : 1;
}

static int group(struct harvest *h, struct err *e)
{
	struct captive *c = NULL;
	uint32_t n = 0;
	int filters, r = filters_read(h, &filters, e);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < h->n_tracees; i++)
		if (h->tracee[i].state == TRACEE_STOPPED)
			h->tracee[n++] = h->tracee[i];
	h->n_tracees = n;
	for (uint32_t i = 0; i < n; i++) {
		r = status_read(h, &h->tracee[i], e);
		if (r < 0)
			return r;
	}
	qsort(h->tracee, n, sizeof(*h->tracee), by_process);
	for (uint32_t i = 0; i < n; i++) {
		struct tracee *t = &h->tracee[i];

		r = rights_check(h, t, filters, e);
		if (r < 0)
			return r;
		if (!c || c->pid != t->pid) {
			if (t->tid != t->pid)
				REFUSE(e, ENOTSUP, "the main thread of process %d has exited",
				       t->status.ns_tgid);
			c = captive_add(h, t->pid);
			if (!c)
				REFUSE(e, ENOMEM, "list the processes");
			c->first = i;
			c->ppid = t->status.ppid;
		}
		c->n++;
	}
	return 0;
}

/* Parents before children: repeated selection keeps it simple, trees are small. */
static int order(struct harvest *h, struct err *e)
{
	uint32_t done = 0, before;

	do {
		before = done;
		for (uint32_t i = done; i < h->n_captives; i++) {
			struct captive c = h->captive[i];
			bool ready = c.ppid == h->src->init_pid;

			c.parent = IMAGE_NONE;
			for (uint32_t k = 0; k < done && !ready; k++)
				if (h->captive[k].pid == c.ppid) {
					c.parent = k;
					ready = true;
				}
			if (!ready)
				continue;
			h->captive[i] = h->captive[done];
			h->captive[done++] = c;
		}
	} while (done != before);
	if (done != h->n_captives)
		REFUSE(e, ENOTSUP, "process %d has a parent outside the sandbox",
		       h->tracee[h->captive[done].first].status.ns_tgid);
	return 0;
}

static const struct proc_status *status_of(struct harvest *h, const struct captive *c)
{
	return &h->tracee[c->first].status;
}

static const struct captive *leader(struct harvest *h, int32_t ns_pid)
{
	for (uint32_t i = 0; i < h->n_captives; i++)
		if (status_of(h, &h->captive[i])->ns_tgid == ns_pid)
			return &h->captive[i];
	return NULL;
}

/* A group can be joined while its leader exists, dead or alive, in the same session. */
static bool group_exists(struct harvest *h, const struct proc_status *s)
{
	const struct captive *c = leader(h, s->ns_pgid);

	for (uint32_t i = 0; i < h->n_dead && !c; i++)
		if (h->dead[i].status.ns_tgid == s->ns_pgid)
			return h->dead[i].status.ns_sid == s->ns_sid;
	return c && status_of(h, c)->ns_sid == s->ns_sid;
}

/* A clone's processes all live in the namespaces of its init: who has left these (--nest) would be
 * let out of its own. Pid namespaces are told by their depth. */
static int namespaces_check(struct harvest *h, const struct captive *c, struct err *e)
{
	static const char *const names[] = {"user", "mnt", "net", "uts", "ipc", "cgroup", "time"};
	char path[48], own[64], inits[64];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ssize_t n, m;

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", c->pid, names[i]);
		n = readlink(path, own, sizeof(own));
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", h->src->init_pid, names[i]);
		m = readlink(path, inits, sizeof(inits));
		if (n < 0 || m < 0)
			REFUSE(e, errno, "read the %s namespace of process %d", names[i],
			       status_of(h, c)->ns_tgid);
		if (n != m || memcmp(own, inits, (size_t)n) != 0)
			REFUSE(e, ENOTSUP, "process %d lives in a %s namespace of its own",
			       status_of(h, c)->ns_tgid, names[i]);
	}
	return 0;
}

/* Can a clone's processes get into the same sessions and groups? */
static int relations_check(struct harvest *h, const struct captive *c, int depth, struct err *e)
{
	const struct proc_status *s = status_of(h, c), *l;
	const struct captive *sid = leader(h, s->ns_sid);
	int pid = s->ns_tgid;

	if (s->ns_depth != depth)
		REFUSE(e, EINVAL, "process %d lives in a pid namespace of its own", pid);
	if (!sid)
		REFUSE(e, ENOTSUP, "the leader of process %d's session (%d) has exited", pid,
		       s->ns_sid);
	if (!group_exists(h, s))
		REFUSE(e, ENOTSUP, "the leader of process %d's group (%d) has exited", pid,
		       s->ns_pgid);
	if (sid == c)
		return 0;
	l = status_of(h, sid);
	if (c->parent != IMAGE_NONE && status_of(h, &h->captive[c->parent])->ns_sid == s->ns_sid)
		return 0;
	if (c->parent == IMAGE_NONE && sid->parent == IMAGE_NONE && sid < c)
		return 0;
	REFUSE(e, EINVAL, "process %d is in session %d, which its parent has left", pid,
	       l->ns_tgid);
}

static int dead_add(struct harvest *h, const struct captive *c, pid_t pid, struct err *e)
{
	struct dead d = {.pid = pid, .parent = (uint32_t)(c - h->captive)}, *v;
	struct proc_stat stat;
	int r = proc_read(&h->text, pid, "status");

	if (r == 0)
		r = proc_status_parse(h->text.p, &d.status);
	if (r == 0)
		r = proc_read(&h->text, pid, "stat");
	if (r == 0)
		r = proc_stat_parse(h->text.p, &stat);
	if (r < 0)
		REFUSE(e, r, "read the state of the exited process %d", pid);
	if (d.status.state != 'Z')
		REFUSE(e, EBUSY, "process %d came from outside or is exiting", d.status.ns_tgid);
	if (d.status.ns_sid == d.status.ns_tgid)
		REFUSE(e, ECHILD,
		       "session leader %d has exited and its parent has not waited for it",
		       d.status.ns_tgid);
	d.exit_code = (int32_t)stat.field[52];
	v = realloc(h->dead, (h->n_dead + 1) * sizeof(*v));
	if (!v)
		REFUSE(e, ENOMEM, "list the processes");
	v[h->n_dead++] = d;
	h->dead = v;
	return 0;
}

/* Children that are not captives are zombies. Those of init are init's to reap. */
static int dead_find(struct harvest *h, const struct captive *c, pid_t tid, struct err *e)
{
	struct proc_text text = {0};
	char name[48], *s, *end;
	int r = 0;

	snprintf(name, sizeof(name), "task/%d/children", tid);
	if (proc_read(&text, c->pid, name) == 0)
		for (s = text.p; r == 0; s = end) {
			long child = strtol(s, &end, 10);

			if (end == s)
				break;
			if (!captive_find(h, (pid_t)child))
				r = dead_add(h, c, (pid_t)child, e);
		}
	proc_text_done(&text);
	return r;
}

static int record_dead(struct harvest *h, const struct dead *d, struct err *e)
{
	struct image_proc *p = image_builder_add(&h->b, IMAGE_PROC, NULL);
	const struct proc_status *s = &d->status;

	if (!p)
		REFUSE(e, ENOMEM, "describe process %d", s->ns_tgid);
	p->pid = s->ns_tgid;
	p->pgid = s->ns_pgid;
	p->sid = s->ns_sid;
	p->parent = h->captive[d->parent].index;
	p->flags = IMAGE_PROC_ZOMBIE;
	p->pty = IMAGE_NONE;
	p->exit_code = d->exit_code;
	if (status_of(h, &h->captive[d->parent])->ns_sid != s->ns_sid)
		REFUSE(e, EINVAL, "process %d is in session %d, which its parent has left", p->pid,
		       p->sid);
	return 0;
}

static int record(struct harvest *h, struct captive *c, struct err *e)
{
	const struct proc_status *s = status_of(h, c);
	struct image_proc *p = image_builder_add(&h->b, IMAGE_PROC, &c->index);

	if (!p)
		REFUSE(e, ENOMEM, "describe process %d", s->ns_tgid);
	p->pid = s->ns_tgid;
	p->pgid = s->ns_pgid;
	p->sid = s->ns_sid;
	p->parent = c->parent;
	p->umask = s->umask;
	p->pty = IMAGE_NONE;
	return 0;
}

int row_tree(struct harvest *h, struct err *e)
{
	struct proc_status init;
	int r = group(h, e);

	if (r == 0)
		r = order(h, e);
	if (r < 0)
		return r;
	r = proc_read(&h->text, h->src->init_pid, "status");
	if (r == 0)
		r = proc_status_parse(h->text.p, &init);
	if (r < 0)
		return err_set(e, ERR_HOST, -r, "read the status of init (%d)", h->src->init_pid);
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++)
		for (uint32_t k = 0; r == 0 && k < h->captive[i].n; k++)
			r = dead_find(h, &h->captive[i], h->tracee[h->captive[i].first + k].tid, e);
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++) {
		r = relations_check(h, &h->captive[i], init.ns_depth, e);
		if (r == 0)
			r = namespaces_check(h, &h->captive[i], e);
		if (r == 0)
			r = record(h, &h->captive[i], e);
	}
	for (uint32_t i = 0; r == 0 && i < h->n_dead; i++) {
		if (!group_exists(h, &h->dead[i].status))
			REFUSE(e, ENOTSUP, "the leader of process %d's group (%d) has exited",
			       h->dead[i].status.ns_tgid, h->dead[i].status.ns_pgid);
		r = record_dead(h, &h->dead[i], e);
	}
	h->cap->processes = h->n_captives + h->n_dead;
	h->cap->threads = h->n_tracees;
	return r;
}
