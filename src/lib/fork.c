/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forks and snapshots: the client between the source's keeper, which captures, and the clones'
 * keepers, which it starts. All clones stand before one goes on; if one fails, none does.
 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "engine/client.h"
#include "engine/clone.h"
#include "engine/frame.h"
#include "engine/nursery.h"
#include "engine/snapshot.h"
#include "lib/keepers.h"
#include "lib/lib.h"
#include "raw/syscall.h"

#define CLONES_MAX 4096

struct clone {
	char *name;
	struct keeper_report report;
};

struct forking {
	struct clone_parts parts;
	struct spec spec; /* of the clones, but for their names */
	struct clone *clones;
	size_t n;
	const char *keep_id; /* a rollback: the only clone is the same sandbox as before */
	int nursery_fd;
	uint64_t began_ns, captured_ns, planned_ns, launched_ns, parked_ns;
	struct err *e;
};

#define FORKING_INIT(error) \
	((struct forking){.parts = CLONE_PARTS_INIT, .nursery_fd = -EBADF, .e = (error)})

/* ---- the source ---- */

static int source_spec(int dir_fd, struct spec *ret, struct err *e)
{
	AUTO_FREE char *text = registry_read(dir_fd, "spec.json");

	if (!text)
		return err_set(e, ERR_STATE, errno, "read the spec of the source");
	return spec_decode(text, strlen(text), ret, e);
}

static int capture_living(const char *name, struct clone_parts *ret, struct spec *spec,
			  struct err *e)
{
	int fds[FRAME_FDS], n = 0, r;
	struct client c;
	bool exited;

	r = client_open(name, &c, &exited, e);
	if (r == 0)
		r = source_spec(c.dir_fd, spec, e);
	if (r == 0)
		r = client_send(&c, "checkpoint", json_object(), NULL, 0, e);
	if (r == 0)
		r = client_receive(&c, &ret->meta, fds, &n, e);
	client_close(&c);
	if (r == 1 && (n == 2 || n == 3)) {
		ret->image_fd = fds[0];
		ret->layer_fd = fds[1];
		ret->slot_fd = n == 3 ? fds[2] : -EBADF;
		return 0;
	}
	while (n > 0)
		close(fds[--n]);
	return r < 0 ? r : err_set(e, ERR_PROTOCOL, EPROTO, "capture '%s'", name);
}

static int capture(const char *source, struct forking *f)
{
	if (snapshot_exists(source))
		return snapshot_load(source, &f->parts, &f->spec, f->e);
	return capture_living(source, &f->parts, &f->spec, f->e);
}

/* ---- the clones ---- */

static bool is_taken(const char *name)
{
	return registry_has_name(name) || snapshot_exists(name);
}

/* SOURCE-1, SOURCE-2 ... those that are free. */
static int default_names(struct forking *f, const char *source)
{
	unsigned number = 1;

	for (size_t i = 0; i < f->n; i++) {
		do {
			free(f->clones[i].name);
			if (asprintf(&f->clones[i].name, "%.50s-%u", source, number++) < 0)
				return err_set(f->e, ERR_INTERNAL, ENOMEM, "name the clones");
		} while (is_taken(f->clones[i].name));
	}
	return 0;
}

static int name_clones(struct forking *f, const char *source, const char *const *names)
{
	if (!names)
		return default_names(f, source);
	for (size_t i = 0; i < f->n; i++) {
		if (!text_is_name(names[i]))
			return err_set(f->e, ERR_NAME, 0, "'%s' is no name", names[i]);
		if (is_taken(names[i])) {
			err_set(f->e, ERR_NAME, 0, "the name '%s' is taken", names[i]);
			return -EEXIST;
		}
		for (size_t j = 0; j < i; j++)
			if (strcmp(names[i], names[j]) == 0)
				return err_set(f->e, ERR_NAME, 0, "the name '%s' is given twice",
					       names[i]);
		/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
		f->clones[i].name = strdup(names[i]);
		if (!f->clones[i].name)
			return err_set(f->e, ERR_INTERNAL, ENOMEM, "name the clones");
	}
	return 0;
}

