/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/batch_line.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINE_MAX_BYTES (16u << 20)

static const char *const files[] = {"stdin", "stdout", "stderr"};

static int set_one(cleave_spec *spec, const char *option, const json_t *v)
{
	char number[64];

	if (json_is_true(v))
		return cleave_spec_set(spec, option, NULL);
	if (json_is_string(v))
		return cleave_spec_set(spec, option, json_string_value(v));
	if (json_is_integer(v))
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(number, sizeof(number), "%.9g", json_real_value(v));
	else
		return -EINVAL;
	return cleave_spec_set(spec, option, number);
}

static int set_argv(cleave_spec *spec, const json_t *v)
{
	size_t n = json_array_size(v);
	AUTO_FREE const char **argv = calloc(n + 1, sizeof(*argv));

	for (size_t i = 0; argv && i < n; i++) {
		argv[i] = json_string_value(json_array_get(v, i));
		if (!argv[i])
			return -EINVAL;
	}
	return argv && n ? cleave_spec_argv(spec, argv) : -EINVAL;
}

static int set_option(cleave_spec *spec, const char *key, const json_t *v)
{
	size_t i;
	json_t *one;
	int r = 0;

	if (strcmp(key, "argv") == 0)
		return set_argv(spec, v);
	if (json_is_false(v) || json_is_null(v))
		return 0;
	if (!json_is_array(v))
		return set_one(spec, key, v);
	json_array_foreach(v, i, one) if (r >= 0) r = set_one(spec, key, one);
	return r;
}

/* Keys that are not options: what they name is no business of the sandbox. */
static bool is_ours(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (strcmp(key, files[i]) == 0)
			return true;
	return strcmp(key, "id") == 0;
}

static int set_all(cleave_spec *spec, const json_t *o, char *why, size_t size)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v)
	{
		int r = 0;

		why[0] = 0;
		if (!is_ours(key))
			r = set_option(spec, key, v);
		if (r >= 0)
			continue;
		snprintf(why, size, "%s", *cleave_error() ? cleave_error() : "");
		if (!why[0])
			snprintf(why, size, "'%s' has a value of the wrong kind", key);
		return -EINVAL;
	}
	return 0;
}

static int set_files(struct batch_member *m, const json_t *o, bool paired, char *why, size_t size)
{
	for (int i = 0; i < 3; i++) {
		const json_t *v = json_object_get(o, files[i]);

		if (!v || json_is_null(v))
			continue;
		m->file[i] = json_string_value(v);
		if (!m->file[i] || (paired && i < 2)) {
			snprintf(why, size, "'%s' %s", files[i],
				 m->file[i] ? "of a pair leads to the other one"
					    : "has a value of the wrong kind");
			return -EINVAL;
		}
		/* a file is a sink of its own: what it gets is not in the result */
		if (i && cleave_spec_set(m->spec, "pass", files[i]) < 0)
			return -EINVAL;
	}
	if (m->file[0] && access(m->file[0], R_OK) < 0) {
		snprintf(why, size, "stdin '%.200s': %s", m->file[0], strerror(errno));
		return -EINVAL;
	}
	return 0;
}

static int read_member(struct batch_member *m, const json_t *o, bool paired, const char *common,
		       char *why, size_t size)
{
	int r;

	if (!json_is_object(o)) {
		snprintf(why, size, "each of a pair is an object");
		return -EINVAL;
	}
	m->spec = cleave_spec_parse(common, strlen(common));
	if (!m->spec || cleave_spec_set(m->spec, "capture", NULL) < 0) {
		snprintf(why, size, "%s", cleave_error());
		return -EINVAL;
	}
	/* what one says to the other is passed on and kept */
	if (paired && (cleave_spec_set(m->spec, "stdio", "own") < 0 ||
		       cleave_spec_set(m->spec, "pass", "stdout") < 0 ||
		       cleave_spec_set(m->spec, "tee", NULL) < 0))
		return -EINVAL;
	r = set_all(m->spec, o, why, size);
	if (r == 0 && !json_object_get(o, "argv")) {
		snprintf(why, size, "there is no command to run (\"argv\")");
		return -EINVAL;
	}
	return r < 0 ? r : set_files(m, o, paired, why, size);
}

static int read_pair(struct batch_line *l, const json_t *pair, const char *common, char *why,
		     size_t size)
{
	const char *key;
	json_t *v;
	int r = 0;

	if (json_array_size(pair) != 2) {
		snprintf(why, size, "a pair is an array of two objects");
		return -EINVAL;
	}
	json_object_foreach(l->json, key, v) if (strcmp(key, "pair") != 0 && strcmp(key, "id") != 0)
	{
		snprintf(why, size, "'%.100s' stands beside a pair, it belongs into one of the two",
			 key);
		return -EINVAL;
	}
	l->n = 2;
	for (size_t i = 0; r == 0 && i < 2; i++)
		r = read_member(&l->member[i], json_array_get(pair, i), true, common, why, size);
	return r;
}

int batch_line_read(const char *text, size_t n, const char *common, struct batch_line *ret,
		    char *why, size_t size)
{
	json_error_t e;
	const json_t *pair;

	*ret = (struct batch_line){.n = 1};
	ret->json = n <= LINE_MAX_BYTES ? json_loadb(text, n, 0, &e) : NULL;
	if (!json_is_object(ret->json)) {
		snprintf(why, size, "the line is no JSON object");
		return -EINVAL;
	}
	pair = json_object_get(ret->json, "pair");
	if (pair)
		return read_pair(ret, pair, common, why, size);
	return read_member(&ret->member[0], ret->json, false, common, why, size);
}

void batch_line_done(struct batch_line *l)
{
	for (size_t i = 0; i < 2; i++)
		cleave_spec_free(l->member[i].spec);
	json_decref(l->json);
	*l = (struct batch_line){0};
}

json_t *batch_line_id(const struct batch_line *l)
{
	return json_object_get(l->json, "id");
}
