/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's conversation with init. What init says is hostile: everything is checked here, once.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "box/keeper.h"

#define MAX_ERRNO 4095 /* include/linux/err.h */

static int send_request(struct box *b, const struct wire_request *q, const int *fds, int n)
{
	struct iovec iov = {(void *)q, sizeof(*q)};
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(WIRE_FD_MAX * sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, (size_t)n * sizeof(int));
	}
	return sendmsg(b->sock_fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int box_spawn(struct box *b, uint32_t id, struct cmd *cmd, const int fds[3],
	      const struct cgroup_join *join, struct err *e)
{
	struct wire_request q = {.op = WIRE_SPAWN, .id = id};
	int all[WIRE_FD_MAX], n = 1, r;
	AUTO_FD int memfd = -EBADF;

	if (b->affinity_bytes) {
		cmd->facts |= CMD_PINNED;
		cmd->affinity_bytes = b->affinity_bytes;
		memcpy(cmd->affinity, b->affinity, sizeof(cmd->affinity));
	}
	if (join && join->tasks_n)
		cmd->facts |= CMD_CGROUP_V1;
	memfd = box_memfd("cleave-command", cmd, cmd->total_bytes, false, e);
	if (memfd < 0)
		return memfd;
	all[0] = memfd;
	if (!(cmd->facts & CMD_TTY))
		for (; n < 4; n++)
			all[n] = fds[n - 1];
	q.n_tasks = join ? (uint32_t)join->tasks_n : 0;
	for (uint32_t i = 0; i < q.n_tasks; i++)
		all[n++] = join->tasks_fd[i];
	q.into = join && join->clone_fd >= 0;
	if (q.into)
		all[n++] = join->clone_fd;
	r = send_request(b, &q, all, n);
	return r < 0 ? err_set(e, ERR_LAUNCH, r, "hand the command to init") : 0;
}

int box_signal(struct box *b, uint32_t id, int signo, bool group)
{
	struct wire_request q = {.op = WIRE_SIGNAL, .id = id, .signo = signo, .group = group};

	return send_request(b, &q, NULL, 0);
}

int box_restore_send(struct box *b, const struct box_restore *x)
{
	int all[] = {x->plan_fd, x->image_fd, x->fds[0], x->fds[1], x->fds[2]};

	return send_request(b, &(struct wire_request){.op = WIRE_RESTORE}, all, ARRAY_LEN(all));
}

int box_join_send(struct box *b, const struct cgroup_join *j)
{
	_Static_assert(CGROUP_DIR_MAX <= WIRE_FD_MAX, "all of them in one message");
	return send_request(b, &(struct wire_request){.op = WIRE_CGROUP}, j->tasks_fd, j->tasks_n);
}

int box_adopt(struct box *b, const struct box_adoption *a)
{
	struct wire_request q = {.op = WIRE_ADOPT,
				 .id = a->id,
				 .signo = a->inside,
				 .group = a->main_command,
				 .timeout_ns = a->timeout_ns,
				 .cpu_time_ns = a->cpu_time_ns,
				 .processors = a->processors};

	return send_request(b, &q, NULL, 0);
}

int box_resume(struct box *b)
{
	return send_request(b, &(struct wire_request){.op = WIRE_RESUME}, NULL, 0);
}

int box_ask(struct box *b, uint32_t id)
{
	return send_request(b, &(struct wire_request){.op = WIRE_ASK, .id = id}, NULL, 0);
}

int box_kill_all(struct box *b)
{
	return send_request(b, &(struct wire_request){.op = WIRE_KILLALL}, NULL, 0);
}

/* Takes the first descriptor of a message and closes every other one. */
static int take_descriptor(struct msghdr *m)
{
	int kept = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (kept < 0)
				kept = fd;
			else
				close(fd);
		}
	}
	return kept;
}

static bool is_errno(int32_t negative)
{
	return negative < 0 && negative >= -MAX_ERRNO;
}

/* What a fault says is taken for the result of a call: it has to be an error, and a number that the
 * kernel gives. */
static bool is_sane(const struct wire_reply *r, size_t n)
{
	size_t head = offsetof(struct wire_reply, trace);
	bool failed = r->op == WIRE_FAULT || r->op == WIRE_REFUSED;

	if (n < head || r->n_trace > STEP_N || n != head + r->n_trace * sizeof(r->trace[0]))
		return false;
	for (uint32_t i = 0; i < r->n_trace; i++)
		if (r->trace[i].step >= STEP_N)
			return false;
	return r->op >= WIRE_FAULT && r->op < WIRE_REPLY_END && r->fault.step < STEP_N &&
	       (!failed || is_errno(r->fault.err));
}

int box_receive(struct box *b, struct wire_reply *ret, int *ret_fd)
{
	struct iovec iov = {ret, sizeof(*ret)};
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control)};
	ssize_t n;

	*ret_fd = -1;
	/*
	 * ECONNRESET: init ended with a request of ours unread. It is told once, before what init
	 * said last; the next call gives that.
	 */
	do
		n = recvmsg(b->sock_fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	*ret_fd = take_descriptor(&m);
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || !is_sane(ret, (size_t)n)) {
		if (*ret_fd >= 0)
			close(*ret_fd);
		*ret_fd = -1;
		return -EPROTO;
	}
	return 1;
}
