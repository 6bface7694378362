/* SPDX-License-Identifier: Apache-2.0 */
/* One line of --batch: what it asks for, read and checked. Runs nothing. */
#pragma once

#include <cleave/cleave.h>
#include <jansson.h>
#include <stddef.h>

/* One sandbox. The files belong to the line's JSON; NULL: none. */
struct batch_member {
	cleave_spec *spec;
	const char *file[3]; /* "stdin", "stdout", "stderr" */
};

struct batch_line {
	json_t *json;
	size_t n; /* 1, or 2 that are piped crosswise */
	struct batch_member member[2];
};

/* common: the spec of the command line as JSON, which every line begins with. -EINVAL with the
 * reason in why; *ret has to be freed in any case. */
int batch_line_read(const char *text, size_t n, const char *common, struct batch_line *ret,
		    char *why, size_t size);
void batch_line_done(struct batch_line *l);
/* The "id" of the line, NULL without one; borrowed. */
json_t *batch_line_id(const struct batch_line *l);
