/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may ask of a keeper: one row a method, one function each. docs/PROTOCOL.md is
 * normative. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "engine/clone.h"
#include "engine/exec_group.h"
#include "engine/frame.h"
#include "engine/host.h"
#include "engine/keeper.h"
#include "raw/syscall.h"

struct request {
	struct keeper *k;
	struct conn *c;
	const json_t *id, *params;
	int *fds;
	int n_fds;
};

/* ---- commands ---- */

/* Only pipes and null devices enter: a file, terminal or socket of the host would be reachable from
 * inside. */
static int check_stdio(const int *fds, int n, struct err *e)
{
	for (int i = 0; i < n; i++) {
		struct stat st;
		bool null;

		if (fstat(fds[i], &st) < 0)
			return err_set(e, ERR_PROTOCOL, errno, "look at descriptor %d", i);
		null = S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
		if (!S_ISFIFO(st.st_mode) && !null)
			return err_set(e, ERR_PROTOCOL, 0,
				       "descriptor %d is no pipe and not /dev/null", i);
	}
	return 0;
}

static int decode_spec(const struct request *q, struct spec *ret, struct err *e)
{
	const json_t *spec = json_object_get(q->params, "spec");

	if (!spec)
		return err_set(e, ERR_PROTOCOL, 0, "exec needs a spec");
	return spec_from_json(spec, ret, e);
}

/* An ordinary user's sandbox has one id: its commands are all that user. */
static int exec_user(const struct keeper *k, struct spec *spec, struct err *e)
{
	enum spec_user main = k->spec.command.user;

	if (k->host.root || k->spec.ids_range || spec->command.user == main)
		return 0;
	if (spec->command.user == SPEC_USER_ROOT)
		return err_set(e, ERR_SPEC, 0,
			       "--user root: this sandbox has one id, that of `user`");
	spec->command.user = main;
	return 0;
}

/* What the sandbox was started with holds for each command in it, unless the exec says more. */
static int exec_inherit(const struct keeper *k, struct spec *spec)
{
	const struct spec_command *main = &k->spec.command;
	struct spec_command *c = &spec->command;
	size_t own = c->env.n;
	int r = 0;

	spec->limits.nofile = k->spec.limits.nofile;
	spec->limits.fsize_bytes = k->spec.limits.fsize_bytes;
	spec->limits.stack_bytes = k->spec.limits.stack_bytes;
	if (spec->limits.cpu_time_ns == SPEC_UNSET)
		spec->limits.cpu_time_ns = k->spec.limits.cpu_time_ns;
	c->no_aslr |= main->no_aslr;
	/* init has kept root's capabilities only if the main command was root's */
	spec->ids_range = k->spec.ids_range && main->user == SPEC_USER_ROOT;
	if (!c->workdir && main->workdir) {
		c->workdir = strdup(main->workdir);
		r = c->workdir ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < main->env.n; i++) {
		size_t at = 0, len = strcspn(main->env.v[i], "=");

		while (at < own && strncmp(c->env.v[at], main->env.v[i], len + 1) != 0)
			at++;
		if (at == own)
			r = spec_strv_add(&c->env, main->env.v[i]);
	}
	return r;
}

static int exec_with(const struct request *q, struct spec *spec, struct err *e)
{
	struct keeper *k = q->k;
	struct command_state *c;
	int r;

	if (!spec->command.argv.n)
		return err_set(e, ERR_USAGE, 0, "there is no command to run");
	if (q->n_fds != (spec->command.tty ? 0 : 3))
		return err_set(e, ERR_PROTOCOL, 0,
			       "exec needs three descriptors, or none with a terminal");
	r = check_stdio(q->fds, q->n_fds, e);
	if (r == 0)
		r = exec_user(k, spec, e);
	if (r < 0)
		return r;
	c = keeper_command_new(k);
	if (!c)
		return err_set(e, ERR_STATE, EMFILE, "%d commands run already",
			       KEEPER_COMMANDS - 1);
	memcpy(c->result.layers, k->commands[0].result.layers, sizeof(c->result.layers));
	r = exec_group_plan(k, c, spec, e);
	if (r == 0 && exec_inherit(k, spec) < 0)
		r = err_set(e, ERR_INTERNAL, ENOMEM, "prepare the command");
	c->cmd = r < 0 ? NULL : plan_command(spec, &spec->command, &k->host, false, e);
	if (c->cmd) {
		c->cmd->rows = (uint16_t)json_integer_value(json_object_get(q->params, "rows"));
		c->cmd->cols = (uint16_t)json_integer_value(json_object_get(q->params, "cols"));
		for (int i = 0; i < q->n_fds; i++)
			keeper_own_pipe(k, q->fds[i]);
		r = keeper_command_start(k, c, q->fds, q->n_fds, e);
	}
	if (!c->cmd || r < 0) {
		free(c->cmd);
		*c = (struct command_state){0};
		return r < 0 ? r : -ENOMEM;
	}
	c->client = q->c;
	c->request_id = json_incref((json_t *)q->id);
	return 0;
}

