/* SPDX-License-Identifier: Apache-2.0 */
/* The actions of state.def, and what a keeper tells about its sandbox. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "engine/deadline.h"
#include "engine/exec_group.h"
#include "engine/keeper.h"
#include "raw/syscall.h"

#define STOP_GRACE_NS UINT64_C(10000000000)

uint64_t keeper_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int action_stay(struct keeper *k, struct err *e)
{
	(void)k;
	(void)e;
	return 0;
}

int action_announce(struct keeper *k, struct err *e)
{
	(void)e;
	k->started_ns = keeper_clock_ns();
	if (k->spec.ttl_ns != SPEC_UNSET)
		k->ttl_at = raw_now_ns() + k->spec.ttl_ns;
	/* a clone has what was left to its source, clone_go */
	if (k->has_main && k->spec.limits.timeout_ns != SPEC_UNSET && !k->lineage)
		k->deadline_at = raw_now_ns() + DEADLINE_BACKUP_NS +
				 spec_kill_ns(&k->spec.limits, k->spec.limits.timeout_ns);
	cpu_watch_start(&k->cpu, &k->box.cgroup,
			spec_kill_ns(&k->spec.limits, k->spec.limits.cpu_time_ns),
			k->host.processors);
	return 0;
}

static bool has_freezer(const struct keeper *k)
{
	for (int i = 0; i < k->box.cgroup.dir_n; i++)
		if (k->box.cgroup.dir[i].ctls & CGROUP_BIT(CGROUP_FREEZER))
			return true;
	return false;
}

int action_freeze(struct keeper *k, struct err *e)
{
	struct err ignored = ERR_INIT;
	int r;

	if (!has_freezer(k)) {
		r = box_signal(&k->box, 0, SIGSTOP, false);
		return r < 0 ? err_set(e, ERR_KEEPER, r, "stop the processes inside") : 0;
	}
	r = cgroup_freeze(&k->box.cgroup, KEEPER_FREEZE_NS, e);
	if (r < 0)
		ignore_err(cgroup_thaw(&k->box.cgroup, KEEPER_FREEZE_NS, &ignored),
			   "what was asked is undone");
	return r;
}

int action_thaw(struct keeper *k, struct err *e)
{
	int r;

	if (has_freezer(k))
		return cgroup_thaw(&k->box.cgroup, KEEPER_FREEZE_NS, e);
	r = box_signal(&k->box, 0, SIGCONT, false);
	return r < 0 ? err_set(e, ERR_KEEPER, r, "continue the processes inside") : 0;
}

int action_kill_everything(struct keeper *k, struct err *e)
{
	(void)e;
	k->commands[0].end.killed |= !k->main_over;
	if (k->box.pidfd >= 0)
		SYS4(SYS_pidfd_send_signal, k->box.pidfd, SIGKILL, 0, 0);
	if ((k->state == STATE_PAUSED || k->capture) && has_freezer(k)) {
		struct err ignored = ERR_INIT;

		/* a task that a v1 freezer holds dies only when it is let go */
		ignore_err(cgroup_thaw(&k->box.cgroup, KEEPER_FREEZE_NS, &ignored),
			   "box_end tries again");
	}
	return 0;
}

int action_terminate(struct keeper *k, struct err *e)
{
	if (!k->has_main)
		return action_kill_everything(k, e);
	if (!k->kill_at)
		k->kill_at = raw_now_ns() + STOP_GRACE_NS;
	if (box_signal(&k->box, MAIN_ID, SIGTERM, false) < 0)
		return action_kill_everything(k, e);
	return 0;
}

int action_thaw_and_terminate(struct keeper *k, struct err *e)
{
	int r = action_thaw(k, e);

	return r < 0 ? r : action_terminate(k, e);
}

