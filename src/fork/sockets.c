/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets. Those that lead to the keeper are re-created. Connected unix sockets without a name,
 * both ends inside (socketpair), are carried with what is queued between them. Everything else
 * refuses.
 *
 * The tracer holds duplicates for a moment (pidfd_getfd) and only looks: MSG_PEEK with SO_PEEK_OFF
 * takes nothing out. Which two sockets are a pair is known to the kernel's socket monitor of the
 * sandbox's network namespace alone: a child enters the namespaces, opens it, hands it back.
 */
#include "fork/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CONTENT_MAX (4u << 20)
#define PEEK (MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC)

/* What the monitor says about one unix socket. */
struct diag {
	uint32_t ino, peer; /* 0: none */
	uint8_t type, state, shutdown;
	bool named;
};

static int socket_refuse(const struct open_file *f, const char *what, struct err *e)
{
	REFUSE(e, ENOTSUP, "process %d: descriptor %d is %s", f->inside_pid, f->fd, what);
}

/* The tracer's own duplicate of a descriptor, or -1 and errno. */
static int duplicate(const struct open_file *f)
{
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);

	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
}

int socket_add(struct harvest *h, struct open_table *t, uint32_t file, struct err *e)
{
	const struct open_file *f = &t->file[file];
	struct image_ofd *o = ofd_at(h, f->ofd);
	int which = stdio_find(h, f->dev, f->ino);
	AUTO_FD int fd = -EBADF;
	int domain = 0;
	socklen_t n = sizeof(domain);

	if (which >= 0) {
		o->kind = IMAGE_OFD_STDIO;
		o->ref = (uint32_t)which;
		return note_add(&h->cap->recreated,
				"fd-stdio: descriptor %d of process %d leads to the clone's keeper",
				f->fd, f->inside_pid);
	}
	fd = duplicate(f);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n))
		REFUSE(e, errno, "look at descriptor %d of process %d", f->fd, f->inside_pid);
	if (domain != AF_UNIX)
		return socket_refuse(f,
				     domain == AF_INET || domain == AF_INET6
					     ? "a network socket"
					     : "a socket of an unknown family",
				     e);
	o->kind = IMAGE_OFD_SOCKET;
	if (!image_builder_add(&h->b, IMAGE_SOCKET, &o->ref))
		REFUSE(e, ENOMEM, "describe a socket");
	((struct image_socket *)image_builder_at(&h->b, IMAGE_SOCKET, o->ref))->peer = IMAGE_NONE;
	return 0;
}

static int enter(pid_t init, const char *ns, int type)
{
	char path[48];
	AUTO_FD int fd = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", init, ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || setns(fd, type) ? -errno : 0;
}

static int send_fd(int socket, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte = 0;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};

	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	return sendmsg(socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int receive_fd(int socket)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte;
	struct iovec io = {&byte, 1};
	struct msghdr m = {.msg_iov = &io,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	int fd = -EPERM;

	if (recvmsg(socket, &m, MSG_CMSG_CLOEXEC) == 1 &&
	    m.msg_controllen >= CMSG_LEN(sizeof(int)) && control.align.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&control.align), sizeof(int));
	return fd;
}

/* A monitor socket of the sandbox's network namespace, or -errno. The user namespace first: there
 * an ordinary user has the right to enter the other. */
static int monitor_open(pid_t init)
{
	int s[2], fd, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
		return -errno;
	pid = fork();
	if (pid == 0) {
		if (enter(init, "user", CLONE_NEWUSER) || enter(init, "net", CLONE_NEWNET))
			_exit(1);
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		_exit(fd < 0 || send_fd(s[1], fd) < 0);
	}
	close(s[1]);
	fd = pid < 0 ? -errno : receive_fd(s[0]);
	close(s[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return fd;
}

static void diag_parse(const struct nlmsghdr *n, struct diag *d)
{
	const struct unix_diag_msg *m = NLMSG_DATA(n);
	int left = (int)(n->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));

	*d = (struct diag){.ino = m->udiag_ino, .type = m->udiag_type, .state = m->udiag_state};
	for (const struct rtattr *a = (const struct rtattr *)(m + 1); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_PEER)
			d->peer = *(const uint32_t *)RTA_DATA(a);
		if (a->rta_type == UNIX_DIAG_NAME)
			d->named = true;
		if (a->rta_type == UNIX_DIAG_SHUTDOWN)
			d->shutdown = *(const uint8_t *)RTA_DATA(a);
	}
}

