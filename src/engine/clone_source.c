/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side of a fork: its keeper starts a tracer and gives what it brought to the client.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "engine/clone.h"
#include "engine/deadline.h"
#include "engine/layer.h"
#include "engine/profile.h"
#include "fork/fork.h"
#include "raw/syscall.h"

/* One capture at a time; the tracer is our child and works on copies of these. */
struct capture {
	struct fork_tracer tracer;
	struct fork_source source;
	struct conn *client;
	json_t *request_id;
	int layer_fd;
	struct layer_ahead *ahead; /* the tracer's */
};

static int source_freeze(void *arg)
{
	struct keeper *k = arg;
	struct err ignored = ERR_INIT;

	return cgroup_freeze(&k->box.cgroup, KEEPER_FREEZE_NS, &ignored);
}

static int source_thaw(void *arg)
{
	struct keeper *k = arg;
	struct err ignored = ERR_INIT;

	return cgroup_thaw(&k->box.cgroup, KEEPER_FREEZE_NS, &ignored);
}

/* These run in the tracer, the second with everything inside stopped. */
static void source_files_before(void *arg)
{
	struct keeper *k = arg;

	k->capture->ahead = layer_ahead_begin(k->plan.plan, k->box.root_fd, k->capture->layer_fd);
}

static int source_files(void *arg, struct err *e)
{
	struct keeper *k = arg;

	return layer_capture(k->plan.plan, k->box.root_fd, k->capture->layer_fd, k->capture->ahead,
			     e);
}

static void source_files_after(void *arg)
{
	struct keeper *k = arg;

	layer_ahead_end(k->capture->ahead);
	k->capture->ahead = NULL;
}

static bool can_freeze(const struct keeper *k)
{
	for (int i = 0; i < k->box.cgroup.dir_n; i++)
		if (k->box.cgroup.dir[i].ctls & CGROUP_BIT(CGROUP_FREEZER))
			return true;
	return false;
}

static json_t *note_list(const struct fork_notes *n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n->n && i < 256; i++)
		json_array_append_new(a, json_string(n->line[i]) ?: json_string("(not UTF-8)"));
	return a;
}

/* What every clone gets of its own, whatever it was made from. */
static json_t *recreated(const struct fork_capture *c)
{
	json_t *a = note_list(&c->recreated);

	json_array_append_new(a, json_string("identity: host name, machine-id and generation are "
					     "the clone's own"));
	json_array_append_new(a, json_string("random: the kernel's generators go on apart"));
	return a;
}

static json_t *timing(const struct fork_capture *c)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < FORK_ROW_N; i++)
		json_array_append_new(a, json_pack("{s:s,s:I}", "step",
						   fork_row_name((enum fork_row)i), "ns",
						   (json_int_t)c->row_ns[i]));
	return a;
}

static json_t *lineage(const struct keeper *k)
{
	json_int_t generation = json_integer_value(json_object_get(k->lineage, "generation"));

	return json_pack("{s:s,s:o,s:I}", "parent", k->journal.id, "parent_name",
			 k->spec.name ? json_string(k->spec.name) : json_null(), "generation",
			 generation + 1);
}

/* Of its main command, for init to strike: without the keeper's own patience. 0: no bound. */
static uint64_t time_left(const struct keeper *k)
{
	uint64_t now = raw_now_ns() + DEADLINE_BACKUP_NS;

	if (!k->deadline_at)
		return 0;
	return k->deadline_at > now ? k->deadline_at - now : 1;
}

static json_t *describe(const struct keeper *k, const struct fork_capture *c,
			const struct layer_header *layer)
{
	return json_pack("{s:s,s:o,s:I,s:i,s:I,s:o,s:I,s:{s:I,s:I,s:I,s:i,s:i,s:i},s:{s:s,s:I,s:I,"
			 "s:I,s:I,s:I,s:I},"
			 "s:o,"
			 "s:o,s:o,s:o}",
			 "id", k->journal.id, "name",
			 k->spec.name ? json_string(k->spec.name) : json_null(), "id_base",
			 (json_int_t)k->box.id_base, "main_pid", k->main_pid, "timeout_left_ns",
			 (json_int_t)time_left(k), "lineage", lineage(k), "paused_ns",
			 (json_int_t)c->paused_ns, "memory", "bytes", (json_int_t)c->image_bytes,
			 "pages", (json_int_t)c->pages, "ns", (json_int_t)c->pages_ns, "processes",
			 (int)c->processes, "threads", (int)c->threads, "maps", (int)c->maps,
			 "files", "method", "copy", "bytes", (json_int_t)layer->bytes,
			 "ahead_bytes", (json_int_t)layer->ahead_bytes, "ahead_ns",
			 (json_int_t)layer->ahead_ns, "files", (json_int_t)layer->files, "skipped",
			 (json_int_t)layer->skipped, "ns", (json_int_t)layer->ns, "carried",
			 note_list(&c->carried), "recreated", recreated(c), "broken",
			 note_list(&c->broken), "timing", timing(c));
}

static int seal_layer(int fd, struct err *e)
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return err_set(e, ERR_HOST, errno, "seal the layer of files");
	return 0;
}

/* A sandbox that ends meanwhile takes its processes away from the tracer: that is the reason. */
static void blame_the_end(const struct keeper *k, struct err *e)
{
	if (k->state == STATE_RUNNING && !k->main_over && !k->init_gone)
		return;
	if (k->state == STATE_PAUSED)
		return;
	*e = ERR_INIT;
	err_set(e, ERR_STATE, 0, "the sandbox is ending: it can't be captured");
}

