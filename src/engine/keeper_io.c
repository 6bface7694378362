/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's streams and connections. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "engine/frame.h"
#include "engine/keeper.h"
#include "engine/tty.h"
#include "raw/syscall.h"

int keeper_watch(struct keeper *k, struct source *s, uint32_t events, struct err *e)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	if (epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return err_set(e, ERR_HOST, errno, "watch a descriptor");
	return 0;
}

void keeper_unwatch(struct keeper *k, struct source *s)
{
	if (s->fd < 0)
		return;
	ignore_err(epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL), "closing it is as good");
	close_fd(&s->fd);
}

void keeper_own_pipe(const struct keeper *k, int fd)
{
	uid_t uid = k->box.id_base + k->plan.plan->uid;
	struct stat st;

	if (k->host.root && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		ignore_err(fchown(fd, uid, uid), "only reopening by path is lost");
}

/* Hands n bytes to every attached client; one that does not read loses them. */
static void fan_out(struct keeper *k, int index, const char *data, size_t n)
{
	for (size_t i = 0; i < KEEPER_CONNS; i++) {
		struct conn *c = &k->conns[i];
		ssize_t done;

		if (c->source.fd < 0 || c->out_fd[index] < 0)
			continue;
		done = write(c->out_fd[index], data, n);
		if (done < 0 && errno != EAGAIN)
			close_fd(&c->out_fd[index]);
		else if (done < (ssize_t)n)
			c->lost_bytes += n - (size_t)(done < 0 ? 0 : done);
	}
}

static size_t bounded(uint64_t limit, uint64_t used, size_t n, bool *over)
{
	if (limit == SPEC_UNSET || n <= limit - used)
		return n;
	*over = true;
	return (size_t)(limit - used);
}

/* How much of n more bytes the main command may write; what is beyond is dropped, and ends it. */
static size_t within_limit(struct keeper *k, int index, size_t n)
{
	const struct spec_limits *l = &k->spec.limits;
	struct ending *end = &k->commands[0].end;
	bool before = ending_output_over(end);

	n = bounded(index ? l->stderr_bytes : l->stdout_bytes, k->stream_bytes[index], n,
		    &end->stream_over[index]);
	n = bounded(l->output_bytes, k->output_bytes, n, &end->output_over);
	if (!before && ending_output_over(end))
		keeper_strike(k);
	k->stream_bytes[index] += n;
	k->output_bytes += n;
	return n;
}

static void output_ready(struct keeper *k, struct source *s, uint32_t events)
{
	static char data[65536];
	int index = (int)(s - k->output);
	ssize_t n = read(s->fd, data, sizeof(data));

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* a terminal's master gives EIO when its last user is gone */
		keeper_unwatch(k, s);
		if (k->master_fd >= 0 && index == 0)
			k->master_fd = -EBADF;
		for (size_t i = 0; i < KEEPER_CONNS; i++)
			close_fd(&k->conns[i].out_fd[index]);
		return;
	}
	k->idle_at = 0;
	n = (ssize_t)within_limit(k, index, (size_t)n);
	if (!n)
		return;
	output_write(&k->log, index ? 'e' : 'o', data, (size_t)n);
	fan_out(k, index, data, (size_t)n);
}

bool keeper_output_drained(const struct keeper *k)
{
	return k->output[0].fd < 0 && k->output[1].fd < 0;
}

/* stdin stays open and silent until somebody attaches; or /dev/null when the spec did not ask for
 * it. */
static int main_stdin(struct keeper *k, int *ret_fd, struct err *e)
{
	int fd[2];

	if (!k->spec.command.stdin_open) {
		*ret_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return *ret_fd < 0 ? err_set(e, ERR_HOST, errno, "open /dev/null") : 0;
	}
	if (pipe2(fd, O_CLOEXEC) < 0)
		return err_set(e, ERR_HOST, errno, "make a pipe");
	keeper_own_pipe(k, fd[0]);
	*ret_fd = fd[0];
	k->main_in_fd = fd[1];
	return 0;
}

int keeper_main_stdio(struct keeper *k, int fds[3], struct err *e)
{
	int r;

	if (k->spec.command.tty)
		return 0;
	r = main_stdin(k, &fds[0], e);
	for (int i = 0; r == 0 && i < 2; i++) {
		int fd[2];

		if (pipe2(fd, O_CLOEXEC) < 0)
			return err_set(e, ERR_HOST, errno, "make a pipe");
		keeper_own_pipe(k, fd[0]);
		fds[i + 1] = fd[1];
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
		k->output[i] = (struct source){fd[0], output_ready};
		r = keeper_watch(k, &k->output[i], EPOLLIN, e);
	}
	return r;
}

void keeper_main_terminal(struct keeper *k, int master)
{
	struct err ignored = ERR_INIT;

	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	k->master_fd = master;
	k->output[0] = (struct source){master, output_ready};
	if (keeper_watch(k, &k->output[0], EPOLLIN, &ignored) < 0) {
		close_fd(&k->output[0].fd);
		k->master_fd = -EBADF;
	}
}

void keeper_conn_close(struct keeper *k, struct conn *c)
{
	bool bound = c->bound;

	clone_forget_client(k, c);
	for (size_t i = 0; i < KEEPER_COMMANDS; i++)
		if (k->commands[i].client == c)
			k->commands[i].client = NULL;
	keeper_unwatch(k, &c->source);
	close_fd(&c->out_fd[0]);
	close_fd(&c->out_fd[1]);
	json_decref(c->wait_id);
	json_decref(c->move);
	*c = (struct conn){.source = {.fd = -EBADF}, .out_fd = {-EBADF, -EBADF}};
	if (bound) {
		struct err ignored = ERR_INIT;

		ignore_err(keeper_event(k, EVENT_KILL, &ignored), "it may be ending already");
	}
}