static int replace(char **to, const char *from)
{
	char *copy = from ? strdup(from) : NULL;

	if (from && !copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

/* What a fork may change: host name, labels, limits, times. The rest is the source's. */
static int merge_spec(struct spec *to, const struct spec *from, struct err *e)
{
	uint64_t *limits = (uint64_t *)&to->limits;
	const uint64_t *asked = (const uint64_t *)&from->limits;
	int r = replace(&to->hostname, from->hostname);

	if (r == 0 && from->cpuset)
		r = replace(&to->cpuset, from->cpuset);
	for (size_t i = 0; i < sizeof(to->limits) / sizeof(uint64_t); i++)
		if (asked[i] != SPEC_UNSET)
			limits[i] = asked[i];
	for (size_t i = 0; r == 0 && i < from->labels.n; i++)
		r = spec_strv_add(&to->labels, from->labels.v[i]);
	if (from->fork_signal)
		to->fork_signal = from->fork_signal;
	if (from->ttl_ns != SPEC_UNSET)
		to->ttl_ns = from->ttl_ns;
	if (from->idle_timeout_ns != SPEC_UNSET)
		to->idle_timeout_ns = from->idle_timeout_ns;
	return r < 0 ? err_set(e, ERR_INTERNAL, ENOMEM, "copy what the clones are to be") : 0;
}

static json_t *names_of(const struct forking *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->n; i++)
		json_array_append_new(a, json_string(f->clones[i].name ? f->clones[i].name : ""));
	return a;
}

/* Each clone reports once that it goes on, or why it could not. */
static int hear_all(struct forking *f)
{
	int r = 0;

	for (size_t heard = 0; heard < f->n; heard++) {
		struct keeper_report report;
		int told = nursery_hear(f->nursery_fd, &report, f->e);

		r = r < 0 ? r : told;
		if (report.index >= f->n)
			break; /* nobody will speak any more */
		f->clones[report.index].report = report;
	}
	return r;
}

/* One that could not go on after all: nobody does. */
static void kill_all(struct forking *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->clones[i].report.id[0])
			ignore_err(cleave_rm(f->clones[i].report.id, 1), "gc removes what stays");
}

static json_t *clone_list(const struct forking *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->n; i++) {
		const struct keeper_report *r = &f->clones[i].report;
		const struct clone_times *t = &r->times;

		json_array_append_new(
			a, json_pack("{s:s,s:s,s:I,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I}}", "name",
				     f->clones[i].name, "id", r->id, "first_insn_ns",
				     (json_int_t)(r->told_ns - f->began_ns), "times", "begin_ns",
				     (json_int_t)(t->born_at - f->began_ns), "root_ns",
				     (json_int_t)(t->root_at - t->born_at), "files_ns",
				     (json_int_t)(t->filled_at - t->root_at), "open_ns",
				     (json_int_t)t->open_ns, "spawn_ns", (json_int_t)t->spawn_ns,
				     "map_ns", (json_int_t)t->map_ns, "park_ns",
				     (json_int_t)(t->parked_at - t->filled_at)));
	}
	return a;
}

