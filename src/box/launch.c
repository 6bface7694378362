/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's walk over the launch table, the undo, and the faults in words. */
#include "box/box.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "box/keeper.h"
#include "raw/syscall.h"

#define TIMING_CHUNK 96 /* one launch and one command */
#define REMOVE_TIMEOUT_NS UINT64_C(5000000000)

static const struct {
	const char *name, *why;
	enum step_side side;
	int (*fn)(struct keeper_side *);
	uint64_t needs;
} rows[STEP_N] = {
#define KEEPER(fn) SIDE_KEEPER, fn
#define MEET(fn) SIDE_MEET, NULL
#define INIT(fn) SIDE_INIT, NULL
#define COMMAND(fn) SIDE_COMMAND, NULL
#define S(id, who, fn, after, needs, why) [STEP_##id] = {#id, why, who(fn), needs},
#include "box/launch.def"
#undef S
#undef KEEPER
#undef MEET
#undef INIT
#undef COMMAND
};

bool box_row(unsigned i, const char **ret_name, const char **ret_side, const char **ret_why,
	     uint64_t *ret_needs, bool *ret_command)
{
	static const char *const sides[] = {[SIDE_KEEPER] = "keeper",
					    [SIDE_INIT] = "init",
					    [SIDE_MEET] = "both",
					    [SIDE_COMMAND] = "command"};

	if (i >= STEP_N)
		return false;
	*ret_name = rows[i].name;
	*ret_side = sides[rows[i].side];
	*ret_why = rows[i].why;
	*ret_needs = rows[i].needs;
	*ret_command = rows[i].side == SIDE_COMMAND;
	return true;
}

static void add_timing(struct result *r, const char *step, char side, uint64_t ns)
{
	struct result_timing *grown = r ? r->timing : NULL;

	if (!r)
		return;
	if (r->n_timing % TIMING_CHUNK == 0)
		grown = realloc(r->timing, (r->n_timing + TIMING_CHUNK) * sizeof(*grown));
	if (!grown)
		return; /* a figure less, no harm */
	r->timing = grown;
	snprintf(grown[r->n_timing].step, sizeof(grown->step), "%s", step);
	grown[r->n_timing].side = side;
	grown[r->n_timing++].ns = ns;
}

void box_trace(const struct wire_reply *m, struct result *result)
{
	for (uint32_t i = 0; i < m->n_trace; i++)
		add_timing(result, rows[m->trace[i].step].name,
			   m->trace[i].side == SIDE_COMMAND ? 'C' : 'I', m->trace[i].ns);
}

/* The tree of a clone could not be rebuilt: the row of the restore counts, not the launch's. */
static int restore_fault(const struct restore_report *r, struct err *e)
{
	int error = r->error > 0 && r->error < 4096 ? r->error : EPROTO;

	err_step(e, restore_step_name(r->step));
	if (error == ESTALE)
		err_hint(e, "a file that the image maps or has open changed since the capture");
	return err_set(e, ERR_LAUNCH, error, "rebuild task %d of the clone (operation %u)",
		       r->pid ? r->pid : 1, r->op);
}

/* Waits for the one message that init has to send now, and takes its root. */
static int wait_for(struct keeper_side *k, uint32_t op, struct result *result)
{
	struct wire_reply m;
	int fd, r = box_receive(k->box, &m, &fd);

	if (r > 0 && m.op == op && fd >= 0) {
		box_trace(&m, result);
		close_fd(&k->box->root_fd);
		k->box->root_fd = fd;
		k->box->restored = m.restore;
		return 0;
	}
	close_fd(&fd);
	if (r == 0)
		return err_set(k->e, ERR_LAUNCH, ECHILD, "init died during the launch");
	if (r < 0)
		return err_set(k->e, ERR_LAUNCH, r, "talk to init");
	/* without an error of its own the row failed before the tree was begun */
	if (m.op == WIRE_FAULT && m.fault.step == STEP_RESTORE && m.restore.error)
		return restore_fault(&m.restore, k->e);
	if (m.op == WIRE_FAULT)
		return box_fault(k->plan, NULL, &m.fault, k->e);
	return err_set(k->e, ERR_PROTOCOL, EPROTO, "init said something else than it had to");
}

int keeper_fill_files(struct keeper_side *k)
{
	const struct box_restore *x = k->q->restore;
	int r = wait_for(k, WIRE_ROOT, NULL);

	k->box->root_at = raw_now_ns();
	if (r == 0 && x->fill)
		r = x->fill(x->arg, k->box->root_fd, k->e);
	k->box->filled_at = raw_now_ns();
	if (r == 0 && box_restore_send(k->box, x) < 0)
		r = wait_for(k, WIRE_READY, NULL); /* why init went away */
	return r;
}

