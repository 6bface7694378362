/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at sandboxes: list, inspect, stats, events; and forgetting them. */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "engine/client.h"
#include "engine/frame.h"
#include "engine/journal.h"
#include "engine/sigpipe.h"
#include "lib/lib.h"

bool lib_has_ended(void *dir_fd)
{
	return !registry_alive(*(int *)dir_fd);
}

int lib_forget(const char *id, struct err *e)
{
	AUTO_FREE char *report = NULL;
	AUTO_FD int dir = registry_open(id, e);
	AUTO_FREE char *journal = NULL;

	if (dir < 0)
		return dir;
	journal = registry_read(dir, "journal");
	if (!journal && errno != ENOENT)
		return err_set(e, ERR_HOST, errno, "read the journal of %s", id);
	/* a killed keeper's cgroups first: forgetting the journal would lose them */
	if (journal && *journal)
		ignore_err(journal_gc(&report, e), "what stays is told by forget");
	if (!registry_exists(id))
		return registry_sweep(&report, e);
	return registry_forget(id, e);
}

/* state.json as it was written last, corrected by what can be seen now. NULL with *e set. */
static json_t *describe(const char *id, int dir_fd, struct err *e)
{
	AUTO_FREE char *text = registry_read(dir_fd, "state.json");
	int code = text || registry_is_lost(errno) ? 0 : errno;
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(o, "state"));
	bool alive = registry_alive(dir_fd);

	if (code) {
		err_set(e, ERR_HOST, code, "read the state of %s", id);
		return NULL;
	}
	if (!o) /* one that can't be read must not hide the others */
		o = json_pack("{s:s,s:n,s:s}", "id", id, "name", "state",
			      alive ? "starting" : "dead");
	else if (!alive && (!state || strcmp(state, "exited") != 0))
		json_object_set_new(o, "state",
				    json_string("dead")); /* its keeper was killed: gc removes it */
	return o;
}

struct listing {
	json_t *list;
	struct err *e;
};

static int add(void *arg, const char *id, int dir_fd)
{
	struct listing *l = arg;
	json_t *o = describe(id, dir_fd, l->e);

	if (!o)
		return -EIO;
	json_object_del(o, "layers");
	json_object_del(o, "limits");
	json_array_append_new(l->list, o);
	return 0;
}

EXPORT char *cleave_list(void)
{
	struct err *e = lib_error();
	struct listing l = {json_array(), e};
	char *text = NULL;

	if (registry_each(add, &l, e) == 0)
		text = whole_json_dumps(l.list, JSON_COMPACT);
	json_decref(l.list);
	return text;
}

/* Values of the environment may be keys and passwords: only the names are shown. Takes and returns
 * o. */
static json_t *without_secrets(json_t *o)
{
	json_t *env = json_object_get(o, "env");

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *pair = json_string_value(json_array_get(env, i));
		int len = pair ? (int)strcspn(pair, "=") : 0;

		json_array_set_new(env, i, json_sprintf("%.*s=(hidden)", len, pair ? pair : ""));
	}
	return o;
}

EXPORT char *cleave_inspect(const char *name)
{
	struct err *e = lib_error();
	char id[REGISTRY_ID], *text = NULL;
	AUTO_FREE char *spec = NULL;
	AUTO_FD int dir = registry_open_name(name, id, e);
	json_t *o;

	if (dir < 0)
		return NULL;
	o = describe(id, dir, e);
	if (!o)
		return NULL;
	spec = registry_read(dir, "spec.json");
	if (!spec && errno != ENOENT) {
		err_set(e, ERR_HOST, errno, "read the spec of %s", id);
		json_decref(o);
		return NULL;
	}
	json_object_set_new(o, "spec",
			    spec ? without_secrets(json_loads(spec, 0, NULL)) : json_null());
	text = whole_json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

EXPORT char *cleave_stats(const char *name)
{
	json_t *o = NULL;
	char *text;

	if (client_call(name, "stats", json_object(), &o, lib_error()) < 0)
		return NULL;
	text = whole_json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

#define STARTING_LOOK_MS 50

struct listeners {
	struct client *clients;
	struct pollfd *poll;
	char (*starting)[REGISTRY_ID]; /* their sockets are not there yet */
	size_t n, n_starting;
	size_t room;  /* of each of them; poll has one more, for watch_fd */
	int watch_fd; /* tells of new sandboxes; -EBADF where one alone is meant */
	int out_fd;
};

/* For one more sandbox, which starts or is listened to. */
static int make_room(struct listeners *l, struct err *e)
{
	size_t room = l->room * 2 + 16;
	void *p;

	if (l->n + l->n_starting < l->room)
		return 0;
	if ((p = realloc(l->clients, room * sizeof(*l->clients))))
		l->clients = p;
	if (p && (p = realloc(l->poll, (room + 1) * sizeof(*l->poll))))
		l->poll = p;
	if (p && (p = realloc(l->starting, room * sizeof(*l->starting))))
		l->starting = p;
	if (!p)
		return err_set(e, ERR_INTERNAL, ENOMEM, "listen to one more sandbox");
	l->room = room;
	return 0;
}

static int subscribe(struct listeners *l, const char *name, struct err *e)
{
	struct client *c = &l->clients[l->n];
	bool exited;
	int r = client_open(name, c, &exited, e);

	if (r == 0)
		r = client_send(c, "events", json_object(), NULL, 0, e);
	if (r < 0)
		client_close(c);
	else
		l->n++;
	return r;
}

struct appearing {
	struct listeners *l;
	struct err *e;
};

static int appear(void *arg, const char *id, int dir_fd)
{
	struct listeners *l = ((struct appearing *)arg)->l;
	int r;

	if (!registry_alive(dir_fd))
		return 0; /* of these there may be any number */
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->clients[i].id, id) == 0)
			return 0;
	for (size_t i = 0; i < l->n_starting; i++)
		if (strcmp(l->starting[i], id) == 0)
			return 0;
	r = make_room(l, ((struct appearing *)arg)->e);
	if (r == 0)
		snprintf(l->starting[l->n_starting++], REGISTRY_ID, "%s", id);
	return r;
}