/* All unix sockets of the namespace, malloc'ed. Returns their number or -errno. */
static int diag_list(int fd, struct diag **ret)
{
	static _Alignas(8) char buf[65536];
	struct {
		struct nlmsghdr n;
		struct unix_diag_req r;
	} q = {.n = {sizeof(q), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
	       .r = {.sdiag_family = AF_UNIX,
		     .udiag_states = ~0u,
		     .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_NAME}};
	struct diag *v = NULL, *p;
	int count = 0;

	*ret = NULL;
	if (send(fd, &q, sizeof(q), 0) != sizeof(q))
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n <= 0)
			break;
		for (struct nlmsghdr *m = (struct nlmsghdr *)buf; NLMSG_OK(m, n);
		     m = NLMSG_NEXT(m, n)) {
			if (m->nlmsg_type == NLMSG_DONE) {
				*ret = v;
				return count;
			}
			p = m->nlmsg_type == SOCK_DIAG_BY_FAMILY && count < 65536
				    ? realloc(v, (size_t)(count + 1) * sizeof(*v))
				    : NULL;
			if (!p) {
				free(v);
				return -EPROTO;
			}
			v = p;
			diag_parse(m, &v[count++]);
		}
	}
	free(v);
	return -EPROTO;
}

static const struct diag *diag_find(const struct diag *v, int n, uint64_t ino)
{
	for (int i = 0; i < n; i++)
		/* lint-allow: analyzer-null-dereference, clang-analyzer-core.NullDereference: n is
		 * 0 as long as there is no array */
		if (v[i].ino == ino)
			return &v[i];
	return NULL;
}

/* The queue of one socket as (u32 length, bytes)*: messages for datagrams, pieces for streams. */
static int queue(struct harvest *h, const struct open_file *f, int fd, uint32_t type,
		 struct image_ref *ret, struct err *e)
{
	AUTO_FREE char *all = NULL;
	AUTO_FREE char *buf = malloc(CONTENT_MAX);
	int off = 0, was = 0;
	size_t bytes = 0;
	socklen_t len = sizeof(was);
	int r = 0;

	if (!buf || getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, &len) || was != -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)))
		return socket_refuse(f, "a socket whose queue can't be looked at", e);
	while (r == 0) {
		char control[64];
		struct iovec io = {buf, CONTENT_MAX};
		struct msghdr m = {.msg_iov = &io,
				   .msg_iovlen = 1,
				   .msg_control = control,
				   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(fd, &m, PEEK);
		uint32_t piece = n > 0 ? (uint32_t)n : 0;
		char *p;

		if (n == 0 && (type == SOCK_DGRAM || recv(fd, buf, 1, PEEK) > 0))
			r = socket_refuse(f, "a socket with an empty message in its queue", e);
		if (n <= 0)
			break;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_type == SCM_RIGHTS)
				r = socket_refuse(f, "a socket with descriptors on their way", e);
		p = bytes + piece + 4 < CONTENT_MAX ? realloc(all, bytes + piece + 4) : NULL;
		if (!p) {
			r = r ? r : socket_refuse(f, "a socket with too much in its queue", e);
			break;
		}
		all = p;
		memcpy(all + bytes, &piece, 4);
		memcpy(all + bytes + 4, buf, piece);
		bytes += piece + 4;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &was, sizeof(was)) && r == 0)
		r = err_set(e, ERR_UNFORKABLE, errno, "leave a socket of process %d as it was",
			    f->inside_pid);
	if (r == 0 && bytes && image_builder_bytes(&h->b, all, bytes, ret))
		r = err_set(e, ERR_UNFORKABLE, ENOMEM, "describe a socket");
	return r;
}

/* The next call on the socket would get the error; our looking would take it away. */
static int error_check(const struct open_file *f, int fd, struct err *e)
{
	struct pollfd p = {.fd = fd};

	if (poll(&p, 1, 0) < 0)
		REFUSE(e, errno, "look at descriptor %d of process %d", f->fd, f->inside_pid);
	if (p.revents & POLLERR)
		return socket_refuse(f, "a socket with an error under way (reset by its peer)", e);
	return 0;
}

static int option(int fd, int name)
{
	int v = 0;
	socklen_t n = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, name, &v, &n) ? 0 : v;
}

/* What the messages of a queue weigh for the socket that sent them, or -errno. */
static long weight(uint32_t type, const char *all, size_t bytes)
{
	AUTO_FD int to = -EBADF, from = -EBADF;
	int s[2], one, room = 1 << 30;
	long sum = 0;

	if (socketpair(AF_UNIX, (int)type | SOCK_CLOEXEC, 0, s))
		return -errno;
	from = s[0];
	to = s[1];
	if (setsockopt(from, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)))
		return -errno;
	for (size_t at = 0; at < bytes;) {
		uint32_t n;

		memcpy(&n, all + at, 4);
		if (send(from, all + at + 4, n, MSG_DONTWAIT) != (ssize_t)n ||
		    ioctl(from, SIOCOUTQ, &one) || recv(to, &n, sizeof(n), MSG_TRUNC) < 0)
			return -errno;
		sum += one;
		memcpy(&n, all + at, 4);
		at += 4 + n;
	}
	return sum;
}

/* An empty message is seen by one look only, the kernel passes over it from then on. What its
 * sender is charged for tells whether there are more messages than were seen. */
