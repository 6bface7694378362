/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/nursery.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "engine/frame.h"
#include "engine/host.h"
#include "raw/syscall.h"

#define ORDER_MAX (8u << 20)
/* One clone's launch may take so long on a busy machine; init's own patience is less. */
#define PATIENCE_MS 60000

enum phase { YOUNG, PARKED, GONE };

struct child {
	pid_t pid; /* 0: not made yet, or reaped */
	enum phase phase;
};

struct nursery {
	int client_fd;
	int report_fd[2]; /* the keepers share the second one; each report is a message */
	int gate_fd[2];   /* a byte for each keeper lets it go; its end is the end of all */
	int signal_fd;
	struct spec spec;
	struct clone_parts parts;
	struct plan_host host;
	struct cgroup_host cgroups;
	json_t *order;
	const json_t *names;
	struct child *child;
	size_t n, made, phase_n[GONE + 1];
	struct err e; /* the first failure */
};

/* ---- the order ---- */

static json_t *read_order(int fd)
{
	struct stat st;
	char *text;
	json_t *o;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > ORDER_MAX)
		return NULL;
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		return NULL;
	o = json_loadb(text, (size_t)st.st_size, 0, NULL);
	munmap(text, (size_t)st.st_size);
	return o;
}

/* 1: an order; 0: the client went away, for instance because nothing could be captured. */
static int take_order(struct nursery *n)
{
	int fds[FRAME_FDS], count = 0, r;
	const char *spec;
	json_t *frame;

	r = frame_receive(n->client_fd, &frame, fds, &count);
	if (r <= 0)
		return r;
	json_decref(frame);
	if (count < 3) {
		while (count)
			close(fds[--count]);
		return err_set(&n->e, ERR_PROTOCOL, 0, "an order of clones without its image");
	}
	n->order = read_order(fds[0]);
	close(fds[0]);
	n->parts.image_fd = fds[1];
	n->parts.layer_fd = fds[2];
	n->parts.slot_fd = count > 3 ? fds[3] : -EBADF;
	n->parts.meta = json_object_get(n->order, "meta");
	n->names = json_object_get(n->order, "names");
	n->n = json_array_size(n->names);
	spec = json_string_value(json_object_get(n->order, "spec"));
	if (!spec || !n->n || !json_is_object(n->parts.meta))
		return err_set(&n->e, ERR_PROTOCOL, 0, "an order of clones that can't be read");
	n->child = calloc(n->n, sizeof(*n->child));
	if (!n->child)
		return err_set(&n->e, ERR_INTERNAL, ENOMEM, "make %zu clones", n->n);
	r = spec_decode(spec, strlen(spec), &n->spec, &n->e);
	return r < 0 ? r : 1;
}

static int prepare(struct nursery *n)
{
	int fd = clone_make_plan(&n->spec, &n->host, &n->parts, &n->e);

	if (fd < 0)
		return fd;
	n->parts.plan_fd = fd;
	fd = box_init_memfd(&n->e);
	if (fd < 0)
		return fd;
	n->parts.exe_fd = fd;
	n->parts.spec = &n->spec;
	n->parts.host = &n->host;
	n->parts.cgroups = &n->cgroups;
	return 0;
}

/* ---- keepers ---- */

_Noreturn static void child_main(struct nursery *n, size_t index)
{
	const char *name = json_string_value(json_array_get(n->names, index));

	close_fd(&n->client_fd);
	close_fd(&n->report_fd[0]);
	close_fd(&n->gate_fd[1]);
	close_fd(&n->signal_fd);
	free(n->spec.name);
	n->spec.name = strdup(name ? name : "");
	n->parts.index = (uint32_t)index;
	n->parts.gate_fd = n->gate_fd[0];
	_exit(n->spec.name ? keeper_clone_main(&n->parts, n->report_fd[1]) : 125);
}

static int make_child(struct nursery *n)
{
	pid_t pid = fork();

	if (pid == 0)
		child_main(n, n->made);
	if (pid < 0)
		return err_set(&n->e, ERR_HOST, errno, "start the keeper of a clone");
	n->child[n->made++] = (struct child){pid, YOUNG};
	n->phase_n[YOUNG]++;
	return 0;
}

static const char *name_of(const struct nursery *n, size_t i)
{
	return json_string_value(json_array_get(n->names, i));
}