/* Those that can be talked to by now are listened to; those that have ended are forgotten. Nobody
 * is passed over in silence because we have no descriptor left. */
static int look_at_starting(struct listeners *l, struct err *e)
{
	for (size_t i = l->n_starting; i-- > 0;) {
		struct err why = ERR_INIT;
		AUTO_FD int dir = registry_open(l->starting[i], &why);
		bool alive = dir >= 0 && registry_alive(dir);
		int r = dir < 0 ? dir : 0;

		if (alive && faccessat(dir, "control.sock", F_OK, 0) < 0)
			continue;
		if (alive)
			r = subscribe(l, l->starting[i], &why); /* it may have ended meanwhile */
		if (r == -EMFILE || r == -ENFILE)
			return err_set(e, ERR_HOST, -r, "listen to %zu sandboxes", l->n + 1);
		memmove(l->starting[i], l->starting[--l->n_starting], REGISTRY_ID);
	}
	return 0;
}

static int watch_all(struct listeners *l, struct err *e)
{
	AUTO_FD int dir = state_open_dir("sandboxes", e);
	char path[64];
	int r;

	if (dir < 0)
		return dir;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	l->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (l->watch_fd < 0 || inotify_add_watch(l->watch_fd, path, IN_MOVED_TO) < 0)
		return err_set(e, ERR_HOST, errno, "watch the state directory");
	r = registry_each(appear, &(struct appearing){l, e}, e);
	return r < 0 ? r : look_at_starting(l, e);
}

/* A directory gets its name when its keeper holds the lock. */
static int take_new(struct listeners *l, struct err *e)
{
	_Alignas(struct inotify_event) char data[4096];

	/* which ones is as easily seen in the directory */
	while (read(l->watch_fd, data, sizeof(data)) > 0)
		;
	return registry_each(appear, &(struct appearing){l, e}, e);
}

/* Passes one frame on. *ret_gone: the keeper is. Negative: nobody can be told. */
static int pass_event(struct client *c, int fd, bool *ret_gone)
{
	int fds[FRAME_FDS], n = 0, r;
	struct err ignored = ERR_INIT;
	AUTO_FREE char *text = NULL;
	json_t *o = NULL;

	r = client_receive(c, &o, fds, &n, &ignored);
	while (n > 0)
		close(fds[--n]);
	*ret_gone = r < 0;
	if (r == 2) {
		json_object_del(o, "v");
		text = whole_json_dumps(o, JSON_COMPACT);
	}
	json_decref(o);
	return text && dprintf(fd, "%s\n", text) < 0 ? -errno : 0;
}

/* Whatever goes wrong has set *e. */
static int listen_once(struct listeners *l, struct err *e)
{
	struct pollfd *p = l->poll;
	size_t n = l->n;
	int r = p ? 0 : make_room(l, e);

	if (!p)
		return r;
	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){l->clients[i].fd, POLLIN, 0};
	p[n] = (struct pollfd){l->watch_fd, POLLIN, 0};
	if (poll(p, n + 1, l->n_starting ? STARTING_LOOK_MS : -1) < 0)
		return errno == EINTR ? 0 : err_set(e, ERR_HOST, errno, "wait for events");
	for (size_t i = n; r == 0 && i-- > 0;) {
		bool gone = false;

		if (p[i].revents)
			r = pass_event(&l->clients[i], l->out_fd, &gone);
		if (!gone)
			continue;
		client_close(&l->clients[i]);
		l->clients[i] = l->clients[--l->n];
	}
	if (r < 0)
		return r == -EPIPE ? r : err_set(e, ERR_OUTPUT, -r, "write the events");
	if (p[n].revents)
		r = take_new(l, e);
	return r < 0 ? r : look_at_starting(l, e);
}

EXPORT int cleave_events(const char *name, int fd)
{
	struct err *e = lib_error();
	struct listeners l = {.watch_fd = -EBADF, .out_fd = fd};
	struct sigpipe sigpipe;
	int r = make_room(&l, e);

	sigpipe_hold(&sigpipe);
	if (r == 0)
		r = name ? subscribe(&l, name, e) : watch_all(&l, e);
	if (r == 0) {
		while (r == 0 && (l.n || !name))
			r = listen_once(&l, e);
		r = r == -EPIPE ? 0 : r; /* the reader has what it wanted */
	}
	sigpipe_release(&sigpipe);
	for (size_t i = 0; i < l.n; i++)
		client_close(&l.clients[i]);
	close_fd(&l.watch_fd);
	free(l.clients);
	free(l.poll);
	free(l.starting);
	return r;
}
