/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/frame.h"
#include "engine/settle.h"
#include "engine/sigpipe.h"
#include "engine/tty.h"

struct stream {
	struct client client;
	const struct stream_io *io;
	const struct spec_limits *limits; /* NULL: not ours to hold */
	struct relay relay[3];
	struct result *result;
	struct err *e;
	int signal_fd, master_fd;
	struct sigpipe sigpipe;
	uint64_t budget;
	struct ending end; /* of the limits that are ours: output */
	bool over_told, done, detached;
};

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};

static int open_signals(struct stream *s)
{
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; s->io->forward_signals && i < ARRAY_LEN(forwarded); i++)
		sigaddset(&mask, forwarded[i]);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? err_set(s->e, ERR_HOST, errno, "receive signals") : 0;
}

static void take_signals(struct stream *s)
{
	struct signalfd_siginfo info;
	struct err ignored = ERR_INIT;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int signo = (int)info.ssi_signo;

		if (signo == SIGWINCH && s->master_fd >= 0)
			tty_copy_size(s->io->stdin_fd, s->master_fd);
		else if (signo != SIGWINCH)
			ignore_err(client_send(&s->client, "signal",
					       json_pack("{s:i,s:b}", "signal", signo, "group",
							 signo == SIGINT || signo == SIGQUIT),
					       NULL, 0, &ignored),
				   "its end will be told");
	}
}

/* What comes from there counts against the limits of output. */
static void bound_output(struct stream *s, int index)
{
	struct relay *r = &s->relay[index];
	uint64_t own;

	if (!s->limits)
		return;
	if (s->limits->output_bytes != SPEC_UNSET) {
		r->budget = &s->budget;
		r->over = &s->end.output_over;
	}
	own = index == 1 ? s->limits->stdout_bytes : s->limits->stderr_bytes;
	if (own != SPEC_UNSET) {
		r->own_budget = own;
		r->own_over = &s->end.stream_over[index - 1];
	}
}

/* The terminal's master stands for all three streams. */
static void use_terminal(struct stream *s, int master)
{
	s->master_fd = master;
	if (s->io->stdin_fd >= 0) {
		tty_raw(s->io->stdin_fd);
		tty_copy_size(s->io->stdin_fd, master);
		s->relay[0] = (struct relay){0};
		relay_start(&s->relay[0], s->io->stdin_fd, master);
	}
	s->relay[1] = (struct relay){0};
	bound_output(s, 1);
	relay_start(&s->relay[1], master, s->io->stdout_fd);
}

/* fds: stdin to write to (or the master), stdout and stderr to read from; ours now. */
static void use_attached(struct stream *s, const json_t *event, const int *fds)
{
	if (json_is_true(json_object_get(event, "tty"))) {
		s->master_fd = fds[0];
		if (s->io->stdin_fd >= 0) {
			tty_raw(s->io->stdin_fd);
			tty_copy_size(s->io->stdin_fd, fds[0]);
		}
	}
	s->relay[0] = (struct relay){.own_out = true, .closes_out = true};
	if (isatty(s->io->stdin_fd))
		s->relay[0].detached = &s->detached;
	relay_start(&s->relay[0], s->io->stdin_fd, fds[0]);
	if (s->io->stdin_fd < 0)
		relay_end(&s->relay[0]);
	s->relay[1] = (struct relay){.own_in = true};
	relay_start(&s->relay[1], fds[1], s->io->stdout_fd);
	s->relay[2] = (struct relay){.own_in = true};
	relay_start(&s->relay[2], fds[2], s->io->stderr_fd);
}

static int take_frame(struct stream *s)
{
	int fds[FRAME_FDS], n = 0, r;
	json_t *o = NULL;
	const char *event;

	r = client_receive(&s->client, &o, fds, &n, s->e);
	if (r < 0)
		return r;
	event = r == 2 ? json_string_value(json_object_get(o, "event")) : NULL;
	if (event && strcmp(event, "terminal") == 0 && n == 1) {
		use_terminal(s, fds[0]);
		n = 0;
	} else if (event && strcmp(event, "attached") == 0 && n == 3) {
		use_attached(s, o, fds);
		n = 0;
	} else if (r == 1 && json_object_get(o, "status")) {
		struct result_stream out = s->result->out, err = s->result->err_out;

		r = client_result(o, s->result, s->e);
		s->result->out = out;
		s->result->err_out = err;
		if (ending_output_over(&s->end)) {
			settle_output(s->result, &s->end);
			result_settle(s->result);
		}
		s->done = true;
	}
	while (n > 0)
		close(fds[--n]);
	json_decref(o);
	return r < 0 ? r : 0;
}

/* It wrote more than it may: what comes after is dropped, and it is killed. */
static void strike_output(struct stream *s)
{
	struct err ignored = ERR_INIT;

	if (!ending_output_over(&s->end) || s->over_told)
		return;
	s->over_told = true;
	ignore_err(client_send(&s->client, "signal",
			       json_pack("{s:i,s:b}", "signal", SIGKILL, "group", true), NULL, 0,
			       &ignored),
		   "its end will be told");
}

static bool drained(const struct stream *s)
{
	return relay_finished(&s->relay[1]) && relay_finished(&s->relay[2]);
}

/* What the command itself wrote is in the pipes when it has ended; an orphan of it may hold them
 * open for ever. */
static int wait_ms(const struct stream *s)
{
	return s->done && !s->relay[1].len && !s->relay[2].len ? 0 : -1;
}

