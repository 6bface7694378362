/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes that live: the public calls over the control socket and the state directory. */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/client.h"
#include "engine/force.h"
#include "engine/frame.h"
#include "engine/keeper.h"
#include "engine/output.h"
#include "engine/sigpipe.h"
#include "engine/stream.h"
#include "lib/keepers.h"
#include "lib/lib.h"
#include "raw/syscall.h"

/* How long a keeper may take: to answer, which is a matter of milliseconds unless it is busy with
 * the kernel (freezing, removing cgroups), and to end. */
#define ANSWER_LOOK_MS 500
#define ANSWER_MS 15000
#define END_NS UINT64_C(20000000000)

EXPORT int cleave_start(const cleave_spec *spec, char **ret_id)
{
	struct err *e = lib_error();
	AUTO_FREE char *id = calloc(1, REGISTRY_ID); /* nothing can fail once it runs */
	int r = lib_spec_ready(spec, e);

	if (r == 0 && !id)
		r = err_set(e, ERR_INTERNAL, ENOMEM, "get room for the id");
	if (r == 0)
		r = start_keeper(&spec->s, false, id, e);
	if (r < 0)
		return r;
	if (ret_id) {
		*ret_id = id;
		id = NULL;
	}
	return 0;
}

static struct stream_io stream_io(const struct cleave_io *io)
{
	return (struct stream_io){io->stdin_fd, io->stdout_fd, io->stderr_fd,
				  io->forward_signals != 0};
}

static int new_result(cleave_result **ret, struct err *e)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return err_set(e, ERR_INTERNAL, ENOMEM, "make a result");
	result_init(&(*ret)->r);
	return 0;
}

static int give_result(cleave_result *res, int r, cleave_result **ret)
{
	if (r != 0) { /* 1: detached, there is no result yet */
		cleave_result_free(res);
		*ret = NULL;
		return r < 0 ? r : 0;
	}
	lib_result_message(res);
	*ret = res;
	return 0;
}

EXPORT int cleave_exec(const char *name, const cleave_spec *spec, const struct cleave_io *io,
		       cleave_result **ret)
{
	struct err *e = lib_error();
	struct stream_io s = stream_io(io);
	cleave_result *res;
	int r = spec_check((struct spec *)&spec->s, e);

	if (r == 0)
		r = new_result(&res, e);
	if (r < 0)
		return r;
	return give_result(res, stream_exec(name, &spec->s, &s, &res->r, e), ret);
}

EXPORT int cleave_attach(const char *name, const struct cleave_io *io, cleave_result **ret)
{
	struct err *e = lib_error();
	struct stream_io s = stream_io(io);
	cleave_result *res;
	int r = new_result(&res, e);

	return r < 0 ? r : give_result(res, stream_attach(name, &s, &res->r, e), ret);
}

/* The record of a sandbox whose keeper has gone in peace. */
static int stored_result(const char *name, struct result *ret, struct err *e)
{
	char id[REGISTRY_ID];
	AUTO_FD int dir = registry_open_name(name, id, e);
	AUTO_FREE char *text = NULL;
	json_t *o;
	int r;

	if (dir < 0)
		return dir;
	text = registry_read(dir, "result.json");
	if (!text && errno != ENOENT)
		return err_set(e, ERR_HOST, errno, "read the result of '%s'", name);
	o = text ? json_loads(text, 0, NULL) : NULL;
	if (!o) {
		err_hint(e, "`cleave gc` removes what it left");
		err_set(e, ERR_KEEPER, 0,
			"the keeper of '%s' was killed: nobody knows how it ended", name);
		return -EPIPE;
	}
	r = client_result(o, ret, e);
	json_decref(o);
	return r;
}

/* 1: there is something to receive; 0: not until the time was over (raw_now_ns, 0: for ever). A
 * signal handler of the caller's program is no answer. */
static int wait_readable(int fd, uint64_t until_ns)
{
	struct pollfd p = {fd, POLLIN, 0};
	int r, ms = -1;

	do {
		uint64_t now = raw_now_ns();

		if (until_ns)
			ms = until_ns <= now ? 0 : (int)((until_ns - now + 999999) / 1000000);
		r = poll(&p, 1, ms);
	} while (r < 0 && errno == EINTR);
	return r != 0;
}

static int wait_answer(struct client *c, uint64_t timeout_ns, struct result *ret, struct err *e)
{
	bool bounded = timeout_ns <= (uint64_t)INT32_MAX * 1000000;
	uint64_t until = bounded ? raw_now_ns() + timeout_ns : 0;
	int fds[FRAME_FDS], n = 0, r;
	json_t *o = NULL;

	r = client_send(c, "wait", json_object(), NULL, 0, e);
	if (r < 0)
		return r;
	if (!wait_readable(c->fd, until)) {
		err_set(e, ERR_STATE, ETIMEDOUT, "wait for the end");
		return -ETIMEDOUT;
	}
	r = client_receive(c, &o, fds, &n, e);
	while (n > 0)
		close(fds[--n]);
	if (r == 1)
		r = client_result(o, ret, e);
	json_decref(o);
	return r;
}

EXPORT int cleave_wait(const char *name, uint64_t timeout_ns, cleave_result **ret)
{
	struct err *e = lib_error();
	cleave_result *res;
	struct client c;
	bool exited;
	int r = new_result(&res, e);

	if (r < 0)
		return r;
	r = client_open(name, &c, &exited, e);
	if (r == 0)
		r = wait_answer(&c, timeout_ns, &res->r, e);
	client_close(&c);
	/* it ended between our look and our question, or long before */
	if (r == -EPIPE) {
		*e = ERR_INIT;
		r = stored_result(name, &res->r, e);
	}
	return give_result(res, r, ret);
}