static void write_result(struct keeper *k)
{
	struct command_state *c = &k->commands[0];
	AUTO_FREE char *text = NULL;
	struct err ignored = ERR_INIT;

	if (!k->has_main) {
		c->result.status = RESULT_EXITED;
		c->result.exit_code = 0;
	} else {
		/* nobody told how it ended: it was killed with init */
		if (!c->end.usage.wall_ns && c->end.started)
			c->end.wait_status = SIGKILL;
		c->end.oom_kills_elsewhere = exec_group_oom_kills(k);
		c->end.survives_oom = true;
		settle_figures(&c->result, &k->box.cgroup, &c->end);
		settle_result(&c->result, &c->end);
	}
	result_settle(&c->result);
	text = result_encode(&c->result);
	if (text)
		ignore_err(registry_write(k->journal.dir_fd, "result.json", text, &ignored),
			   "the disk may be full");
}

int action_finish(struct keeper *k, struct err *e)
{
	int r;

	write_result(k);
	for (size_t i = 1; i < KEEPER_COMMANDS; i++)
		if (k->commands[i].used) {
			struct command_state *c = &k->commands[i];

			c->end.wait_status = SIGKILL;
			if (!c->end.started && !c->result.error.id)
				err_set(&c->result.error, ERR_STATE, 0,
					"the sandbox has ended while the command was starting");
			keeper_command_end(k, c);
		}
	keeper_unwatch(k, &k->init);
	k->box.sock_fd = -EBADF; /* closed with the source */
	if (k->oom.fd >= 0)
		cgroup_oom_close(&k->oom);
	k->oom_source.fd = -EBADF;
	r = box_end(&k->box, e);
	if (r < 0)
		return r;
	journal_clear(&k->journal);
	unlinkat(k->journal.dir_fd, "control.sock", 0);
	return 0;
}

/* ---- description ---- */

static json_t *string_list(const struct spec_strv *v)
{
	json_t *a = json_array();

	for (size_t i = 0; i < v->n; i++) {
		json_t *s = json_string(v->v[i]);

		json_array_append_new(a, s ? s : json_string("(not UTF-8)"));
	}
	return a;
}

static json_t *label_object(const struct spec_strv *v)
{
	json_t *o = json_object();

	for (size_t i = 0; i < v->n; i++) {
		const char *eq = strchr(v->v[i], '=');
		AUTO_FREE char *key =
			eq ? strndup(v->v[i], (size_t)(eq - v->v[i])) : strdup(v->v[i]);

		if (key)
			json_object_set_new(o, key, json_string(eq ? eq + 1 : ""));
	}
	return o;
}

json_t *keeper_describe(const struct keeper *k)
{
	const struct result *res = &k->commands[0].result;
	bool over = k->state == STATE_EXITED;
	json_t *o = json_pack(
		"{s:i,s:s,s:o,s:s,s:i,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:O?,s:I}", "version", 1, "id",
		k->journal.id, "name", k->spec.name ? json_string(k->spec.name) : json_null(),
		"state", state_name(k->state), "keeper_pid", (int)getpid(), "init_pid",
		over ? json_null() : json_integer(k->box.init_pid), "created",
		(json_int_t)k->created_ns, "started", (json_int_t)k->started_ns, "labels",
		label_object(&k->spec.labels), "command", string_list(&k->spec.command.argv),
		"limits", result_limits(res), "layers", result_layers(res), "lineage",
		k->lineage ? k->lineage : json_null(), "oom_kills", (json_int_t)k->oom_seen);

	if (o && over) {
		json_object_set_new(o, "status", json_string(result_status_name(res->status)));
		json_object_set_new(o, "exit_code",
				    res->exit_code < 0 ? json_null()
						       : json_integer(res->exit_code));
		json_object_set_new(o, "cleave_status", json_integer(res->cleave_status));
	}
	return o;
}

int keeper_publish(struct keeper *k, struct err *e)
{
	json_t *o = keeper_describe(k);
	AUTO_FREE char *text = o ? whole_json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text ? registry_write(k->journal.dir_fd, "state.json", text, e) : -ENOMEM;
}
