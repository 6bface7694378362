/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#define SPLICE_BYTES (1u << 20)
/* POLLOUT promises room for one page of a pipe and for some bytes of a terminal, no more. */
#define PIPE_CHUNK 4096
#define TTY_CHUNK 256
#define KEY_DETACH_1 0x10 /* ctrl-p */
#define KEY_DETACH_2 0x11 /* ctrl-q */

void relay_start(struct relay *r, int in_fd, int out_fd)
{
	r->in_fd = in_fd;
	r->out_fd = out_fd;
	/* ours: the kernel stops those of its background jobs that read it. A master is none. */
	r->in_is_tty = isatty(in_fd) && tcgetsid(in_fd) == getsid(0);
	/* bytes that must be seen or counted can't be spliced past us */
	r->splices = !r->capture && !r->budget && !r->own_over && !r->detached && out_fd >= 0;
}

bool relay_finished(const struct relay *r)
{
	return r->in_fd < 0 && r->len == 0;
}

/* A background job that reads its terminal is stopped by the kernel; so it does not. */
static bool may_read(const struct relay *r)
{
	return !r->in_is_tty || tcgetpgrp(r->in_fd) == getpgrp() || tcgetpgrp(r->in_fd) < 0;
}

int relay_poll(const struct relay *r, struct pollfd *ret)
{
	bool full = r->len > 0;

	ret[0] = (struct pollfd){.fd = -1};
	ret[1] = (struct pollfd){.fd = -1};
	if (relay_finished(r))
		return 0;
	if (!full && r->in_fd >= 0)
		ret[0] = (struct pollfd){r->in_fd, POLLIN, 0};
	/* an error on the way out (a reader that went away) is always told */
	if (r->out_fd >= 0)
		ret[1] = (struct pollfd){r->out_fd, (short)(full ? POLLOUT : 0), 0};
	return 2;
}

static void let_go(struct relay *r, int fd, bool hold)
{
	if (hold)
		r->held_fd = fd;
	else
		close(fd);
}

static void close_out(struct relay *r)
{
	if (r->own_out && r->out_fd >= 0)
		let_go(r, r->out_fd, r->hold_out);
	r->out_fd = -1;
}

static void close_in(struct relay *r)
{
	if (r->own_in && r->in_fd >= 0)
		let_go(r, r->in_fd, r->hold_in);
	r->in_fd = -1;
	if (r->len == 0 && r->closes_out && r->own_out)
		close_out(r);
}

/* The receiver is gone: so are we, and the sender learns it by SIGPIPE. */
static void out_failed(struct relay *r, int code)
{
	if (code != EPIPE && code != EIO)
		r->error = code;
	r->len = 0;
	r->hold_out = false; /* nobody is there to learn of it */
	close_out(r);
	close_in(r);
}

static void keep(struct relay *r, const char *data, size_t n)
{
	struct result_stream *s = r->capture;
	size_t room = s->len < r->capture_max ? r->capture_max - s->len : 0;
	char *grown;

	if (n > room) {
		s->truncated = true;
		n = room;
	}
	if (!n)
		return;
	/* powers of two, so that many small pieces stay linear */
	if (!s->data || (s->len & (s->len - 1)) == 0 || (s->len ^ (s->len + n)) > s->len) {
		size_t size = RELAY_BUFFER;

		while (size < s->len + n)
			size *= 2;
		grown = realloc(s->data, size);
		if (!grown) {
			s->truncated = true;
			return;
		}
		s->data = grown;
	}
	memcpy(s->data + s->len, data, n);
	s->len += n;
}

/* Counts n bytes against the budget; returns how many of them may pass. */
static size_t charge(struct relay *r, size_t n)
{
	if (r->own_over && n > r->own_budget) {
		n = r->own_budget;
		*r->own_over = true;
	}
	r->own_budget -= r->own_over ? n : 0;
	if (!r->budget)
		return n;
	if (n > *r->budget) {
		n = *r->budget;
		*r->over = true;
	}
	*r->budget -= n;
	return n;
}

/* Cuts the n bytes at ctrl-p ctrl-q; a ctrl-p at the end waits for what follows. Returns how many
 * are passed on. */
static size_t find_keys(struct relay *r, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (r->buffer[i] == KEY_DETACH_1 && r->buffer[i + 1] == KEY_DETACH_2) {
			*r->detached = true;
			return i;
		}
	r->key_held = n > 0 && r->buffer[n - 1] == KEY_DETACH_1;
	return n - r->key_held;
}

