/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/whole_json.h"

union rights {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(FRAME_FDS * sizeof(int))];
};

int frame_send(int fd, const json_t *o, const int *fds, int n_fds)
{
	AUTO_FREE char *text = whole_json_dumps(o, JSON_COMPACT);
	struct iovec iov = {text, text ? strlen(text) : 0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	union rights control = {0};

	if (!text)
		return -ENOMEM;
	if (iov.iov_len > FRAME_MAX)
		return -EMSGSIZE;
	if (n_fds) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, (size_t)n_fds * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int take_fds(struct msghdr *m, int fds[FRAME_FDS])
{
	int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < FRAME_FDS)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

int frame_receive(int fd, json_t **ret, int fds[FRAME_FDS], int *ret_n)
{
	static _Thread_local char text[FRAME_MAX + 1];
	struct iovec iov = {text, FRAME_MAX};
	union rights control;
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control)};
	json_t *o = NULL;
	bool full;
	ssize_t n;

	*ret_n = 0;
	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	/* told once, and in front of what the peer had said before it went */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	*ret_n = take_fds(&m, fds);
	if (n == 0 && !*ret_n)
		return 0;
	if (!(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(o) && json_integer_value(json_object_get(o, "v")) == FRAME_VERSION) {
		*ret = o;
		return 1;
	}
	json_decref(o);
	/* fewer than can be sent: we had no room for the rest */
	full = m.msg_flags & MSG_CTRUNC && *ret_n < FRAME_FDS;
	while (*ret_n)
		close(fds[--*ret_n]);
	if (full)
		return -EMFILE;
	return whole_json_lost() ? -ENOMEM : -EPROTO;
}