static char *fork_json(const struct forking *f, const char *source)
{
	static const char *const copied[] = {"memory",    "files",  "carried",
					     "recreated", "broken", "timing"};
	json_t *o = json_pack("{s:{s:s,s:O},s:o,s:{s:I,s:I,s:I,s:I}}", "source", "name", source,
			      "paused_ns", json_object_get(f->parts.meta, "paused_ns"), "clones",
			      clone_list(f), "phases", "capture_ns",
			      (json_int_t)(f->captured_ns - f->began_ns), "plan_ns",
			      (json_int_t)(f->planned_ns - f->captured_ns), "park_ns",
			      (json_int_t)(f->parked_ns - f->launched_ns), "go_ns",
			      (json_int_t)(raw_now_ns() - f->parked_ns));
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(copied); i++)
		json_object_set(o, copied[i], json_object_get(f->parts.meta, copied[i]));
	text = whole_json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static void forking_done(struct forking *f)
{
	for (size_t i = 0; f->clones && i < f->n; i++)
		free(f->clones[i].name);
	free(f->clones);
	close_fd(&f->nursery_fd);
	close_fd(&f->parts.image_fd);
	close_fd(&f->parts.layer_fd);
	close_fd(&f->parts.slot_fd);
	json_decref(f->parts.meta);
	spec_done(&f->spec);
}

/* Up to the plan of the clones, which has read the whole image. */
static int fork_prepare(struct forking *f, const char *source, const cleave_spec *spec)
{
	json_t *names;
	int r;

	f->began_ns = raw_now_ns();
	/* it looks at the host while the source is captured */
	r = f->nursery_fd = start_nursery(f->e);
	if (r >= 0)
		r = capture(source, f);
	f->captured_ns = raw_now_ns();
	if (r < 0)
		return r;
	if (f->keep_id &&
	    json_object_set_new(f->parts.meta, "keep_id", json_string(f->keep_id)) < 0)
		return err_set(f->e, ERR_INTERNAL, ENOMEM, "keep the id");
	free(f->spec.name);
	f->spec.name = NULL;
	free(f->spec.hostname);
	f->spec.hostname = NULL; /* a clone's is its name */
	if (spec) {
		const struct spec_limits *had = &f->spec.limits;

		if (json_object_set_new(f->parts.meta, "source_limits",
					json_pack("{s:I,s:I,s:I}", "nofile",
						  (json_int_t)had->nofile, "fsize",
						  (json_int_t)had->fsize_bytes, "stack",
						  (json_int_t)had->stack_bytes)) < 0)
			return err_set(f->e, ERR_INTERNAL, ENOMEM, "tell the source's limits");
		r = merge_spec(&f->spec, &spec->s, f->e);
	}
	/* a time of its own begins with the clone */
	if (r == 0 && spec && spec->s.limits.timeout_ns != SPEC_UNSET &&
	    json_object_set_new(f->parts.meta, "timeout_left_ns", json_integer(0)) < 0)
		r = err_set(f->e, ERR_INTERNAL, ENOMEM, "bound the clones' time");
	names = names_of(f);
	if (r == 0 && json_array_size(names) != f->n)
		r = err_set(f->e, ERR_INTERNAL, ENOMEM, "name the clones");
	if (r == 0)
		r = nursery_order(f->nursery_fd, &f->spec, names, &f->parts, f->e);
	json_decref(names);
	f->planned_ns = raw_now_ns();
	return r;
}

static int fork_launch(struct forking *f)
{
	int r;

	f->launched_ns = raw_now_ns();
	r = nursery_launch(f->nursery_fd, f->e);
	f->parked_ns = raw_now_ns();
	if (r < 0)
		return r;
	r = hear_all(f);
	if (r < 0) {
		struct err why = *f->e;

		kill_all(f);
		*f->e = why;
	}
	return r;
}

/* count clones, all without a name. */
static int forking_new(struct forking *f, size_t count)
{
	spec_init(&f->spec);
	f->n = count;
	f->clones = calloc(count, sizeof(*f->clones));
	return f->clones ? 0 : err_set(f->e, ERR_INTERNAL, ENOMEM, "fork");
}

EXPORT int cleave_fork(const char *source, const char *const *names, size_t count,
		       const cleave_spec *spec, char **ret_json)
{
	struct err *e = lib_error();
	struct forking f = FORKING_INIT(e);
	int r;

	if (count < 1 || count > CLONES_MAX)
		return err_set(e, ERR_USAGE, 0, "%zu clones: from 1 to %d are possible", count,
			       CLONES_MAX);
	r = forking_new(&f, count);
	if (r == 0)
		r = name_clones(&f, source, names);
	if (r == 0)
		r = fork_prepare(&f, source, spec);
	if (r == 0)
		r = fork_launch(&f);
	if (r == 0 && ret_json)
		*ret_json = fork_json(&f, source);
	forking_done(&f);
	return r;
}

