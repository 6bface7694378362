/* SPDX-License-Identifier: Apache-2.0 */
/* L7: the table of verbs. A verb is a row in verbs.def and a file cmd_<verb>.c that holds
 * cmd_<verb>. */
#pragma once

#include <stddef.h>

struct args;

enum verb_id {
#define V(id, name, flags, operands, line, text) VERB_##id,
#include "cli/verbs.def"
#undef V
	VERB_N
};

enum verb_flag {
	VERB_MAKES_SPEC = 1, /* args.spec is there, options fill it */
	VERB_STOPS = 2,      /* options end at the first operand */
	VERB_HIDDEN = 4,
	VERB_RAW =
		8, /* its words are not read as options: operands are the verb and what follows */
};

struct verb {
	enum verb_id id;
	const char *name;
	unsigned flags;
	const char *operands, *line, *text;
	/* Does the work and returns the exit status of the process. */
	int (*run)(struct args *a);
};

extern const struct verb verbs[VERB_N];

/* What a verb is good for; the rows of examples.def. */
struct example {
	enum verb_id verb;
	const char *command, *text;
};
extern const struct example examples[];
extern const size_t examples_n;

/* NULL when there is none of that name. */
const struct verb *verb_find(const char *name);
/* The nearest name that is not hidden, NULL when nothing is near. */
const char *verb_nearest(const char *name);

#define V(id, name, flags, operands, line, text) int cmd_##name(struct args *a);
#include "cli/verbs.def"
#undef V
