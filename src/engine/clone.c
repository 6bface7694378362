/* SPDX-License-Identifier: Apache-2.0 */
/* The clone's side of a fork: what its keeper does other than one that starts a command. */
#include "engine/clone.h"

#include <fcntl.h>
#include <linux/securebits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include "base/cleanup.h"
#include "engine/deadline.h"
#include "engine/host.h"
#include "engine/layer.h"
#include "fork/carriers.h"
#include "fork/confine.h"
#include "fork/fork.h"
#include "raw/syscall.h"

#define TERMINAL_MS 10000

/* The limits of each process that the source had by its spec. */
static int source_limits(const struct spec *spec, const struct plan_host *host,
			 const struct plan *plan, const json_t *meta, struct fork_confine *to,
			 struct err *e)
{
	const json_t *had = json_object_get(meta, "source_limits");
	struct spec source = *spec; /* refers to what spec owns */
	struct fork_confine confine;
	struct cmd *cmd;

	if (!had)
		return 0;
	source.limits.nofile = (uint64_t)json_integer_value(json_object_get(had, "nofile"));
	source.limits.fsize_bytes = (uint64_t)json_integer_value(json_object_get(had, "fsize"));
	source.limits.stack_bytes = (uint64_t)json_integer_value(json_object_get(had, "stack"));
	cmd = plan_command(&source, &source.command, host, true, e);
	if (!cmd)
		return -EINVAL;
	fork_confine_from(plan, cmd, &confine);
	memcpy(to->source_rlimit, confine.rlimit, sizeof(to->source_rlimit));
	to->source_rlimit_mask = confine.rlimit_mask;
	free(cmd);
	return 0;
}

int clone_make_plan(const struct spec *spec, const struct plan_host *host,
		    const struct clone_parts *parts, struct err *e)
{
	struct fork_confine confine;
	struct plan_bytes bytes = {0};
	struct fork_image image;
	struct fork_plan plan = {.fd = -EBADF};
	struct result report;
	struct cmd *cmd = NULL;
	char fail[64];
	int r;

	result_init(&report);
	r = plan_make(spec, host, &bytes, &report, e);
	if (r == 0)
		cmd = plan_command(spec, &spec->command, host, true, e);
	if (r == 0 && cmd)
		r = fork_image_open(parts->image_fd, &image, e);
	if (r == 0 && cmd) {
		fork_confine_from(bytes.plan, cmd, &confine);
		r = source_limits(spec, host, bytes.plan, parts->meta, &confine, e);
		snprintf(fail, sizeof(fail), "%s:%d", host->test_fail ? host->test_fail : "-",
			 host->test_errno);
		if (r == 0)
			r = fork_plan_make(&image, &confine, fail, &plan, e);
		fork_image_close(&image);
	}
	free(cmd);
	plan_free(&bytes);
	result_done(&report);
	return r < 0 ? r : plan.fd;
}

/*
 * The clone's tmpfs belongs to its user namespace, where host root has no id: what is made there
 * must be made by an id of the slot. Without the fix-up a change of the file system id keeps the
 * rights to set owners.
 */
static int become_slot(const struct keeper *k, struct err *e)
{
	if (!k->host.root)
		return 0;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return err_set(e, ERR_HOST, errno, "keep the rights over files");
	setfsgid(k->box.id_base);
	setfsuid(k->box.id_base);
	return 0;
}

static int fill(void *arg, int root_fd, struct err *e)
{
	struct keeper *k = ((void **)arg)[0];
	const struct clone_parts *parts = ((void **)arg)[1];
	uint32_t base = (uint32_t)json_integer_value(json_object_get(parts->meta, "id_base"));
	struct layer_owner owner = {k->host.root, (int64_t)k->box.id_base - base};
	int r = become_slot(k, e);

	if (r == 0 && !carrier_off(CARRIER_FILES))
		r = layer_fill(parts->layer_fd, root_fd, owner, e);
	if (k->host.root) {
		setfsuid(geteuid());
		setfsgid(getegid());
	}
	return r;
}

/*
 * What --file brought into a writable place comes with the layer, as it is by now; the host's file
 * may have changed or gone since, or the sandbox has removed its copy.
 */
static void drop_copies(struct plan *p)
{
	struct plan_entry *x = (struct plan_entry *)plan_entries(p);
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n_entries; i++)
		if (x[i].group != PLAN_COPIES || !layer_has_copy(p, &x[i]))
			x[n++] = x[i];
	p->n_entries = n;
}