/* Answered when the command has ended; "started" and "terminal" come before. */
static int method_exec(const struct request *q, struct err *e)
{
	struct spec spec;
	int r;

	if (q->k->state != STATE_RUNNING) {
		err_set(e, ERR_STATE, 0, "the sandbox is %s: no command can start",
			state_name(q->k->state));
		return -EBADFD;
	}
	r = decode_spec(q, &spec, e);
	if (r < 0)
		return r;
	r = exec_with(q, &spec, e);
	spec_done(&spec);
	return r;
}

/* The main command of a held sandbox, on the streams of this client, whose end is its end. */
static int method_run(const struct request *q, struct err *e)
{
	struct keeper *k = q->k;
	struct command_state *c = &k->commands[0];
	int r;

	if (!k->held) {
		err_set(e, ERR_STATE, 0, "the main command of this sandbox runs already");
		return -EBADFD;
	}
	if (q->n_fds != (k->spec.command.tty ? 0 : 3))
		return err_set(e, ERR_PROTOCOL, 0,
			       "run needs three descriptors, or none with a terminal");
	r = check_stdio(q->fds, q->n_fds, e);
	if (r < 0)
		return r;
	c->cmd = plan_command(&k->spec, &k->spec.command, &k->host, true, e);
	if (!c->cmd)
		return -ENOMEM;
	c->cmd->rows = (uint16_t)json_integer_value(json_object_get(q->params, "rows"));
	c->cmd->cols = (uint16_t)json_integer_value(json_object_get(q->params, "cols"));
	for (int i = 0; i < q->n_fds; i++)
		keeper_own_pipe(k, q->fds[i]);
	r = keeper_spawn_main(k, q->fds, e);
	if (r < 0)
		return r;
	k->held = false;
	k->kill_at = 0;
	keeper_await_start(k);
	c->client = q->c;
	c->request_id = json_incref((json_t *)q->id);
	q->c->bound = true;
	q->c->wait_id = json_incref((json_t *)q->id);
	return 0;
}

/* Answered at once with stdin (or the terminal's master), stdout and stderr; the end comes as an
 * event. */