static int call(const char *name, const char *method, json_t *params)
{
	return client_call(name, method, params, NULL, lib_error());
}

EXPORT int cleave_pause(const char *name)
{
	return call(name, "pause", json_object());
}

EXPORT int cleave_resume(const char *name)
{
	return call(name, "resume", json_object());
}

/* An answer, or -ETIMEDOUT: at once when the keeper is stopped, else after a time in which a busy
 * one would have given it. */
static int answer_within(struct client *c, struct err *e)
{
	int fds[FRAME_FDS], n = 0, r, stopped = 0;
	json_t *o = NULL;

	for (int waited = 0;
	     !wait_readable(c->fd, raw_now_ns() + UINT64_C(1000000) * ANSWER_LOOK_MS);
	     waited += ANSWER_LOOK_MS) {
		stopped = force_is_stopped(c->dir_fd) ? stopped + 1 : 0;
		if (stopped == 3 || waited >= ANSWER_MS) {
			err_set(e, ERR_KEEPER, ETIMEDOUT, "the keeper does not answer");
			err_hint(e, "%s`cleave rm -f` removes the sandbox all the same",
				 stopped ? "it is stopped (SIGCONT lets it go on); " : "");
			return -ETIMEDOUT;
		}
	}
	r = client_receive(c, &o, fds, &n, e);
	while (n > 0)
		close(fds[--n]);
	json_decref(o);
	return r < 0 ? r : 0;
}

static int signal_within(const char *name, int signo, struct err *e)
{
	struct client c;
	bool exited;
	int r = client_open_within(name, UINT64_C(3000000000), &c, &exited, e);

	if (r == 0)
		r = client_send(&c, "kill", json_pack("{s:i}", "signal", signo), NULL, 0, e);
	if (r == 0)
		r = answer_within(&c, e);
	client_close(&c);
	return r;
}

/* The keeper does not answer: it dies, its sandbox with it, and the journal tells what is left. */
static int end_by_force(const char *name, struct err *e)
{
	char id[REGISTRY_ID];
	AUTO_FD int dir = -EBADF;
	int r = registry_find(name, id, e);

	if (r == 0)
		r = dir = registry_open(id, e);
	if (r >= 0)
		r = force_end(dir, e);
	return r < 0 ? r : lib_forget(id, e);
}

EXPORT int cleave_kill(const char *name, int signo)
{
	struct err *e = lib_error();
	int r = signal_within(name, signo, e);

	if (r != -ETIMEDOUT || signo != SIGKILL)
		return r;
	return end_by_force(name, lib_error());
}

static int wait_end(const char *name, uint64_t timeout_ns)
{
	cleave_result *res = NULL;
	int r = cleave_wait(name, timeout_ns, &res);

	cleave_result_free(res);
	/* --rm: there is nothing left to ask */
	return r == -ENOENT || r == -EPIPE ? 0 : r;
}

EXPORT int cleave_stop(const char *name, uint64_t grace_ns)
{
	uint64_t longest = grace_ns < INT64_MAX ? grace_ns : INT64_MAX;
	int r = call(name, "stop", json_pack("{s:I}", "grace_ns", (json_int_t)longest));

	return r < 0 ? r : wait_end(name, UINT64_MAX);
}

/* Does state.json say so? The keeper may be there a moment longer. */
static bool has_ended(int dir_fd)
{
	AUTO_FREE char *text = registry_read(dir_fd, "state.json");
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(o, "state"));
	bool ended = state && strcmp(state, "exited") == 0;

	json_decref(o);
	return ended;
}

/* Ends a living sandbox and waits until its keeper has gone. */
static int end_and_wait(const char *id, int dir_fd)
{
	int r = cleave_kill(id, SIGKILL);

	if (r < 0 && r != -EPIPE)
		return r;
	ignore_err(wait_end(id, END_NS), "the lock tells better");
	return force_wait(dir_fd, END_NS) ? 0 : force_end(dir_fd, lib_error());
}

EXPORT int cleave_rm(const char *name, int force)
{
	struct err *e = lib_error();
	char id[REGISTRY_ID];
	AUTO_FD int dir = registry_open_name(name, id, e);
	int r;

	if (dir < 0)
		return dir;
	if (has_ended(dir))
		force_wait(dir, END_NS); /* its keeper is about to go */
	if (registry_alive(dir)) {
		if (!force) {
			err_hint(e, "`cleave rm -f` ends it first");
			err_set(e, ERR_STATE, 0, "the sandbox '%s' lives", name);
			return -EBADFD;
		}
		r = end_and_wait(id, dir);
		if (r < 0)
			return r;
		e = lib_error();
		/* the keeper removed it itself */
		if (!registry_exists(id))
			return 0;
	}
	return lib_forget(id, e);
}

EXPORT int cleave_logs(const char *name, uint64_t since_ns, unsigned flags, int stdout_fd,
		       int stderr_fd)
{
	struct err *e = lib_error();
	char id[REGISTRY_ID];
	AUTO_FD int dir = registry_open_name(name, id, e);
	struct sigpipe sigpipe;
	int r;

	if (dir < 0)
		return dir;
	sigpipe_hold(&sigpipe);
	r = output_copy(dir, since_ns, flags & CLEAVE_FOLLOW, lib_has_ended, &dir, stdout_fd,
			stderr_fd);
	sigpipe_release(&sigpipe);
	if (r == -EPIPE) /* the reader has what it wanted */
		return 0;
	return r < 0 ? err_set(e, ERR_OUTPUT, r, "write the log") : 0;
}
