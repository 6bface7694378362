/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of a sandbox as its keeper knows them, and what init says about them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/exec_group.h"
#include "engine/keeper.h"
#include "raw/syscall.h"

void keeper_tell_starter(struct keeper *k, const struct err *failure)
{
	struct keeper_report r = {
		.index = k->index, .times = k->times, .error = failure ? *failure : ERR_INIT};

	if (k->report_fd < 0)
		return;
	snprintf(r.id, sizeof(r.id), "%s", k->journal.id);
	r.told_ns = raw_now_ns();
	if (write(k->report_fd, &r, sizeof(r)) != (ssize_t)sizeof(r) && !failure) {
		struct err ignored = ERR_INIT;

		/* nobody would ever know its id: it ends as if it had not begun */
		err_set(&k->failure, ERR_STATE, EPIPE, "tell whoever started it");
		ignore_err(keeper_event(k, EVENT_KILL, &ignored), "it may be ending already");
	}
	close_fd(&k->report_fd);
}

struct command_state *keeper_command_new(struct keeper *k)
{
	for (size_t i = 1; i < KEEPER_COMMANDS; i++) {
		struct command_state *c = &k->commands[i];

		if (c->used)
			continue;
		*c = (struct command_state){.used = true, .id = k->next_id++};
		result_init(&c->result);
		return c;
	}
	return NULL;
}

static void drop_waiting(struct command_state *c)
{
	for (int i = 0; c->waits && i < 3; i++)
		close_fd(&c->fds[i]);
	c->waits = false;
}

int keeper_command_start(struct keeper *k, struct command_state *c, const int *fds, int n,
			 struct err *e)
{
	if (!k->capture)
		return exec_group_spawn(k, c, fds, e);
	for (int i = 0; i < 3; i++)
		c->fds[i] = -EBADF;
	c->waits = true;
	for (int i = 0; i < n; i++) {
		c->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (c->fds[i] < 0) {
			int code = errno;

			drop_waiting(c);
			return err_set(e, ERR_HOST, code, "keep the command's descriptors");
		}
	}
	return 0;
}

void keeper_commands_go(struct keeper *k)
{
	for (size_t i = 1; i < KEEPER_COMMANDS; i++) {
		struct command_state *c = &k->commands[i];
		struct err e = ERR_INIT;

		if (!c->used || !c->waits)
			continue;
		if (exec_group_spawn(k, c, c->fds, &e) < 0) {
			c->result.error = e;
			c->result.status = RESULT_SETUP_ERROR;
			keeper_command_end(k, c);
			continue;
		}
		drop_waiting(c);
	}
}

/* A command that waits for the end of a capture dies of what its program would die of: init does
 * not know it yet. */
void keeper_command_signal(struct keeper *k, struct command_state *c, int signo, bool group)
{
	if (!c->waits) {
		box_signal(&k->box, c->id, signo, group);
		return;
	}
	if (signo != SIGKILL && signo != SIGTERM && signo != SIGINT && signo != SIGHUP &&
	    signo != SIGQUIT)
		return;
	c->end.started = true;
	c->end.wait_status = signo;
	keeper_command_end(k, c);
}

struct command_state *keeper_command_find(struct keeper *k, uint32_t id)
{
	for (size_t i = 0; i < KEEPER_COMMANDS; i++)
		if (k->commands[i].used && k->commands[i].id == id)
			return &k->commands[i];
	return NULL;
}

void keeper_command_end(struct keeper *k, struct command_state *c)
{
	drop_waiting(c);
	exec_group_end(k, c);
	settle_result(&c->result, &c->end);
	result_settle(&c->result);
	if (c->client)
		keeper_answer(k, c->client, c->request_id, result_json(&c->result), NULL, 0);
	json_decref(c->request_id);
	free(c->cmd);
	result_done(&c->result);
	*c = (struct command_state){0};
}

static void command_started(struct keeper *k, struct command_state *c, int pid)
{
	struct err late = ERR_INIT;

	/* told once more, it would set the clocks back */
	if (c->end.started)
		return;
	c->end.started = true;
	if (c->id == MAIN_ID) {
		k->main_pid = pid;
		box_unpin(&k->box);
		if (keeper_event(k, EVENT_READY, &late) == 0)
			keeper_tell_starter(k, NULL);
		return;
	}
	exec_group_started(k, c);
	if (c->client)
		keeper_send(k, c->client,
			    json_pack("{s:s,s:O?,s:i}", "event", "started", "id", c->request_id,
				      "pid", pid),
			    NULL, 0);
}

static void command_refused(struct keeper *k, struct command_state *c, const struct wire_reply *m)
{
	/* what has started, or was never asked for (a clone's main command), is refused by nobody
	 * but an init that is not ours any more */
	if (c->end.started || !c->cmd)
		return;
	box_fault(k->plan.plan, c->cmd, &m->fault, &c->result.error);
	settle_hint(&c->result.error, plan_text(c->cmd, ((const uint32_t *)((const char *)c->cmd +
									    c->cmd->argv))[0]));
	c->result.status = RESULT_SETUP_ERROR;
	if (c->id == MAIN_ID) {
		k->failure = c->result.error;
		k->main_over = true;
	} else {
		keeper_command_end(k, c);
	}
}

static void command_terminal(struct keeper *k, struct command_state *c, int *fd)
{
	if (*fd < 0)
		return;
	if (c->id == MAIN_ID && !c->client) {
		if (k->master_fd < 0 && k->spec.command.tty)
			keeper_main_terminal(k, take_fd(fd));
		return;
	}
	if (c->client)
		keeper_send(k, c->client,
			    json_pack("{s:s,s:O?}", "event", "terminal", "id", c->request_id), fd,
			    1);
}

void keeper_take_reply(struct keeper *k, const struct wire_reply *m, int *fd)
{
	struct command_state *c = keeper_command_find(k, m->id);

	if (!c)
		return;
	switch (m->op) {
	case WIRE_TERMINAL:
		command_terminal(k, c, fd);
		break;
	case WIRE_TRACE:
		box_trace(m, &c->result);
		break;
	case WIRE_STARTED:
		command_started(k, c, m->pid);
		break;
	case WIRE_REFUSED:
		command_refused(k, c, m);
		break;
	case WIRE_TIMEOUT:
		c->end.timed_out = true;
		exec_group_kill(c);
		break;
	case WIRE_CPU_OVER:
		c->end.cpu_over = true;
		break;
	case WIRE_EXITED:
		c->end.wait_status = m->status;
		c->end.usage = m->usage;
		c->end.started = true;
		if (c->id == MAIN_ID)
			k->main_over = true;
		else
			keeper_command_end(k, c);
		break;
	default:
		break;
	}
}