void keeper_send(struct keeper *k, struct conn *c, json_t *o, const int *fds, int n)
{
	json_object_set_new(o, "v", json_integer(FRAME_VERSION));
	if (c && c->source.fd >= 0 && frame_send(c->source.fd, o, fds, n) < 0)
		keeper_conn_close(k, c); /* gone, or it does not read */
	json_decref(o);
}

void keeper_answer(struct keeper *k, struct conn *c, const json_t *id, json_t *result,
		   const int *fds, int n)
{
	json_t *o = json_object();

	json_object_set(o, "id", id ? (json_t *)id : json_null());
	json_object_set_new(o, "result", result ? result : json_object());
	if (whole_json_lost()) {
		struct err e = ERR_INIT;

		json_decref(o);
		err_set(&e, ERR_INTERNAL, ENOMEM, "it is done, but can't be told");
		keeper_refuse(k, c, id, &e);
		return;
	}
	keeper_send(k, c, o, fds, n);
}

/* A sentence may hold a name of the workload's making, and JSON holds no other text than UTF-8. */
static json_t *sentence(const char *s)
{
	char clean[4 * sizeof(((struct err *)0)->what)];

	text_escape(s, strlen(s), clean, sizeof(clean));
	return json_string(clean);
}

void keeper_refuse(struct keeper *k, struct conn *c, const json_t *id, const struct err *e)
{
	json_t *o = json_object();

	json_object_set(o, "id", id ? (json_t *)id : json_null());
	json_object_set_new(o, "error",
			    json_pack("{s:s,s:i,s:o,s:o,s:o}", "id", err_name(e->id), "errno",
				      e->code, "step", sentence(e->step), "text", sentence(e->what),
				      "hint", sentence(e->hint)));
	keeper_send(k, c, o, NULL, 0);
}

void keeper_publish_event(struct keeper *k, const char *event, json_t *detail)
{
	uint64_t now_ns = keeper_clock_ns();

	for (size_t i = 0; i < KEEPER_CONNS; i++) {
		struct conn *c = &k->conns[i];

		if (c->source.fd < 0 || !c->subscribed)
			continue;
		keeper_send(k, c,
			    json_pack("{s:s,s:s,s:o,s:I,s:O?}", "event", event, "id", k->journal.id,
				      "name",
				      k->spec.name ? json_string(k->spec.name) : json_null(),
				      "time_ns", (json_int_t)now_ns, "detail", detail),
			    NULL, 0);
	}
	json_decref(detail);
}

static void conn_ready(struct keeper *k, struct source *s, uint32_t events)
{
	struct conn *c = (struct conn *)((char *)s - offsetof(struct conn, source));
	int fds[FRAME_FDS], n, r;
	json_t *o;

	(void)events;
	r = frame_receive(s->fd, &o, fds, &n);
	if (r == -EAGAIN)
		return;
	if (r < 0) {
		struct err e = ERR_INIT;

		if (r == -EPROTO)
			err_set(&e, ERR_PROTOCOL, 0, "that was no frame of version %d",
				FRAME_VERSION);
		else
			err_set(&e, ERR_INTERNAL, r, "read a request");
		keeper_refuse(k, c, NULL, &e);
	}
	if (r <= 0) {
		keeper_conn_close(k, c);
		return;
	}
	k->idle_at = 0;
	keeper_request(k, c, o, fds, n);
}

static bool may_talk(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

/* The client's next words find nobody; these are there before. */
static void send_away(int fd)
{
	struct err e = ERR_INIT;
	json_t *o;

	err_set(&e, ERR_STATE, EMFILE, "%d clients are connected already", KEEPER_CONNS);
	o = json_pack("{s:i,s:n,s:{s:s,s:i,s:s}}", "v", FRAME_VERSION, "id", "error", "id",
		      err_name(e.id), "errno", e.code, "text", e.what);
	if (o)
		ignore_err(frame_send(fd, o, NULL, 0), "it may have gone");
	json_decref(o);
}

static void listener_ready(struct keeper *k, struct source *s, uint32_t events)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err ignored = ERR_INIT;

	(void)events;
	if (fd < 0)
		return;
	if (!may_talk(fd)) {
		close(fd);
		return;
	}
	for (size_t i = 0; i < KEEPER_CONNS; i++) {
		struct conn *c = &k->conns[i];

		if (c->source.fd >= 0)
			continue;
		*c = (struct conn){.source = {fd, conn_ready}, .out_fd = {-EBADF, -EBADF}};
		if (keeper_watch(k, &c->source, EPOLLIN, &ignored) == 0)
			return;
		c->source.fd = -EBADF;
		break;
	}
	send_away(fd);
	close(fd);
}

int keeper_listen(struct keeper *k, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old;

	if (fd < 0)
		return err_set(e, ERR_HOST, errno, "make the control socket");
	k->listener = (struct source){fd, listener_ready};
	/* by descriptor: the state directory's path may be longer than a socket address */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control.sock",
		 k->journal.dir_fd);
	old = umask(0177);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0) {
		umask(old);
		return err_set(e, ERR_HOST, errno, "open the control socket");
	}
	umask(old);
	return keeper_watch(k, &k->listener, EPOLLIN, e);
}