/* ---- snapshots ---- */

static bool is_paused(const char *name)
{
	AUTO_FREE char *text = cleave_inspect(name);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(o, "state"));
	bool paused = state && strcmp(state, "paused") == 0;

	json_decref(o);
	return paused;
}

/* The sandbox ends with the moment that the snapshot shows, but not before that is kept: it stands
 * still until then, and goes on if it can't be. */
static int snapshot_and_stop(const char *name, const char *snapshot, struct forking *f)
{
	bool stood = is_paused(name);
	int r = stood ? 0 : cleave_pause(name);
	struct err why;

	if (r < 0)
		return r;
	r = capture_living(name, &f->parts, &f->spec, f->e);
	if (r == 0)
		r = snapshot_save(snapshot, &f->parts, &f->spec, f->e);
	why = *f->e;
	if (r == 0)
		return cleave_kill(name, SIGKILL);
	if (!stood)
		ignore_err(cleave_resume(name), "it has ended: what went wrong says so");
	*f->e = why;
	return r;
}

EXPORT int cleave_snapshot(const char *name, const char *snapshot, int stop)
{
	struct err *e = lib_error();
	struct forking f = FORKING_INIT(e);
	int r;

	if (!text_is_name(snapshot))
		return err_set(e, ERR_NAME, 0, "'%s' is no name", snapshot);
	if (is_taken(snapshot)) {
		err_set(e, ERR_NAME, 0, "the name '%s' is taken", snapshot);
		return -EEXIST;
	}
	spec_init(&f.spec);
	if (stop) {
		r = snapshot_and_stop(name, snapshot, &f);
	} else {
		r = capture_living(name, &f.parts, &f.spec, e);
		if (r == 0)
			r = snapshot_save(snapshot, &f.parts, &f.spec, e);
	}
	forking_done(&f);
	return r;
}

EXPORT char *cleave_snapshots(void)
{
	return snapshot_list(lib_error());
}

EXPORT int cleave_snapshot_rm(const char *snapshot)
{
	return snapshot_remove(snapshot, lib_error());
}

/* The name of the sandbox, malloc'd; NULL: it has none. */
static char *name_of(const char *id)
{
	AUTO_FREE char *text = cleave_inspect(id);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *name = json_string_value(json_object_get(o, "name"));
	char *copy = name ? strdup(name) : NULL;

	json_decref(o);
	return copy;
}

/* Everything that can be known to be wrong is known before the sandbox goes. */
EXPORT int cleave_rollback(const char *name, const char *snapshot)
{
	struct err *e = lib_error();
	struct forking f = FORKING_INIT(e);
	char id[REGISTRY_ID];
	AUTO_FREE char *own = NULL;
	int r = registry_find(name, id, e);

	if (r < 0)
		return r;
	if (!snapshot_exists(snapshot)) {
		err_set(e, ERR_NO_SANDBOX, 0, "there is no snapshot '%s'", snapshot);
		return -ENOENT;
	}
	own = name_of(id);
	if (!own)
		return err_set(lib_error(), ERR_STATE, 0,
			       "only a sandbox with a name can go back to a snapshot");
	r = forking_new(&f, 1);
	if (r == 0) {
		f.clones[0].name = own;
		own = NULL;
		f.keep_id = id; /* the same sandbox for everybody who knows its id */
		r = fork_prepare(&f, snapshot, NULL);
	}
	if (r == 0)
		r = cleave_rm(id, 1);
	if (r == 0)
		r = fork_launch(&f);
	forking_done(&f);
	return r;
}