static void fill(struct relay *r)
{
	size_t held = r->key_held;
	ssize_t n;

	if (!r->buffer)
		r->buffer = malloc(RELAY_BUFFER);
	if (!r->buffer) {
		close_in(r);
		return;
	}
	n = read(r->in_fd, r->buffer + held, RELAY_BUFFER - held);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) { /* a terminal's master gives EIO when the last user of the slave is gone */
		close_in(r);
		return;
	}
	if (held)
		r->buffer[0] = KEY_DETACH_1;
	n += (ssize_t)held;
	r->key_held = false;
	if (r->detached)
		n = (ssize_t)find_keys(r, (size_t)n);
	n = (ssize_t)charge(r, (size_t)n);
	if (r->capture)
		keep(r, r->buffer, (size_t)n);
	r->at = 0;
	r->len = r->out_fd >= 0 ? (size_t)n : 0;
}

/*
 * What POLLOUT promised may be gone: our other stream may lead to the same pipe, and who else
 * writes to it we can't know. So the kernel is told not to wait; one that can't do that for pipes
 * (before 6.4) is asked once more, which leaves the others as the only ones that could keep us.
 */
static ssize_t write_pipe(int fd, char *data, size_t n)
{
	struct iovec part = {data, n};
	struct pollfd p = {fd, POLLOUT, 0};
	ssize_t done = syscall(SYS_pwritev2, fd, &part, 1UL, -1L, -1L, RWF_NOWAIT);

	if (done >= 0 || errno != EOPNOTSUPP)
		return done;
	if (poll(&p, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, data, n < PIPE_CHUNK ? n : PIPE_CHUNK);
}

static void drain(struct relay *r)
{
	char *data = r->buffer + r->at;
	struct stat st = {0};
	size_t n = r->len;
	ssize_t done;

	if (fstat(r->out_fd, &st) == 0 && S_ISCHR(st.st_mode) && n > TTY_CHUNK)
		n = TTY_CHUNK;
	if (S_ISSOCK(st.st_mode))
		done = send(r->out_fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (S_ISFIFO(st.st_mode))
		done = write_pipe(r->out_fd, data, n);
	else
		done = write(r->out_fd, data, n);
	if (done < 0) {
		if (errno != EINTR && errno != EAGAIN)
			out_failed(r, errno);
		return;
	}
	r->at += (size_t)done;
	r->len -= (size_t)done;
	if (r->len == 0 && r->in_fd < 0)
		close_in(r);
}

/* True when the kernel moved the bytes, or there is nothing to move now. */
static bool try_splice(struct relay *r)
{
	ssize_t n = splice(r->in_fd, NULL, r->out_fd, NULL, SPLICE_BYTES,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n > 0)
		return true;
	if (n == 0) {
		close_in(r);
		return true;
	}
	if (errno == EINVAL || errno == ENOSYS || errno == EAGAIN) {
		/*
		 * EINVAL: a file opened for appending, a terminal. EAGAIN: the receiver is full;
		 * from here on the buffer tells us to wait for it.
		 */
		r->splices = errno == EAGAIN;
		return false;
	}
	if (errno != EINTR)
		out_failed(r, errno);
	return true;
}

void relay_move(struct relay *r, short in_events, short out_events)
{
	if (r->out_fd >= 0 && (out_events & (POLLERR | POLLNVAL)) && !(out_events & POLLOUT)) {
		out_failed(r, EPIPE);
		return;
	}
	if (r->len && (out_events & POLLOUT))
		drain(r);
	if (r->len || r->in_fd < 0 || !(in_events & (POLLIN | POLLHUP | POLLERR)))
		return;
	if (!may_read(r))
		return;
	if (r->splices && try_splice(r))
		return;
	fill(r);
}

int relay_poll_command(const struct relay relay[3], bool input, struct pollfd *ret, int ret_at[3])
{
	int n = 0;

	for (int i = 0; i < 3; i++) {
		int used = i == 0 && !input ? 0 : relay_poll(&relay[i], ret + n);

		ret_at[i] = used ? n : -1;
		n += used;
	}
	return n;
}

void relay_move_command(struct relay relay[3], struct pollfd *p, const int at[3])
{
	/* poll looks at one after the other: what was written to stdout before this came to stderr
	 * may have been missed, and goes first */
	if (at[1] >= 0 && at[2] >= 0 && p[at[2]].revents & POLLIN && !(p[at[1]].revents & POLLIN))
		ignore_err(poll(&p[at[1]], 1, 0), "then it comes with the next round");
	for (int i = 0; i < 3; i++)
		if (at[i] >= 0)
			relay_move(&relay[i], p[at[i]].revents, p[at[i] + 1].revents);
}

void relay_release(struct relay *r)
{
	r->hold_in = r->hold_out = false;
	if (r->held_fd > 0)
		close(r->held_fd);
	r->held_fd = 0;
}

void relay_end(struct relay *r)
{
	relay_release(r);
	r->len = 0;
	close_in(r);
	close_out(r);
	free(r->buffer);
	*r = (struct relay){.in_fd = -1, .out_fd = -1};
}