static int empty_check(struct harvest *h, const struct open_file *f, const struct open_file *peer,
		       const struct image_socket *x, struct err *e)
{
	AUTO_FD int fd = duplicate(peer);
	const char *all = (const char *)h->b.table[IMAGE_BYTE].data + x->content.offset;
	long seen = weight(x->type, all, x->content.bytes);
	int charged;

	if (fd < 0 || ioctl(fd, SIOCOUTQ, &charged))
		REFUSE(e, errno, "look at descriptor %d of process %d", peer->fd, peer->inside_pid);
	if (seen < 0)
		return socket_refuse(f, "a socket with too much in its queue", e);
	if (charged > seen)
		return socket_refuse(f, "a socket with an empty message in its queue", e);
	return 0;
}

/* Options that an image does not have: those of a new socket, or none. */
static int options_check(const struct open_file *f, int fd, struct err *e)
{
	static const struct {
		int name, plain;
		const char *what;
	} plain[] = {
		{SO_RCVTIMEO, 0, "a socket with a timeout (SO_RCVTIMEO)"},
		{SO_SNDTIMEO, 0, "a socket with a timeout (SO_SNDTIMEO)"},
		{SO_RCVLOWAT, 1, "a socket with a low water mark (SO_RCVLOWAT)"},
		{SO_PASSSEC, 0, "a socket that asks for security labels (SO_PASSSEC)"},
		{76 /* SO_PASSPIDFD, 6.5 */, 0, "a socket that asks for pidfds (SO_PASSPIDFD)"},
	};

	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		int v[4] = {plain[i].plain}; /* one number, or two long ones */
		socklen_t n = sizeof(v);

		if (getsockopt(fd, SOL_SOCKET, plain[i].name, v, &n) == 0 &&
		    (v[0] != plain[i].plain || v[1] || v[2] || v[3]))
			return socket_refuse(f, plain[i].what, e);
	}
	return 0;
}

static int settle(struct harvest *h, struct open_table *t, const struct open_file *f,
		  const struct diag *d, struct err *e)
{
	uint32_t record = ofd_at(h, f->ofd)->ref;
	struct image_socket *x = image_builder_at(&h->b, IMAGE_SOCKET, record);
	const struct open_file *peer = NULL;
	AUTO_FD int fd = -EBADF;
	struct image_ref content = {0};
	int r;

	if (!d)
		return socket_refuse(f, "a unix socket that leads outside", e);
	if (d->state == 10 /* TCP_LISTEN */)
		return socket_refuse(f, "a listening unix socket", e);
	if (d->named || (!d->peer && d->state != 1 /* TCP_ESTABLISHED */))
		return socket_refuse(f, "a unix socket with a name, or without a peer", e);
	fd = duplicate(f);
	if (fd < 0)
		REFUSE(e, errno, "look at descriptor %d of process %d", f->fd, f->inside_pid);
	x->type = d->type;
	x->shutdown = d->peer ? d->shutdown & 3 : 0; /* a dead peer has shut down both ways */
	x->passcred = option(fd, SO_PASSCRED) != 0;
	x->sndbuf = (uint32_t)option(fd, SO_SNDBUF);
	x->rcvbuf = (uint32_t)option(fd, SO_RCVBUF);
	for (uint32_t i = 0; d->peer && i < t->n_files; i++)
		if (t->file[i].ino == d->peer && t->file[i].dev == f->dev)
			peer = &t->file[i];
	if (peer)
		x->peer = ofd_at(h, peer->ofd)->ref;
	if (d->peer && !peer)
		return socket_refuse(f, "a unix socket whose other end is outside", e);
	r = options_check(f, fd, e);
	if (r == 0)
		r = error_check(f, fd, e);
	if (r == 0)
		r = queue(h, f, fd, d->type, &content, e);
	x = image_builder_at(&h->b, IMAGE_SOCKET, record);
	x->content = content;
	if (r == 0 && peer && d->type != SOCK_STREAM)
		r = empty_check(h, f, peer, x, e);
	return r;
}

int sockets_settle(struct harvest *h, struct open_table *t, struct err *e)
{
	AUTO_FREE struct diag *v = NULL;
	AUTO_FD int monitor = -EBADF;
	int n, r = 0;

	if (!image_builder_count(&h->b, IMAGE_SOCKET))
		return 0;
	monitor = monitor_open(h->src->init_pid);
	n = monitor < 0 ? monitor : diag_list(monitor, &v);
	if (n < 0)
		REFUSE(e, n, "list the unix sockets of the sandbox");
	for (uint32_t i = 0; r == 0 && i < t->n_files; i++)
		if (ofd_at(h, t->file[i].ofd)->kind == IMAGE_OFD_SOCKET)
			r = settle(h, t, &t->file[i], diag_find(v, n, t->file[i].ino), e);
	return r;
}
