/* SPDX-License-Identifier: Apache-2.0 */
/* fork: names of the clones on stdout, what was measured on stderr with --verbose. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/table.h"

#define CLONES_MAX 65536

/* One clone unless names or a number were given; both must agree. */
static int count_clones(struct args *a, uint64_t *ret)
{
	uint64_t names = (uint64_t)a->n_operands - 1;

	*ret = names ? names : 1;
	if (!a->seen[OPT_CLONES])
		return 0;
	if (text_parse_uint(a->value[OPT_CLONES], 1, CLONES_MAX, ret) < 0) {
		out_error("fork", "--clones '%s': a whole number from 1 to %d is expected",
			  a->value[OPT_CLONES], CLONES_MAX);
		return 125;
	}
	if (names && names != *ret) {
		out_error("fork", "--clones %s: but %llu names are given", a->value[OPT_CLONES],
			  (unsigned long long)names);
		return 125;
	}
	return 0;
}

static int print_names(const json_t *answer)
{
	const json_t *clone;
	int status = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "clones"), i, clone)
	{
		char name[256], line[260];

		snprintf(line, sizeof(line), "%s\n", json_text(clone, "name", name, sizeof(name)));
		status = status ? status : out_text("fork", line);
	}
	return status;
}

static void tell_list(const json_t *answer, const char *what)
{
	const json_t *note;
	size_t i;

	json_array_foreach(json_object_get(answer, what), i, note) out_error(
		"fork", "%s: %s", what, json_is_string(note) ? json_string_value(note) : "?");
}

static void tell(const json_t *answer)
{
	const json_t *source = json_object_get(answer, "source"), *clone;
	const json_t *files = json_object_get(answer, "files");
	char name[256], a[32], b[32], c[32], d[32], method[64];
	size_t i;

	out_error("fork", "%s was stopped for %s", json_text(source, "name", name, sizeof(name)),
		  text_duration(json_uint(source, "paused_ns"), a, sizeof(a)));
	json_array_foreach(json_object_get(answer, "clones"), i, clone)
		out_error("fork", "%s (%s) ran after %s",
			  json_text(clone, "name", name, sizeof(name)),
			  json_text(clone, "id", b, sizeof(b)),
			  text_duration(json_uint(clone, "first_insn_ns"), a, sizeof(a)));
	text_format_size(json_uint(files, "bytes"), b, sizeof(b));
	text_format_size(json_uint(files, "ahead_bytes"), c, sizeof(c));
	out_error("fork", "files: %s of them, %s, by %s in %s, %s of it before in %s",
		  json_text(files, "files", name, sizeof(name)), b,
		  json_text(files, "method", method, sizeof(method)),
		  text_duration(json_uint(files, "ns"), a, sizeof(a)), c,
		  text_duration(json_uint(files, "ahead_ns"), d, sizeof(d)));
	tell_list(answer, "carried");
	tell_list(answer, "recreated");
	tell_list(answer, "broken");
}

int cmd_fork(struct args *a)
{
	AUTO_FREE char *text = NULL;
	const char *const *names = (const char *const *)a->operands + 1;
	struct out_json json;
	uint64_t count;
	json_t *answer;
	int status = operands_check(a, 1, CLONES_MAX + 1);

	if (!status)
		status = count_clones(a, &count);
	if (!status && a->seen[OPT_JSON])
		status = out_json_open(&json, "fork", a->value[OPT_JSON]);
	if (status)
		return status;
	if (cleave_fork(a->operands[0], *names ? names : NULL, (size_t)count, a->spec, &text) < 0)
		return out_cleave_error("fork");
	answer = json_read("fork", text);
	if (!answer)
		return 125;
	if (a->seen[OPT_VERBOSE])
		tell(answer);
	status = a->seen[OPT_JSON] ? out_json_write(&json, "fork", text) : print_names(answer);
	json_decref(answer);
	return status;
}