/* A tracer that was killed has left the freezer as it stood at that moment. */
static void freezer_as_told(struct keeper *k)
{
	if (!k->capture->source.freeze)
		return;
	ignore_err(k->state == STATE_PAUSED ? source_freeze(k) : source_thaw(k),
		   "the next pause or resume says why");
}

/* Nobody would hear its end. What it held goes on when it is gone. */
static void tracer_abandon(struct keeper *k, struct fork_tracer *tracer)
{
	struct fork_capture got = {.image_fd = -EBADF};
	struct err ignored = ERR_INIT;

	kill(tracer->pid, SIGKILL);
	ignore_err(fork_tracer_finish(tracer, &got, &ignored), "it may have been ready");
	fork_capture_done(&got);
	freezer_as_told(k);
}

static void capture_over(struct keeper *k, struct source *s, uint32_t events)
{
	struct capture *cap = k->capture;
	struct fork_capture got;
	struct layer_header layer;
	struct err e = ERR_INIT;
	int fds[3], n = 2, r;

	(void)events;
	ignore_err(epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL), "finish closes it");
	s->fd = -EBADF;
	r = fork_tracer_finish(&cap->tracer, &got, &e);
	if (r < 0)
		freezer_as_told(k);
	if (r == 0)
		r = layer_header_read(cap->layer_fd, &layer, &e);
	if (r == 0)
		r = seal_layer(cap->layer_fd, &e);
	k->capture = NULL;
	if (r == 0 && cap->client) {
		fds[0] = got.image_fd;
		fds[1] = cap->layer_fd;
		if (k->box.slot_fd >= 0)
			fds[n++] = k->box.slot_fd;
		keeper_answer(k, cap->client, cap->request_id, describe(k, &got, &layer), fds, n);
		keeper_publish_event(k, "forked", NULL);
	} else if (cap->client) {
		blame_the_end(k, &e);
		keeper_refuse(k, cap->client, cap->request_id, &e);
	}
	/* what froze for the tracer dies only when it is let go, with a v1 freezer */
	if (k->state == STATE_STOPPING && can_freeze(k))
		ignore_err(source_thaw(k), "box_end tries again");
	keeper_commands_go(k);
	keeper_moves_go(k);
	fork_capture_done(&got);
	close_fd(&cap->layer_fd);
	json_decref(cap->request_id);
	free(cap);
}

void clone_forget_client(struct keeper *k, const struct conn *c)
{
	if (k->capture && k->capture->client == c)
		k->capture->client = NULL;
}

void clone_abandon(struct keeper *k)
{
	struct capture *cap = k->capture;
	struct err e = ERR_INIT;

	if (!cap || !cap->client)
		return;
	blame_the_end(k, &e);
	keeper_refuse(k, cap->client, cap->request_id, &e);
	cap->client = NULL;
}

int clone_checkpoint(struct keeper *k, struct conn *c, const json_t *id, struct err *e)
{
	struct capture *cap;
	int r;

	if ((k->state != STATE_RUNNING && k->state != STATE_PAUSED) || k->capture) {
		err_set(e, ERR_STATE, 0,
			k->capture ? "the sandbox is being captured already"
				   : "the sandbox is %s: it can't be captured",
			state_name(k->state));
		return -EBADFD;
	}
	if (k->main_over || k->held) {
		err_set(e, ERR_STATE, 0,
			k->held ? "the sandbox is starting: its main command does not run yet"
				: "the sandbox is ending: its main command has ended");
		return -EBADFD;
	}
	if (k->spec.root_rw)
		return err_set(e, ERR_UNFORKABLE, EOPNOTSUPP,
			       "the root is the directory '%s' itself (--root-rw): clones would "
			       "all write to it",
			       k->spec.root);
	r = profile_lets_fork(k->plan.plan, e);
	if (r < 0)
		return r;
	if (k->spec.ids_range)
		return err_set(e, ERR_UNFORKABLE, EOPNOTSUPP,
			       "processes of a range of ids (--ids range): a clone has one id and "
			       "no capability");
	cap = calloc(1, sizeof(*cap));
	if (!cap)
		return err_set(e, ERR_INTERNAL, ENOMEM, "capture the sandbox");
	cap->layer_fd = memfd_create("cleave-layer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cap->client = c;
	cap->request_id = json_incref((json_t *)id);
	cap->source = (struct fork_source){
		.init_pid = k->box.init_pid,
		.before_freeze = source_files_before,
		.at_freeze = source_files,
		.after_freeze = source_files_after,
		.arg = k,
		.main_pid = k->main_pid,
		.cpuset = k->plan.plan->facts & PLAN_CPUSET ? k->spec.cpuset : NULL,
		.terminal = k->spec.command.tty,
		.paused = k->state == STATE_PAUSED,
		.filters = 1 + !!k->plan.plan->profile_len};
	if (can_freeze(k)) {
		cap->source.freeze = source_freeze;
		cap->source.thaw = source_thaw;
	}
	k->capture = cap;
	r = cap->layer_fd < 0 ? err_set(e, ERR_HOST, errno, "make a memfd")
			      : fork_tracer_start(&cap->source, &cap->tracer, e);
	if (r == 0) {
		k->tracer = (struct source){cap->tracer.fd, capture_over};
		r = keeper_watch(k, &k->tracer, EPOLLIN, e);
		if (r < 0)
			tracer_abandon(k, &cap->tracer);
	}
	if (r < 0) {
		k->capture = NULL;
		close_fd(&cap->layer_fd);
		json_decref(cap->request_id);
		free(cap);
	}
	return r;
}
