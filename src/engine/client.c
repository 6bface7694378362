/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/frame.h"
#include "raw/syscall.h"

#define MOMENT_NS UINT64_C(2000000000)

/*
 * The keeper closes its socket a moment before it ends, and opens it a moment after it took the
 * name. True: it has ended.
 */
static bool has_ended(const struct client *c, const struct sockaddr_un *a)
{
	uint64_t deadline = raw_now_ns() + MOMENT_NS;

	while (registry_alive(c->dir_fd)) {
		if (raw_now_ns() > deadline ||
		    (a && connect(c->fd, (const struct sockaddr *)a, sizeof(*a)) == 0))
			return false;
		usleep(2000);
	}
	return true;
}

static bool is_connected(int fd)
{
	struct sockaddr_un a;
	socklen_t n = sizeof(a);

	return getpeername(fd, (struct sockaddr *)&a, &n) == 0;
}

int client_open(const char *name, struct client *ret, bool *ret_exited, struct err *e)
{
	return client_open_within(name, 0, ret, ret_exited, e);
}

/* 0: without a bound. A connection waits while as many as the keeper takes at once are waiting. */
int client_open_within(const char *name, uint64_t timeout_ns, struct client *ret, bool *ret_exited,
		       struct err *e)
{
	struct timeval bound = {(time_t)(timeout_ns / 1000000000), 0};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int r;

