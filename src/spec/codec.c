/* SPDX-License-Identifier: Apache-2.0 */
/* The spec as JSON and back. A field of a foreign text is checked before it is taken; unknown ones
 * are refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "spec/spec.h"

static const char *const mount_kinds[] = {"ro", "rw", "tmpfs", "file", "link", "program"};

enum field_kind { F_TEXT, F_U64, F_BOOL, F_STRV, F_USER };

static const struct {
	const char *name;
	enum field_kind kind;
	size_t at;
} fields[] = {
#define AT(f) offsetof(struct spec, f)
	{"name", F_TEXT, AT(name)},
	{"hostname", F_TEXT, AT(hostname)},
	{"root", F_TEXT, AT(root)},
	{"root_rw", F_BOOL, AT(root_rw)},
	{"programs", F_STRV, AT(programs)},
	{"labels", F_STRV, AT(labels)},
	{"argv", F_STRV, AT(command.argv)},
	{"env", F_STRV, AT(command.env)},
	{"workdir", F_TEXT, AT(command.workdir)},
	{"user", F_USER, AT(command.user)},
	{"tty", F_BOOL, AT(command.tty)},
	{"stdin_open", F_BOOL, AT(command.stdin_open)},
	{"capture", F_BOOL, AT(command.capture)},
	{"capture_bytes", F_U64, AT(command.capture_bytes)},
	{"pass_stdout", F_BOOL, AT(command.pass_stdout)},
	{"pass_stderr", F_BOOL, AT(command.pass_stderr)},
	{"tee", F_BOOL, AT(command.tee)},
	{"no_aslr", F_BOOL, AT(command.no_aslr)},
	{"cpuset", F_TEXT, AT(cpuset)},
	{"outs", F_STRV, AT(outs)},
	{"out_bytes", F_U64, AT(out_bytes)},
	{"timeout_ns", F_U64, AT(limits.timeout_ns)},
	{"memory_bytes", F_U64, AT(limits.memory_bytes)},
	{"pids", F_U64, AT(limits.pids)},
	{"cpus_milli", F_U64, AT(limits.cpus_milli)},
	{"disk_bytes", F_U64, AT(limits.disk_bytes)},
	{"disk_inodes", F_U64, AT(limits.disk_inodes)},
	{"cpu_time_ns", F_U64, AT(limits.cpu_time_ns)},
	{"output_bytes", F_U64, AT(limits.output_bytes)},
	{"nofile", F_U64, AT(limits.nofile)},
	{"fsize_bytes", F_U64, AT(limits.fsize_bytes)},
	{"stack_bytes", F_U64, AT(limits.stack_bytes)},
	{"stdout_bytes", F_U64, AT(limits.stdout_bytes)},
	{"stderr_bytes", F_U64, AT(limits.stderr_bytes)},
	{"swap_bytes", F_U64, AT(limits.swap_bytes)},
	{"io_bytes", F_U64, AT(limits.io_bytes)},
	{"extra_time_ns", F_U64, AT(limits.extra_time_ns)},
	{"ttl_ns", F_U64, AT(ttl_ns)},
	{"idle_timeout_ns", F_U64, AT(idle_timeout_ns)},
	{"fork_signal", F_U64, AT(fork_signal)},
	{"degrade", F_BOOL, AT(degrade)},
	{"remove", F_BOOL, AT(remove)},
	{"oom_group", F_BOOL, AT(oom_group)},
	{"allow_ptrace", F_BOOL, AT(allow_ptrace)},
	{"nest", F_BOOL, AT(nest)},
	{"seccomp", F_TEXT, AT(seccomp)},
	{"seccomp_program", F_TEXT, AT(seccomp_program)},
	{"ids_range", F_BOOL, AT(ids_range)},
#undef AT
};

/* jansson leaves out what it has no memory for and goes on: a spec that lacks a part would be a
 * weaker one. */
static json_t *whole(json_t *v, size_t n)
{
	if ((json_is_array(v) ? json_array_size(v) : json_object_size(v)) == n)
		return v;
	json_decref(v);
	return NULL;
}

/* Bytes that are not UTF-8 travel as an array of numbers: argv and environment are bytes to Linux.
 */
static json_t *bytes(const char *s)
{
	json_t *v = json_string(s);

	if (v)
		return v;
	v = json_array();
	for (size_t i = 0; s[i]; i++)
		json_array_append_new(v, json_integer((unsigned char)s[i]));
	return whole(v, strlen(s));
}

static char *unbytes(const json_t *v)
{
	size_t n = json_array_size(v);
	char *s;

	if (json_is_string(v))
		return strlen(json_string_value(v)) == json_string_length(v)
			       ? strdup(json_string_value(v))
			       : NULL;
	if (!json_is_array(v) || !(s = malloc(n + 1)))
		return NULL;
	for (size_t i = 0; i < n; i++) {
		json_int_t b = json_integer_value(json_array_get(v, i));

		if (b < 1 || b > 255) {
			free(s);
			return NULL;
		}
		s[i] = (char)b;
	}
	s[n] = 0;
	return s;
}