static void tell(const struct nursery *n, const struct keeper_report *r)
{
	ignore_err(send(n->client_fd, r, sizeof(*r), MSG_NOSIGNAL), "its end is noticed elsewhere");
}

static void tell_phase(const struct nursery *n, uint32_t index)
{
	struct keeper_report r = {.index = index, .told_ns = raw_now_ns(), .error = n->e};

	tell(n, &r);
}

/* The client counts n reports after NURSERY_PARKED: one that died there has one too. */
static void fail(struct nursery *n, size_t index, const struct err *e)
{
	struct keeper_report r = {.index = (uint32_t)index, .error = *e};

	if (!n->e.id)
		n->e = *e;
	if (n->child[index].phase == PARKED && n->phase_n[YOUNG] == 0 && n->gate_fd[1] < 0)
		tell(n, &r);
}

static void step(struct nursery *n, size_t index, enum phase next)
{
	n->phase_n[n->child[index].phase]--;
	n->phase_n[next]++;
	n->child[index].phase = next;
}

static void take_reports(struct nursery *n)
{
	struct keeper_report r;

	while (recv(n->report_fd[0], &r, sizeof(r), MSG_DONTWAIT) == (ssize_t)sizeof(r)) {
		struct child *c = r.index < n->made ? &n->child[r.index] : NULL;

		if (!c || c->phase == GONE)
			continue;
		if (r.error.id) {
			fail(n, r.index, &r.error);
			step(n, r.index, GONE);
		} else if (c->phase == YOUNG) {
			step(n, r.index, PARKED);
		} else {
			tell(n, &r);
			step(n, r.index, GONE);
		}
	}
}

static void reap(struct nursery *n)
{
	struct signalfd_siginfo info[16];
	pid_t pid;

	ignore_err(read(n->signal_fd, info, sizeof(info)), "waitpid knows");
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (size_t i = 0; i < n->made; i++) {
			struct err e = ERR_INIT;

			if (n->child[i].pid != pid)
				continue;
			n->child[i].pid = 0;
			take_reports(n); /* what it said before */
			if (n->child[i].phase == GONE)
				continue;
			err_set(&e, ERR_KEEPER, 0, "the keeper of the clone '%s' died",
				name_of(n, i));
			fail(n, i, &e);
			step(n, i, GONE);
		}
}

/* Waits for something to happen; notices a client that went away. */
static int look(struct nursery *n)
{
	struct pollfd p[] = {{n->report_fd[0], POLLIN, 0},
			     {n->signal_fd, POLLIN, 0},
			     {n->gate_fd[1] < 0 ? -1 : n->client_fd, 0, 0}};
	int r = poll(p, 3, PATIENCE_MS);

	if (r == 0)
		return err_set(&n->e, ERR_LAUNCH, ETIMEDOUT, "make the clones");
	take_reports(n);
	if (p[1].revents)
		reap(n);
	if (p[2].revents & (POLLHUP | POLLERR))
		return err_set(&n->e, ERR_STATE, ECANCELED, "whoever asked for the clones is gone");
	return n->e.id ? -ECANCELED : 0;
}

/* A launch waits now and then, for the kernel's grace periods and for its init: four share a
 * processor. More take each other's caches. */
static size_t width(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 4 : (size_t)CPU_COUNT(&set) * 4;
}

static int park_all(struct nursery *n)
{
	size_t at_once = width();
	int r = 0;

	while (r == 0 && n->phase_n[PARKED] < n->n) {
		while (r == 0 && n->made < n->n && n->phase_n[YOUNG] < at_once)
			r = make_child(n);
		if (r == 0)
			r = look(n);
	}
	return r;
}

static void go_all(struct nursery *n)
{
	static const char words[4096];

	for (size_t left = n->n; left;) {
		ssize_t done = write(n->gate_fd[1], words, left < 4096 ? left : 4096);

		if (done <= 0)
			break; /* its end, below, ends those that have no byte */
		left -= (size_t)done;
	}
	close_fd(&n->gate_fd[1]);
	while (n->phase_n[PARKED] && look(n) != -ETIMEDOUT)
		;
}

