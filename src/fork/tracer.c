/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracer process: a fork of the caller that captures, sends the result home and exits. A dump
 * takes tens of milliseconds; the keeper must go on relaying output and watching clocks meanwhile.
 * What it sends is trusted (it is our own code), yet bounded and counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

#define NOTES_BYTES 60000u

struct answer {
	int32_t result;
	struct err error;
	struct fork_capture capture; /* its pointers and descriptor mean nothing here */
	uint32_t notes[3];           /* lines, NUL-terminated, behind each other in text */
	uint32_t bytes;
	char text[NOTES_BYTES];
};

static struct fork_notes *notes_of(struct fork_capture *c, int i)
{
	return i == 0 ? &c->carried : i == 1 ? &c->recreated : &c->broken;
}

static void notes_pack(struct answer *a)
{
	for (int i = 0; i < 3; i++) {
		const struct fork_notes *n = notes_of(&a->capture, i);

		for (size_t k = 0; k < n->n; k++) {
			size_t len = strlen(n->line[k]) + 1;

			if (len > sizeof(a->text) - a->bytes)
				break;
			memcpy(a->text + a->bytes, n->line[k], len);
			a->bytes += (uint32_t)len;
			a->notes[i]++;
		}
	}
}

static void notes_unpack(struct answer *a, struct fork_capture *c)
{
	const char *s = a->text, *end = a->text + a->bytes;

	for (int i = 0; i < 3; i++) {
		*notes_of(c, i) = (struct fork_notes){0};
		for (uint32_t k = 0; k < a->notes[i] && s < end && memchr(s, 0, (size_t)(end - s));
		     k++) {
			ignore_err(note_add(notes_of(c, i), "%s", s), "a line less of a report");
			s += strlen(s) + 1;
		}
	}
}

static int answer_send(int socket, struct answer *a, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec io = {a, sizeof(*a) - sizeof(a->text) + a->bytes};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int answer_receive(int socket, struct answer *a, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec io = {a, sizeof(*a)};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);

	*ret_fd = -EBADF;
	if (n < 0)
		return -errno;
	if (m.msg_controllen >= CMSG_LEN(sizeof(int)) && control.align.cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(&control.align), sizeof(int));
	if ((size_t)n < sizeof(*a) - sizeof(a->text) ||
	    a->bytes != (size_t)n - (sizeof(*a) - sizeof(a->text)))
		return -ECONNRESET;
	return 0;
}

_Noreturn static void tracer(const struct fork_source *src, int socket)
{
	struct answer *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		_exit(1);
	a->result = fork_checkpoint(src, &a->capture, &a->error);
	notes_pack(a);
	r = answer_send(socket, a, a->result == 0 ? a->capture.image_fd : -EBADF);
	_exit(r < 0);
}

int fork_tracer_start(const struct fork_source *src, struct fork_tracer *ret, struct err *e)
{
	int s[2];

	*ret = (struct fork_tracer){.fd = -EBADF};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
		return err_set(e, ERR_HOST, errno, "make a socket pair");
	ret->pid = fork();
	if (ret->pid == 0)
		tracer(src, s[1]);
	close(s[1]);
	if (ret->pid < 0) {
		close(s[0]);
		return err_set(e, ERR_HOST, errno, "start the tracer");
	}
	ret->fd = s[0];
	return 0;
}

int fork_tracer_finish(struct fork_tracer *t, struct fork_capture *ret, struct err *e)
{
	struct answer *a = calloc(1, sizeof(*a));
	int r = a ? answer_receive(t->fd, a, &ret->image_fd) : -ENOMEM, fd = ret->image_fd, status;

	while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR)
		;
	close_fd(&t->fd);
	if (!a || r < 0) {
		*ret = (struct fork_capture){.image_fd = -EBADF};
		free(a);
		return err_set(e, ERR_KEEPER, -r, "the tracer died");
	}
	*ret = a->capture;
	ret->image_fd = fd;
	notes_unpack(a, ret);
	r = a->result;
	if (r < 0)
		*e = a->error;
	free(a);
	return r;
}
