/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/run_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/tty.h"

#define PIPE_BYTES (1 << 20)

/* A pipe whose sandbox end belongs to the workload's user, so that /dev/stdout can be opened there.
 */
static int make_pipe(struct run *r, bool to_sandbox, int *ret_ours, int *ret_theirs)
{
	int fd[2];
	uid_t uid = r->host.root ? r->box.id_base + r->plan.plan->uid : r->host.uid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	if (r->host.root)
		ignore_err(fchown(fd[0], uid, uid), "only reopening by path is lost");
	ignore_err(fcntl(fd[0], F_SETPIPE_SZ, PIPE_BYTES), "a smaller pipe is only slower");
	*ret_ours = to_sandbox ? fd[1] : fd[0];
	*ret_theirs = to_sandbox ? fd[0] : fd[1];
	fcntl(*ret_ours, F_SETFL, O_NONBLOCK | (to_sandbox ? O_WRONLY : O_RDONLY));
	return 0;
}

/* SPEC_STDIO_OWN: one of our standard descriptors becomes a relay's own, which closes it. */
static int take_standard(int fd)
{
	AUTO_FD int ours = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	return ours < 0 || null < 0 || dup2(null, fd) < 0 ? -errno : take_fd(&ours);
}

/* What comes from there counts against the limits of output. */
static void bound_output(struct run *r, int index)
{
	const struct spec_limits *l = &r->spec->limits;
	uint64_t own = index == 1 ? l->stdout_bytes : l->stderr_bytes;
	struct relay *relay = &r->relay[index];

	if (raw_without(r->plan.plan->test_without, "limit", "output"))
		return;
	if (l->output_bytes != SPEC_UNSET) {
		relay->budget = &r->output_budget;
		relay->over = &r->end.output_over;
	}
	if (own != SPEC_UNSET) {
		relay->own_budget = own;
		relay->own_over = &r->end.stream_over[index - 1];
	}
}

static int open_output(struct run *r, int index, struct result_stream *capture)
{
	const struct spec_command *c = &r->spec->command;
	bool pass = !c->capture || (index == 1 ? c->pass_stdout : c->pass_stderr);
	bool own = c->stdio == SPEC_STDIO_OWN && index == 1;
	struct relay *relay = &r->relay[index];
	int to = index, ours = -EBADF, rc = make_pipe(r, false, &ours, &r->stdio_fd[index]);

	if (rc < 0)
		return rc;
	if (own)
		to = take_standard(index);
	if (to < 0) {
		close_fd(&ours);
		return to;
	}
	*relay = (struct relay){.own_in = true,
				.own_out = own,
				.closes_out = own,
				.hold_out = own,
				.in_fd = -1,
				.out_fd = -1};
	if (c->capture && (!pass || c->tee)) {
		relay->capture = capture;
		relay->capture_max = c->capture_bytes;
		/* an empty stream is text, an absent one is null */
		/* lint-allow: analyzer-malloc-leak: result_done frees it */
		capture->data = calloc(1, 1);
	}
	bound_output(r, index);
	relay_start(relay, ours, pass ? to : -1);
	return 0;
}

int run_open_stdio(struct run *r)
{
	const struct spec_command *c = &r->spec->command;
	int ours = -EBADF, from = STDIN_FILENO, rc;

	for (int i = 0; i < 3; i++)
		r->relay[i] = (struct relay){.in_fd = -1, .out_fd = -1};
	if (c->tty)
		return 0; /* the terminal's master comes from init */
	if (c->stdio == SPEC_STDIO_INHERIT) {
		for (int i = 0; i < 3; i++) {
			r->stdio_fd[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
			if (r->stdio_fd[i] < 0)
				return -errno;
		}
		return 0;
	}
	rc = make_pipe(r, true, &ours, &r->stdio_fd[0]);
	if (rc < 0)
		return rc;
	if (c->stdio == SPEC_STDIO_OWN)
		from = take_standard(STDIN_FILENO);
	if (from < 0) {
		close_fd(&ours);
		return from;
	}
	r->relay[0] = (struct relay){.own_in = from != STDIN_FILENO,
				     .hold_in = from != STDIN_FILENO,
				     .own_out = true,
				     .closes_out = true};
	relay_start(&r->relay[0], from, ours);
	rc = open_output(r, 1, &r->result->out);
	return rc < 0 ? rc : open_output(r, 2, &r->result->err_out);
}

void run_open_terminal(struct run *r, int master)
{
	r->master_fd = master;
	tty_raw(STDIN_FILENO);
	tty_copy_size(STDIN_FILENO, master);
	r->relay[0] = (struct relay){0};
	relay_start(&r->relay[0], STDIN_FILENO, master);
	r->relay[1] = (struct relay){0};
	bound_output(r, 1);
	relay_start(&r->relay[1], master, STDOUT_FILENO);
}

void run_ask_peers(struct run *r)
{
	unsigned held = 0;

	for (unsigned i = 0; i < 2; i++)
		held |= r->relay[i].held_fd > 0 ? 1u << i : 0;
	if (!held || r->asked || r->ended)
		return;
	r->asked = held;
	/* an init that is gone has told the end, or its own */
	ignore_err(box_ask(&r->box, MAIN_ID), "the end of the run releases them");
}

void run_release_peers(struct run *r)
{
	for (unsigned i = 0; i < 2; i++)
		if (r->asked & 1u << i)
			relay_release(&r->relay[i]);
	r->asked = 0;
}