	*ret = CLIENT_INIT;
	*ret_exited = false;
	ret->dir_fd = registry_open_name(name, ret->id, e);
	if (ret->dir_fd < 0)
		return ret->dir_fd;
	ret->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control.sock", ret->dir_fd);
	if (ret->fd >= 0)
		setsockopt(ret->fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
	if (ret->fd >= 0 && connect(ret->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return 0;
	r = -errno;
	if (r == -EACCES || r == -EPERM) {
		err_set(e, ERR_DENIED, -r, "talk to the keeper of '%s'", name);
		return r;
	}
	if (r == -EAGAIN) {
		err_set(e, ERR_KEEPER, ETIMEDOUT, "the keeper of '%s' does not answer", name);
		return -ETIMEDOUT;
	}
	*ret_exited = has_ended(ret, &a);
	if (!*ret_exited && is_connected(ret->fd))
		return 0;
	err_set(e, *ret_exited ? ERR_STATE : ERR_KEEPER, 0,
		*ret_exited ? "the sandbox '%s' has ended" : "the keeper of '%s' does not answer",
		name);
	return -EPIPE;
}

void client_close(struct client *c)
{
	close_fd(&c->fd);
	close_fd(&c->dir_fd);
}

/* Nobody is at the other end any more: of a sandbox that has ended, or of one whose keeper died. */
static int nobody(const struct client *c, struct err *e)
{
	bool ended = has_ended(c, NULL);

	err_set(e, ended ? ERR_STATE : ERR_KEEPER, 0,
		ended ? "the sandbox has ended" : "the keeper died");
	return -EPIPE;
}

static int keeper_error(const json_t *o, struct err *e);

/* It went before it read a request: it may have said why. */
static int last_words(const struct client *c, struct err *e)
{
	int fds[FRAME_FDS], n = 0, r;
	json_t *o = NULL, *error;

	r = frame_receive(c->fd, &o, fds, &n);
	while (n > 0)
		close(fds[--n]);
	error = r == 1 ? json_object_get(o, "error") : NULL;
	r = error ? keeper_error(error, e) : nobody(c, e);
	json_decref(o);
	return r;
}

int client_send(struct client *c, const char *method, json_t *params, const int *fds, int n,
		struct err *e)
{
	/* without its params a request would be another one: a plain kill */
	json_t *o = json_pack("{s:i,s:i,s:s,s:o}", "v", FRAME_VERSION, "id", 1, "method", method,
			      "params", params);
	int r = o ? frame_send(c->fd, o, fds, n) : -ENOMEM;

	json_decref(o);
	if (r == -EMSGSIZE)
		return err_set(e, ERR_SPEC, E2BIG, "arguments and environment of one exec");
	if (r == -EPIPE || r == -ECONNRESET)
		return last_words(c, e); /* between the connection and this */
	return r < 0 ? err_set(e, ERR_KEEPER, r, "ask the keeper to %s", method) : 0;
}

static int keeper_error(const json_t *o, struct err *e)
{
	const char *id = json_string_value(json_object_get(o, "id"));
	const char *text = json_string_value(json_object_get(o, "text"));
	const char *hint = json_string_value(json_object_get(o, "hint"));
	const char *step = json_string_value(json_object_get(o, "step"));
	int code = (int)json_integer_value(json_object_get(o, "errno"));

	for (int i = 0; id && i < ERR_N; i++)
		if (strcmp(id, err_name((enum err_id)i)) == 0)
			err_set(e, (enum err_id)i, code, "%s", text ? text : "");
	err_set(e, ERR_PROTOCOL, 0, "the keeper refused without saying why");
	if (hint && *hint)
		err_hint(e, "%s", hint);
	if (step && *step)
		err_step(e, step);
	return e->id == ERR_STATE ? -EBADFD : code ? -code : -EINVAL;
}

int client_receive(struct client *c, json_t **ret, int *fds, int *ret_n, struct err *e)
{
	json_t *o, *error;
	int r = frame_receive(c->fd, &o, fds, ret_n);

	if (r == 0 || r == -ECONNRESET)
		return nobody(c, e);
	if (r < 0)
		return err_set(e, ERR_PROTOCOL, r, "hear the keeper");
	error = json_object_get(o, "error");
	if (error) {
		r = keeper_error(error, e);
		json_decref(o);
		return r;
	}
	if (json_object_get(o, "event")) {
		*ret = o;
		return 2;
	}
	*ret = json_incref(json_object_get(o, "result"));
	json_decref(o);
	if (!*ret) {
		while (*ret_n)
			close(fds[--*ret_n]);
		return err_set(e, ERR_PROTOCOL, 0, "the keeper's answer holds none");
	}
	return 1;
}

int client_call(const char *name, const char *method, json_t *params, json_t **ret, struct err *e)
{
	struct client c;
	int fds[FRAME_FDS], n = 0, r;
	json_t *answer = NULL;
	bool exited;

	r = client_open(name, &c, &exited, e);
	if (r == 0)
		r = client_send(&c, method, params, NULL, 0, e);
	else
		json_decref(params);
	while (r == 0 || r == 2) {
		r = client_receive(&c, &answer, fds, &n, e);
		while (n > 0)
			close(fds[--n]);
		if (r == 2)
			json_decref(answer);
	}
	client_close(&c);
	if (r < 0)
		return r;
	if (ret)
		*ret = answer;
	else
		json_decref(answer);
	return 0;
}

int client_root(const char *name, int *ret_root_fd, uint32_t *ret_uid, uint32_t *ret_gid,
		struct err *e)
{
	struct client c;
	int fds[FRAME_FDS], n = 0, r;
	json_t *answer = NULL;
	bool exited;

	*ret_root_fd = -EBADF;
	r = client_open(name, &c, &exited, e);
	if (r == 0)
		r = client_send(&c, "root", json_object(), NULL, 0, e);
	if (r == 0)
		r = client_receive(&c, &answer, fds, &n, e);
	if (r == 1 && n == 1) {
		*ret_root_fd = fds[0];
		n = 0;
		*ret_uid = (uint32_t)json_integer_value(json_object_get(answer, "uid"));
		*ret_gid = (uint32_t)json_integer_value(json_object_get(answer, "gid"));
	} else if (r >= 0) {
		r = err_set(e, ERR_PROTOCOL, EPROTO, "get the root of '%s'", name);
	}
	while (n > 0)
		close(fds[--n]);
	json_decref(answer);
	client_close(&c);
	return r < 0 ? r : 0;
}

static uint64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : RESULT_UNKNOWN;
}

static void take_layers(const json_t *o, struct result *r)
{
	for (unsigned i = 0; i < LAYER_N; i++) {
		const json_t *l = json_object_get(o, layer_name(i));
		const char *state = json_string_value(json_object_get(l, "state"));
		const char *how = json_string_value(json_object_get(l, "how"));
		const char *remedy = json_string_value(json_object_get(l, "remedy"));

		r->layers[i].state = state && strcmp(state, "on") == 0         ? LAYER_ON
				     : state && strcmp(state, "degraded") == 0 ? LAYER_DEGRADED
									       : LAYER_OFF;
		snprintf(r->layers[i].how, sizeof(r->layers[i].how), "%s", how ? how : "");
		snprintf(r->layers[i].remedy, sizeof(r->layers[i].remedy), "%s",
			 remedy ? remedy : "");
	}
}

static void take_limits(const json_t *o, struct result *r)
{
	for (unsigned i = 0; i < LIMIT_N; i++) {
		const json_t *l = json_object_get(o, limit_name(i));
		const char *by = json_string_value(json_object_get(l, "by"));

		r->limits[i].asked = number(l, "asked");
		r->limits[i].enforced = json_is_true(json_object_get(l, "enforced"));
		r->limits[i].hit = json_is_true(json_object_get(l, "hit"));
		snprintf(r->limits[i].by, sizeof(r->limits[i].by), "%s", by ? by : "");
	}
}

static void take_timing(const json_t *a, struct result *r)
{
	size_t n = json_array_size(a);

	r->timing = n ? calloc(n, sizeof(*r->timing)) : NULL;
	for (size_t i = 0; r->timing && i < n; i++) {
		const json_t *t = json_array_get(a, i);
		const char *side = json_string_value(json_object_get(t, "side"));
		const char *step = json_string_value(json_object_get(t, "step"));

		snprintf(r->timing[i].step, sizeof(r->timing[i].step), "%s", step ? step : "");
		r->timing[i].side = side && side[0] == 'k'   ? 'K'
				    : side && side[0] == 'i' ? 'I'
							     : 'C';
		r->timing[i].ns = number(t, "ns");
		r->n_timing = i + 1;
	}
}

static int symbol_code(const char *symbol)
{
	for (int code = 1; symbol && code < 134; code++)
		if (strcmp(err_symbol(code), symbol) == 0)
			return code;
	return 0;
}

static void take_error(const json_t *o, struct result *r)
{
	const char *id = json_string_value(json_object_get(o, "id"));
	const char *text = json_string_value(json_object_get(o, "text"));
	const char *hint = json_string_value(json_object_get(o, "hint"));
	const char *step = json_string_value(json_object_get(o, "step"));

	for (int i = 1; id && i < ERR_N; i++)
		if (strcmp(id, err_name((enum err_id)i)) == 0)
			err_set(&r->error, (enum err_id)i,
				symbol_code(json_string_value(json_object_get(o, "errno"))), "%s",
				text ? text : "");
	if (hint)
		err_hint(&r->error, "%s", hint);
	if (step)
		err_step(&r->error, step);
}

int client_result(const json_t *o, struct result *ret, struct err *e)
{
	const char *status = json_string_value(json_object_get(o, "status"));
	const json_t *code = json_object_get(o, "exit_code");
	unsigned s = 0;

	result_init(ret);
	while (s < RESULT_STATUS_N && (!status || strcmp(status, result_status_name(s)) != 0))
		s++;
	if (s == RESULT_STATUS_N)
		return err_set(e, ERR_PROTOCOL, 0, "that is no result record");
	ret->status = s;
	ret->exit_code = json_is_integer(code) ? (int)json_integer_value(code) : -1;
	ret->signal = (int)json_integer_value(json_object_get(o, "signal"));
	ret->cleave_status = (int)json_integer_value(json_object_get(o, "cleave_status"));
	ret->wall_ns = number(o, "wall_ns");
	ret->ended_ns = number(o, "ended_ns");
	ret->csw_voluntary = number(o, "csw_voluntary");
	ret->csw_forced = number(o, "csw_forced");
	ret->cpu_user_ns = number(o, "cpu_user_ns");
	ret->cpu_system_ns = number(o, "cpu_system_ns");
	ret->memory_peak_bytes = number(o, "memory_peak_bytes");
	ret->pids_peak = number(o, "pids_peak");
	ret->oom_kills = number(o, "oom_kills");
	take_layers(json_object_get(o, "layers"), ret);
	take_limits(json_object_get(o, "limits"), ret);
	take_timing(json_object_get(o, "timing"), ret);
	take_error(json_object_get(o, "error"), ret);
	return 0;
}