int clone_launch(struct keeper *k, const struct clone_parts *parts, struct err *e)
{
	void *fill_arg[] = {k, (void *)parts};
	struct box_restore restore = {.plan_fd = parts->plan_fd,
				      .image_fd = parts->image_fd,
				      .exe_fd = parts->exe_fd,
				      .fds = {-EBADF, -EBADF, -EBADF},
				      .fill = fill,
				      .arg = fill_arg};
	int r;

	k->lineage = json_incref(json_object_get(parts->meta, "lineage"));
	k->main_pid = (int)json_integer_value(json_object_get(parts->meta, "main_pid"));
	k->has_main = k->main_pid > 0;
	k->box.id_base = (uint32_t)json_integer_value(json_object_get(parts->meta, "id_base"));
	k->host.generation =
		(unsigned)json_integer_value(json_object_get(k->lineage, "generation"));
	if (carrier_off(CARRIER_IDENTITY)) {
		const char *name = json_string_value(json_object_get(parts->meta, "name"));

		k->host.generation = 0;
		k->spec.hostname = name ? strdup(name) : NULL;
	}
	r = keeper_plan(k, PLAN_RESTORE, e);
	if (r == 0) {
		drop_copies(k->plan.plan);
		r = layer_copies_load(parts->layer_fd, k->plan.plan, e);
	}
	if (r == 0)
		r = keeper_main_stdio(k, restore.fds, e);
	/* with a terminal there are no pipes; what an exec left behind gets nothing */
	for (int i = 0; r == 0 && i < 3; i++)
		if (restore.fds[i] < 0) {
			restore.fds[i] = open("/dev/null", (i ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
			r = restore.fds[i] < 0 ? err_set(e, ERR_HOST, errno, "open /dev/null") : 0;
		}
	if (r == 0)
		r = keeper_launch(k, &restore, parts->slot_fd, k->box.id_base, e);
	for (int i = 0; i < 3; i++)
		close_fd(&restore.fds[i]);
	/* what the clone needs of them is mapped or copied; a keeper must not hold 1 GB for its
	 * life */
	close(parts->image_fd);
	close(parts->layer_fd);
	close(parts->plan_fd);
	close(parts->exe_fd);
	k->times.root_at = k->box.root_at;
	k->times.filled_at = k->box.filled_at;
	k->times.open_ns = k->box.restored.open_ns;
	k->times.spawn_ns = k->box.restored.spawn_ns;
	k->times.map_ns = k->box.restored.map_ns;
	/* the slot of a snapshot's clone is known only now */
	for (int i = 0; r == 0 && i < 2; i++)
		keeper_own_pipe(k, k->output[i].fd);
	return r;
}

/* Who attaches must find the terminal: the first that init says after ADOPT. */
static int take_terminal(struct keeper *k)
{
	struct pollfd p = {k->box.sock_fd, POLLIN, 0};
	struct wire_reply m;
	int fd, r = poll(&p, 1, TERMINAL_MS);

	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	r = box_receive(&k->box, &m, &fd);
	if (r > 0)
		keeper_take_reply(k, &m, &fd);
	close_fd(&fd);
	return r > 0 ? 0 : r < 0 ? r : -EPIPE;
}

int clone_go(struct keeper *k, const struct clone_parts *parts, struct err *e)
{
	uint64_t left =
		(uint64_t)json_integer_value(json_object_get(parts->meta, "timeout_left_ns"));
	struct box_adoption main_command = {.id = MAIN_ID,
					    .inside = k->main_pid,
					    .main_command = true,
					    .processors = k->host.processors};
	int r = 0;

	if (k->spec.limits.timeout_ns != SPEC_UNSET && !left)
		left = spec_kill_ns(&k->spec.limits, k->spec.limits.timeout_ns);
	main_command.timeout_ns = left;
	/* a clone is a sandbox of its own: its processes begin to count anew, and so does its
	 * budget */
	if (k->spec.limits.cpu_time_ns != SPEC_UNSET && !k->host.cpu_time.version)
		main_command.cpu_time_ns =
			spec_kill_ns(&k->spec.limits, k->spec.limits.cpu_time_ns);
	if (k->has_main) {
		k->commands[0].end.started = true;
		r = box_adopt(&k->box, &main_command);
		if (r == 0 && k->spec.command.tty)
			r = take_terminal(k);
	}
	if (r < 0)
		return err_set(e, ERR_LAUNCH, r, "make the clone's command known");
	/* all stand at the gate with every signal blocked: it is pending before the first
	 * instruction, so that no number is drawn from a generator that the program would reseed */
	if (k->has_main && k->spec.fork_signal)
		r = box_signal(&k->box, MAIN_ID, (int)k->spec.fork_signal, false);
	if (r < 0)
		return err_set(e, ERR_LAUNCH, r, "send the clone its signal");
	r = box_resume(&k->box);
	if (r < 0)
		return err_set(e, ERR_LAUNCH, r, "let the clone go");
	/* without a command it idles, as its source does */
	if (left && k->has_main)
		k->deadline_at = raw_now_ns() + left + DEADLINE_BACKUP_NS;
	box_unpin(&k->box);
	return 0;
}
