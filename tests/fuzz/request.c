/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients send to a keeper: packets divided by newlines, through the real socket, frame by
 * frame into the methods. The first byte: the state of the sandbox, and how many pipes come along.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "engine/frame.h"
#include "keeper.h"

static int pipes[2];

static void send_packet(int fd, const char *data, size_t size, int n_fds)
{
	struct iovec iov = {(void *)data, size};
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		for (int i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(&control.head) + (size_t)i * sizeof(int), &pipes[1],
			       sizeof(int));
	}
	FUZZ_CHECK(sendmsg(fd, &m, MSG_NOSIGNAL) >= 0);
}

static void request(struct fuzz_keeper *f, const char *data, size_t size, int n_fds)
{
	struct conn *c = &f->k.conns[0];
	int fds[FRAME_FDS], n, r;
	json_t *o;

	if (c->source.fd < 0 || !size)
		return;
	send_packet(f->client_fd, data, size, n_fds);
	r = frame_receive(c->source.fd, &o, fds, &n);
	FUZZ_CHECK(n >= 0 && n <= FRAME_FDS && (r == 1 || n == 0));
	if (r == 1)
		keeper_request(&f->k, c, o, fds, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum state states[] = {STATE_RUNNING, STATE_RUNNING, STATE_PAUSED,
					    STATE_STOPPING};
	uint8_t flags = fuzz_selector(&data, &size);
	struct fuzz_keeper *f = fuzz_keeper_new(states[flags & 3]);
	const char *at = (const char *)data, *end = at + size;

	if (!pipes[1])
		FUZZ_CHECK(pipe(pipes) == 0);
	f->k.held = flags & 4;
	for (int i = 0; at < end && i < 16; i++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)((stop ? stop : end) - at);

		request(f, at, n < 70000 ? n : 70000, flags >> 3 & 7);
		at += n + 1;
	}
	fuzz_keeper_done(f);
	return 0;
}