static int method_attach(const struct request *q, struct err *e)
{
	struct keeper *k = q->k;
	int out[2] = {-1, -1}, err[2] = {-1, -1}, null = -1, fds[3], in;

	if (!k->has_main) {
		err_set(e, ERR_STATE, 0, "the sandbox idles: there is no main command");
		return -EBADFD;
	}
	in = k->master_fd >= 0 ? k->master_fd : k->main_in_fd;
	if (in < 0)
		in = null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (in < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return err_set(e, ERR_HOST, errno, "make pipes");
	fcntl(out[1], F_SETFL, O_WRONLY | O_NONBLOCK);
	fcntl(err[1], F_SETFL, O_WRONLY | O_NONBLOCK);
	close_fd(&q->c->out_fd[0]);
	close_fd(&q->c->out_fd[1]);
	q->c->out_fd[0] = out[1];
	q->c->out_fd[1] = err[1];
	if (k->output[0].fd < 0)
		close_fd(&q->c->out_fd[0]);
	if (k->output[1].fd < 0)
		close_fd(&q->c->out_fd[1]);
	fds[0] = in;
	fds[1] = out[0];
	fds[2] = err[0];
	json_decref(q->c->wait_id);
	q->c->wait_id = json_incref((json_t *)q->id);
	keeper_send(k, q->c,
		    json_pack("{s:s,s:O,s:b}", "event", "attached", "id", q->id, "tty",
			      k->master_fd >= 0),
		    fds, 3);
	close(out[0]);
	close(err[0]);
	close_fd(&null);
	return 0;
}

static int method_wait(const struct request *q, struct err *e)
{
	(void)e;
	json_decref(q->c->wait_id);
	q->c->wait_id = json_incref((json_t *)q->id);
	return 0;
}

/* ---- life ---- */

static int answer_event(const struct request *q, enum event ev, struct err *e)
{
	int r = keeper_event(q->k, ev, e);

	if (r == 0)
		keeper_answer(q->k, q->c, q->id, NULL, NULL, 0);
	return r;
}

static int move_now(const struct request *q, enum event ev, struct err *e)
{
	const json_t *grace = json_object_get(q->params, "grace_ns");
	uint64_t before = q->k->kill_at;
	int r;

	if (q->k->init_gone && ev != EVENT_STOP) {
		err_set(e, ERR_STATE, 0, "the sandbox is ending: nothing is left to %s",
			event_name(ev));
		return -EBADFD;
	}
	if (ev == EVENT_STOP && json_is_integer(grace) && json_integer_value(grace) >= 0)
		q->k->kill_at = raw_now_ns() + (uint64_t)json_integer_value(grace);
	r = answer_event(q, ev, e);
	if (r < 0)
		q->k->kill_at = before;
	return r;
}

/*
 * The tracer of a capture freezes and thaws as well, and leaves everything as it found it: a move
 * meanwhile would be undone, or take the tracees away. So it waits; a kill does not.
 */
static int move(const struct request *q, enum event ev, struct err *e)
{
	struct conn *c = q->c;

	if (!q->k->capture)
		return move_now(q, ev, e);
	if (c->move) {
		err_set(e, ERR_STATE, 0,
			"the sandbox is being captured, and your request to %s it waits already",
			event_name(c->move_event));
		return -EBADFD;
	}
	c->move = json_pack("{s:O,s:O?}", "id", q->id, "params", q->params);
	c->move_event = ev;
	return c->move ? 0 : err_set(e, ERR_INTERNAL, ENOMEM, "keep the request");
}

void keeper_moves_go(struct keeper *k)
{
	for (size_t i = 0; i < KEEPER_CONNS; i++) {
		struct conn *c = &k->conns[i];
		json_t *o = c->move;
		struct request q = {k,    c, json_object_get(o, "id"), json_object_get(o, "params"),
				    NULL, 0};
		struct err e = ERR_INIT;

		if (!o)
			continue;
		c->move = NULL;
		if (move_now(&q, c->move_event, &e) < 0)
			keeper_refuse(k, c, q.id, &e);
		json_decref(o);
	}
}

static int method_pause(const struct request *q, struct err *e)
{
	return move(q, EVENT_PAUSE, e);
}

static int method_resume(const struct request *q, struct err *e)
{
	return move(q, EVENT_RESUME, e);
}

static int method_stop(const struct request *q, struct err *e)
{
	return move(q, EVENT_STOP, e);
}

static int method_kill(const struct request *q, struct err *e)
{
	int signo = (int)json_integer_value(json_object_get(q->params, "signal"));
	int r;

	if (signo < 1 || signo > 64)
		return err_set(e, ERR_USAGE, 0, "%d is no signal", signo);
	if (signo == SIGKILL || !q->k->has_main)
		return answer_event(q, EVENT_KILL, e);
	r = box_signal(&q->k->box, MAIN_ID, signo, false);
	if (r < 0)
		return err_set(e, ERR_KEEPER, r, "send the signal");
	keeper_answer(q->k, q->c, q->id, NULL, NULL, 0);
	return 0;
}

/* A signal to a command of this very connection. */
static int method_signal(const struct request *q, struct err *e)
{
	int signo = (int)json_integer_value(json_object_get(q->params, "signal"));
	bool group = json_is_true(json_object_get(q->params, "group"));

	if (signo < 1 || signo > 64)
		return err_set(e, ERR_USAGE, 0, "%d is no signal", signo);
	for (size_t i = 1; i < KEEPER_COMMANDS; i++)
		if (q->k->commands[i].used && q->k->commands[i].client == q->c)
			keeper_command_signal(q->k, &q->k->commands[i], signo, group);
	if (q->c->wait_id) {
		q->k->commands[0].end.killed |= signo == SIGKILL && !q->k->main_over;
		box_signal(&q->k->box, MAIN_ID, signo, group);
	}
	keeper_answer(q->k, q->c, q->id, NULL, NULL, 0);
	return 0;
}

/* ---- looking ---- */

static int method_inspect(const struct request *q, struct err *e)
{
	(void)e;
	keeper_answer(q->k, q->c, q->id, keeper_describe(q->k), NULL, 0);
	return 0;
}

static json_t *number(uint64_t v)
{
	return v > INT64_MAX ? json_null() : json_integer((json_int_t)v);
}

static int method_stats(const struct request *q, struct err *e)
{
	struct cgroup_stats s;

	(void)e;
	cgroup_stats_read(&q->k->box.cgroup, &s);
	keeper_answer(q->k, q->c, q->id,
		      json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", q->k->journal.id,
				"memory_bytes", number(s.memory_bytes), "memory_peak_bytes",
				number(s.memory_peak_bytes), "oom_kills", number(s.oom_kills),
				"pids", number(s.pids), "pids_peak", number(s.pids_peak),
				"cpu_user_ns", number(s.cpu_user_ns), "cpu_system_ns",
				number(s.cpu_system_ns)),
		      NULL, 0);
	return 0;
}