static int loop(struct stream *s)
{
	int r = 0, ready;

	while (r == 0 && !s->detached && !(s->done && drained(s))) {
		struct pollfd p[2 + RELAY_POLL] = {{s->done ? -1 : s->client.fd, POLLIN, 0},
						   {s->signal_fd, POLLIN, 0}};
		int at[3], n = 2 + relay_poll_command(s->relay, !s->done, p + 2, at);

		ready = poll(p, (nfds_t)n, wait_ms(s));
		if (ready < 0 && errno != EINTR)
			return err_set(s->e, ERR_INTERNAL, errno, "wait for the command");
		if (ready == 0)
			break;
		if (p[1].revents)
			take_signals(s);
		relay_move_command(s->relay, p + 2, at);
		strike_output(s);
		if (p[0].revents)
			r = take_frame(s);
		for (int i = 1; i < 3; i++)
			if (s->relay[i].error)
				return err_set(s->e, ERR_OUTPUT, s->relay[i].error, "write to %s",
					       i == 1 ? "stdout" : "stderr");
	}
	return r;
}

static void stream_end(struct stream *s)
{
	tty_restore();
	for (int i = 0; i < 3; i++)
		relay_end(&s->relay[i]);
	close_fd(&s->master_fd);
	close_fd(&s->signal_fd);
	client_close(&s->client);
	sigpipe_release(&s->sigpipe);
}

static int open_pipe(struct relay *r, int from, int to, bool inward, int *ret_theirs)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	*ret_theirs = fd[inward ? 0 : 1];
	fcntl(fd[inward ? 1 : 0], F_SETFL, O_NONBLOCK | (inward ? O_WRONLY : O_RDONLY));
	relay_start(r, inward ? from : fd[0], inward ? fd[1] : to);
	return 0;
}

static int open_pipes(struct stream *s, const struct spec *spec, int fds[3])
{
	struct result_stream *kept[] = {NULL, &s->result->out, &s->result->err_out};
	int r;

	if (s->io->stdin_fd < 0) {
		fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		r = fds[0] < 0 ? -errno : 0;
	} else {
		s->relay[0] = (struct relay){.own_out = true, .closes_out = true};
		r = open_pipe(&s->relay[0], s->io->stdin_fd, -1, true, &fds[0]);
	}
	for (int i = 1; r == 0 && i < 3; i++) {
		const struct spec_command *c = &spec->command;
		bool pass = !c->capture || (i == 1 ? c->pass_stdout : c->pass_stderr);

		s->relay[i] = (struct relay){.own_in = true};
		if (c->capture && (!pass || c->tee)) {
			s->relay[i].capture = kept[i];
			s->relay[i].capture_max = c->capture_bytes;
			/* lint-allow: analyzer-malloc-leak: result_done frees it */
			kept[i]->data = calloc(1, 1);
		}
		bound_output(s, i);
		r = open_pipe(&s->relay[i], -1,
			      !pass    ? -1
			      : i == 1 ? s->io->stdout_fd
				       : s->io->stderr_fd,
			      false, &fds[i]);
	}
	return r < 0 ? err_set(s->e, ERR_HOST, r, "make the pipes of the command") : 0;
}

static struct stream stream_new(const struct stream_io *io, struct result *result, struct err *e)
{
	struct stream s = {.client = CLIENT_INIT,
			   .io = io,
			   .result = result,
			   .e = e,
			   .signal_fd = -EBADF,
			   .master_fd = -EBADF};

	sigpipe_hold(&s.sigpipe);
	for (int i = 0; i < 3; i++)
		s.relay[i] = (struct relay){.in_fd = -1, .out_fd = -1};
	return s;
}

static int stream_command(const char *name, const char *method, const struct spec *spec,
			  const struct stream_io *io, struct result *result, struct err *e)
{
	struct stream s = stream_new(io, result, e);
	int fds[3] = {-EBADF, -EBADF, -EBADF}, r;
	unsigned short rows, cols;
	bool exited;

	r = client_open(name, &s.client, &exited, e);
	if (r == 0)
		r = open_signals(&s);
	s.limits = &spec->limits;
	s.budget = spec->limits.output_bytes;
	if (r == 0 && !spec->command.tty)
		r = open_pipes(&s, spec, fds);
	tty_size(io->stdin_fd, &rows, &cols);
	if (r == 0)
		r = client_send(&s.client, method,
				json_pack("{s:o,s:i,s:i}", "spec", spec_json(spec), "rows", rows,
					  "cols", cols),
				fds, spec->command.tty ? 0 : 3, e);
	for (int i = 0; i < 3; i++)
		close_fd(&fds[i]);
	if (r == 0)
		r = loop(&s);
	stream_end(&s);
	return r;
}

int stream_exec(const char *name, const struct spec *spec, const struct stream_io *io,
		struct result *result, struct err *e)
{
	return stream_command(name, "exec", spec, io, result, e);
}

int stream_run(const char *name, const struct spec *spec, const struct stream_io *io,
	       struct result *result, struct err *e)
{
	return stream_command(name, "run", spec, io, result, e);
}

int stream_attach(const char *name, const struct stream_io *io, struct result *result,
		  struct err *e)
{
	struct stream s = stream_new(io, result, e);
	bool exited;
	int r = client_open(name, &s.client, &exited, e);

	if (r == 0)
		r = open_signals(&s);
	if (r == 0)
		r = client_send(&s.client, "attach", json_object(), NULL, 0, e);
	if (r == 0)
		r = loop(&s);
	stream_end(&s);
	return r == 0 && s.detached ? 1 : r;
}
