/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What init says to its keeper, which counts as hostile: records as they stand, through the real
 * socket. The main command and two execs of a client are under way. With an odd first byte the
 * length that the record claims is made right.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "keeper.h"

static void commands(struct keeper *k)
{
	struct err e = ERR_INIT;

	for (int i = 0; i < 2; i++) {
		struct command_state *c = keeper_command_new(k);

		FUZZ_CHECK(c);
		c->cmd = plan_command(&k->spec, &k->spec.command, &k->host, false, &e);
		FUZZ_CHECK(c->cmd);
		c->client = i ? NULL : &k->conns[0];
		c->request_id = json_integer(i);
	}
	k->commands[0].cmd = plan_command(&k->spec, &k->spec.command, &k->host, true, &e);
	FUZZ_CHECK(k->commands[0].cmd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool right = fuzz_selector(&data, &size) & 1;
	struct fuzz_keeper *f = fuzz_keeper_new(right ? STATE_STARTING : STATE_RUNNING);
	struct wire_reply m = {0};
	size_t n = size < sizeof(m) ? size : sizeof(m);
	int fd, r;

	memcpy(&m, data, n);
	if (right) {
		m.n_trace %= STEP_N + 1;
		n = offsetof(struct wire_reply, trace) + m.n_trace * sizeof(m.trace[0]);
	}
	commands(&f->k);
	if (n)
		FUZZ_CHECK(send(f->init_fd, &m, n, MSG_NOSIGNAL) == (ssize_t)n);
	else
		close(f->init_fd), f->init_fd = -EBADF;
	r = box_receive(&f->k.box, &m, &fd);
	FUZZ_CHECK(fd == -1 && (r == 1 || r == 0 || r == -EPROTO));
	if (r == 1) {
		FUZZ_CHECK(m.n_trace <= STEP_N);
		keeper_take_reply(&f->k, &m, &fd);
	}
	fuzz_keeper_done(f);
	return 0;
}