static int method_events(const struct request *q, struct err *e)
{
	(void)e;
	q->c->subscribed = true;
	keeper_answer(q->k, q->c, q->id, NULL, NULL, 0);
	return 0;
}

/* The root of the sandbox, for cp: the client opens below it, in the root. */
static int method_root(const struct request *q, struct err *e)
{
	struct keeper *k = q->k;

	if (k->box.root_fd < 0)
		return err_set(e, ERR_STATE, 0, "the sandbox has no root any more");
	keeper_answer(k, q->c, q->id,
		      json_pack("{s:I,s:I}", "uid",
				(json_int_t)(k->host.root ? k->box.id_base + k->plan.plan->uid
							  : k->host.uid),
				"gid",
				(json_int_t)(k->host.root ? k->box.id_base + k->plan.plan->gid
							  : k->host.gid)),
		      &k->box.root_fd, 1);
	return 0;
}

/* Answered when the capture is over. */
static int method_checkpoint(const struct request *q, struct err *e)
{
	return clone_checkpoint(q->k, q->c, q->id, e);
}

static int method_hello(const struct request *q, struct err *e)
{
	(void)e;
	keeper_answer(q->k, q->c, q->id,
		      json_pack("{s:s,s:i}", "version", CLEAVE_VERSION, "protocol", FRAME_VERSION),
		      NULL, 0);
	return 0;
}

static const struct {
	const char *name;
	int (*call)(const struct request *q, struct err *e); /* answers itself, or fails */
} methods[] = {
	{"hello", method_hello},   {"exec", method_exec},       {"run", method_run},
	{"attach", method_attach}, {"wait", method_wait},       {"pause", method_pause},
	{"resume", method_resume}, {"stop", method_stop},       {"kill", method_kill},
	{"signal", method_signal}, {"inspect", method_inspect}, {"stats", method_stats},
	{"events", method_events}, {"root", method_root},       {"checkpoint", method_checkpoint},
};

void keeper_request(struct keeper *k, struct conn *c, json_t *o, int *fds, int n)
{
	const char *name = json_string_value(json_object_get(o, "method"));
	struct request q = {k, c, json_object_get(o, "id"), json_object_get(o, "params"), fds, n};
	struct err e = ERR_INIT;
	int r = -ENOSYS;

	if (!json_is_integer(q.id) && !json_is_string(q.id)) {
		r = err_set(&e, ERR_PROTOCOL, 0, "a request needs an id");
	} else if (q.params && !json_is_object(q.params)) {
		r = err_set(&e, ERR_PROTOCOL, 0, "params have to be an object");
	} else {
		for (size_t i = 0; name && i < ARRAY_LEN(methods); i++)
			if (strcmp(name, methods[i].name) == 0)
				r = methods[i].call(&q, &e);
		if (r == -ENOSYS)
			err_set(&e, ERR_PROTOCOL, 0, "there is no such method");
	}
	if (r < 0)
		keeper_refuse(k, c, q.id, &e);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	json_decref(o);
}