static int meet(struct keeper_side *k, unsigned step, struct result *result)
{
	struct wire_request go = {.op = WIRE_GO};

	if (step == STEP_READY)
		return wait_for(k, WIRE_READY, result);
	if (send(k->box->sock_fd, &go, sizeof(go), MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno != EPIPE && errno != ECONNRESET)
		return err_set(k->e, ERR_LAUNCH, errno, "talk to init");
	/* a fault of init before this point explains more than our broken pipe */
	return wait_for(k, WIRE_READY, result);
}

/* A row of ours may fail because init did: then its own word explains more. */
static void prefer_word_of_init(struct keeper_side *k)
{
	struct pollfd p = {k->box->sock_fd, POLLIN, 0};
	struct err ours = *k->e;

	if (k->box->pidfd < 0 || poll(&p, 1, 0) <= 0)
		return;
	*k->e = ERR_INIT;
	if (wait_for(k, WIRE_READY, NULL) == 0 || !k->e->step[0])
		*k->e = ours;
}

static int walk(struct keeper_side *k, struct result *result)
{
	for (unsigned i = 0; i < STEP_N; i++) {
		uint64_t began;
		int r;

		if (rows[i].side != SIDE_KEEPER && rows[i].side != SIDE_MEET)
			continue;
		if ((k->plan->facts & rows[i].needs) != rows[i].needs)
			continue;
		if (raw_without(k->plan->test_without, "row", rows[i].name))
			continue;
		began = raw_now_ns();
		r = rows[i].side == SIDE_KEEPER ? keeper_test_row(k->plan, rows[i].name) : 0;
		if (r < 0)
			err_set(k->e, ERR_LAUNCH, r,
				"this row was made to fail by CLEAVE_TEST_FAIL");
		else
			r = rows[i].side == SIDE_MEET ? meet(k, i, result) : rows[i].fn(k);
		if (r < 0) {
			if (rows[i].side == SIDE_KEEPER)
				prefer_word_of_init(k);
			err_set(k->e, ERR_LAUNCH, r, "%s", rows[i].why);
			err_step(k->e, rows[i].name);
			return r;
		}
		add_timing(result, rows[i].name, 'K', raw_now_ns() - began);
	}
	return 0;
}

int box_launch(const struct box_request *q, struct box *ret, struct result *result, struct err *e)
{
	struct keeper_side k = {.q = q,
				.plan = q->plan->plan,
				.box = ret,
				.result = result,
				.init_sock_fd = -EBADF,
				.plan_fd = -EBADF,
				.exe_fd = -EBADF,
				.e = e};
	int r;

	k.join.clone_fd = -EBADF;
	*ret = BOX_INIT;
	r = walk(&k, result);
	close_fd(&k.init_sock_fd);
	close_fd(&k.plan_fd);
	close_fd(&k.exe_fd);
	cgroup_join_close(&k.join);
	for (uint32_t i = 0; i < k.plan->n_entries; i++) {
		struct plan_entry *entry = (struct plan_entry *)plan_entries(k.plan) + i;

		close_fd(&entry->fd);
	}
	if (r < 0) {
		struct err ignored = ERR_INIT;

		box_end(ret, &ignored);
	}
	return r;
}

void box_unpin(struct box *b)
{
	if (b->affinity_bytes)
		ignore_err(SYS3(SYS_sched_setaffinity, 0, b->affinity_bytes, b->affinity),
			   "the processors may have gone meanwhile; the kernel keeps us running");
}

static bool has_freezer_v1(const struct cgroup *cg)
{
	for (int i = 0; i < cg->dir_n; i++)
		if (cg->dir[i].version == 1 && cg->dir[i].ctls & CGROUP_BIT(CGROUP_FREEZER))
			return true;
	return false;
}

int box_end(struct box *b, struct err *e)
{
	int r = 0;

	box_unpin(b);
	close_fd(&b->sock_fd);
	close_fd(&b->root_fd);
	if (b->pidfd >= 0)
		ignore_err(SYS4(SYS_pidfd_send_signal, b->pidfd, SIGKILL, 0, 0), "it may be dead");
	/* what is frozen there does not die */
	if (has_freezer_v1(&b->cgroup))
		r = cgroup_kill(&b->cgroup, REMOVE_TIMEOUT_NS, e);
	if (b->pidfd >= 0) {
		siginfo_t info;

		while (waitid(P_PIDFD, (id_t)b->pidfd, &info, WEXITED | __WALL) < 0 &&
		       errno == EINTR)
			;
	}
	close_fd(&b->pidfd);
	b->init_pid = -1;
	if (b->cgroup.dir_n) {
		int removed = cgroup_end(&b->cgroup, REMOVE_TIMEOUT_NS, e);

		r = r < 0 ? r : removed;
	}
	close_fd(&b->slot_fd);
	return r;
}