static json_t *encode_field(enum field_kind kind, const void *at)
{
	const struct spec_strv *v = at;
	json_t *a;

	switch (kind) {
	case F_TEXT:
		return *(char *const *)at ? bytes(*(char *const *)at) : json_null();
	case F_U64:
		return *(const uint64_t *)at == SPEC_UNSET
			       ? json_null()
			       : json_integer((json_int_t) * (const uint64_t *)at);
	case F_BOOL:
		return json_boolean(*(const bool *)at);
	case F_USER:
		return json_string(*(const enum spec_user *)at == SPEC_USER_ROOT ? "root" : "user");
	case F_STRV:
	default:
		a = json_array();
		for (size_t i = 0; i < v->n; i++)
			json_array_append_new(a, bytes(v->v[i]));
		return whole(a, v->n);
	}
}

json_t *spec_json(const struct spec *s)
{
	json_t *o = json_object(), *mounts = json_array();

	json_object_set_new(o, "version", json_integer(SPEC_VERSION));
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		json_object_set_new(o, fields[i].name,
				    encode_field(fields[i].kind, (const char *)s + fields[i].at));
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct spec_mount *m = &s->mounts[i];

		json_array_append_new(
			mounts, json_pack("{s:s,s:o,s:o,s:o,s:i}", "kind", mount_kinds[m->kind],
					  "source", m->source ? bytes(m->source) : json_null(),
					  "target", bytes(m->target), "size",
					  encode_field(F_U64, &m->size), "mode", (int)m->mode));
	}
	json_object_set_new(o, "mounts", whole(mounts, s->n_mounts));
	return whole(o, ARRAY_LEN(fields) + 2);
}

char *spec_encode(const struct spec *s)
{
	json_t *o = spec_json(s);
	char *text = o ? whole_json_dumps(o, JSON_INDENT(1)) : NULL;

	json_decref(o);
	return text;
}

static bool decode_strv(const json_t *v, struct spec_strv *ret)
{
	if (!json_is_array(v))
		return false;
	for (size_t i = 0; i < json_array_size(v); i++) {
		AUTO_FREE char *s = unbytes(json_array_get(v, i));

		if (!s || spec_strv_add(ret, s) < 0)
			return false;
	}
	return true;
}

static bool decode_field(const json_t *v, enum field_kind kind, void *at)
{
	switch (kind) {
	case F_TEXT:
		if (json_is_null(v))
			return true;
		/* lint-allow: analyzer-malloc-leak: the spec owns it; no field is decoded twice */
		*(char **)at = unbytes(v);
		return *(char **)at != NULL;
	case F_U64:
		if (json_is_null(v))
			return true;
		*(uint64_t *)at = (uint64_t)json_integer_value(v);
		return json_is_integer(v) && json_integer_value(v) >= 0;
	case F_BOOL:
		*(bool *)at = json_is_true(v);
		return json_is_boolean(v);
	case F_USER:
		*(enum spec_user *)at =
			json_is_string(v) && strcmp(json_string_value(v), "root") == 0
				? SPEC_USER_ROOT
				: SPEC_USER_NORMAL;
		return json_is_string(v);
	case F_STRV:
	default:
		return decode_strv(v, at);
	}
}

static bool decode_mount(struct spec *s, const json_t *o)
{
	const char *kind = json_string_value(json_object_get(o, "kind"));
	const json_t *source_v = json_object_get(o, "source"), *mode = json_object_get(o, "mode");
	AUTO_FREE char *source = json_is_null(source_v) ? NULL : unbytes(source_v);
	AUTO_FREE char *target = unbytes(json_object_get(o, "target"));
	uint64_t size = SPEC_UNSET;

	if (!kind || !target || !json_is_integer(mode) ||
	    !decode_field(json_object_get(o, "size"), F_U64, &size))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(mount_kinds); i++)
		if (strcmp(kind, mount_kinds[i]) == 0 && (source || i == SPEC_TMPFS))
			return spec_mount_add(s, i, source, target, size,
					      (uint32_t)json_integer_value(mode) & 0777) == 0;
	return false;
}

static int decode(const json_t *o, struct spec *s, struct err *e)
{
	const json_t *mounts = json_object_get(o, "mounts");

	if (json_integer_value(json_object_get(o, "version")) != SPEC_VERSION)
		return err_set(e, ERR_SPEC, 0, "the spec has another version than %d",
			       SPEC_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const json_t *v = json_object_get(o, fields[i].name);

		if (v && !decode_field(v, fields[i].kind, (char *)s + fields[i].at))
			return err_set(e, ERR_SPEC, 0, "the spec's field '%s' is malformed",
				       fields[i].name);
	}
	for (size_t i = 0; i < json_array_size(mounts); i++)
		if (!decode_mount(s, json_array_get(mounts, i)))
			return err_set(e, ERR_SPEC, 0, "the spec's mount %zu is malformed", i);
	return 0;
}

int spec_from_json(const json_t *o, struct spec *ret, struct err *e)
{
	int r;

	spec_init(ret);
	if (!json_is_object(o))
		return err_set(e, ERR_SPEC, 0, "the spec is no JSON object");
	r = decode(o, ret, e);
	if (r == 0)
		r = spec_check(ret, e);
	if (r < 0)
		spec_done(ret);
	return r;
}

int spec_decode(const char *json, size_t len, struct spec *ret, struct err *e)
{
	json_error_t where;
	json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
	int r;

	if (!o) /* the parser's word on it comes first */
		err_set(e, ERR_SPEC, 0, "the spec is no JSON object: %s", where.text);
	r = spec_from_json(o, ret, e);
	json_decref(o);
	return r;
}