/* Nobody goes on. What they made is gone when they are. */
static void end_all(struct nursery *n)
{
	close_fd(&n->gate_fd[1]);
	close_fd(&n->report_fd[0]);
	for (size_t i = 0; i < n->made; i++)
		while (n->child[i].pid && waitpid(n->child[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
}

static int open_channels(struct nursery *n)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	n->signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (n->signal_fd < 0 || pipe2(n->gate_fd, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, n->report_fd) < 0)
		return err_set(&n->e, ERR_HOST, errno, "make the nursery's channels");
	return 0;
}

/* Everything that can be known to be wrong is known before the client says launch. */
static int ready(struct nursery *n)
{
	struct err facts = ERR_INIT;
	int r = host_facts(&n->host, &n->cgroups, CGROUP_KNOWN, &facts), taken;

	taken = take_order(n);
	if (taken == 0)
		return -ECANCELED;
	if (r < 0)
		n->e = facts;
	r = r < 0 ? r : taken < 0 ? taken : prepare(n);
	if (r == 0)
		r = open_channels(n);
	return r < 0 && !n->e.id ? err_set(&n->e, ERR_PROTOCOL, r, "take an order of clones") : r;
}

int nursery_main(int client_fd)
{
	static struct nursery n = {.parts = CLONE_PARTS_INIT};
	char word;
	int r;

	n.client_fd = client_fd;
	n.gate_fd[0] = n.gate_fd[1] = n.report_fd[0] = n.report_fd[1] = n.signal_fd = -EBADF;
	keeper_daemonise();
	r = ready(&n);
	if (r == -ECANCELED)
		return 0;
	tell_phase(&n, NURSERY_PLANNED);
	if (r < 0 || read(client_fd, &word, 1) != 1)
		return r < 0 ? 125 : 0;
	r = park_all(&n);
	if (r < 0)
		end_all(&n);
	tell_phase(&n, NURSERY_PARKED);
	if (r == 0)
		go_all(&n);
	return 0;
}

/* ---- the client's half ---- */

static int order_memfd(const struct spec *spec, const json_t *names,
		       const struct clone_parts *parts, struct err *e)
{
	AUTO_FREE char *spec_text = spec_encode(spec);
	json_t *o = json_pack("{s:s,s:O,s:O}", "spec", spec_text ? spec_text : "", "meta",
			      parts->meta, "names", names);
	AUTO_FREE char *text = o ? whole_json_dumps(o, JSON_COMPACT) : NULL;
	AUTO_FD int fd = memfd_create("cleave-order", MFD_CLOEXEC);

	json_decref(o);
	if (!text || fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return err_set(e, ERR_HOST, errno, "write the order of clones");
	return take_fd(&fd);
}

int nursery_order(int nursery_fd, const struct spec *spec, const json_t *names,
		  const struct clone_parts *parts, struct err *e)
{
	AUTO_FD int order_fd = order_memfd(spec, names, parts, e);
	int fds[] = {order_fd, parts->image_fd, parts->layer_fd, parts->slot_fd}, r;
	struct keeper_report report;
	json_t *frame;

	if (order_fd < 0)
		return order_fd;
	frame = json_pack("{s:i}", "v", FRAME_VERSION);
	r = frame ? frame_send(nursery_fd, frame, fds, parts->slot_fd < 0 ? 3 : 4) : -ENOMEM;
	json_decref(frame);
	if (r < 0)
		return err_set(e, ERR_KEEPER, r, "hand the order to the clones' keepers");
	return nursery_hear(nursery_fd, &report, e);
}

int nursery_launch(int nursery_fd, struct err *e)
{
	struct keeper_report report;

	ignore_err(send(nursery_fd, "l", 1, MSG_NOSIGNAL), "its answer tells");
	return nursery_hear(nursery_fd, &report, e);
}

int nursery_hear(int nursery_fd, struct keeper_report *ret, struct err *e)
{
	ssize_t n;

	do
		n = recv(nursery_fd, ret, sizeof(*ret), 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*ret)) {
		*ret = (struct keeper_report){.index = UINT32_MAX};
		err_set(e, ERR_KEEPER, n < 0 ? errno : 0, "the process that makes clones died");
		return -EPIPE;
	}
	if (ret->error.id) {
		if (!e->id)
			*e = ret->error;
		return e->code ? -e->code : -EINVAL;
	}
	return 0;
}
