/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define B(id) (1u << VERB_##id)
#define FOR_ALL (~0u)
#define FOR_SPEC (B(RUN) | B(EXPLAIN) | B(START))
#define FOR_COMMAND (FOR_SPEC | B(EXEC))
#define FOR_JSON                                                                           \
	(B(RUN) | B(EXPLAIN) | B(DOCTOR) | B(EXEC) | B(WAIT) | B(PS) | B(DIFF) | B(FORK) | \
	 B(SNAPSHOTS))
#define ONCE false
#define MANY true

const struct opt opts[OPT_N] = {
#define GROUP(text)
#define O(id, name, letter, operand, verbs, repeat, take, help) \
	[OPT_##id] = {name, letter, operand, verbs, repeat, opt_take_##take, help},
#define ALIAS(name, id)
#include "cli/options.def"
#undef GROUP
#undef O
#undef ALIAS
};

const struct opt_line opt_lines[] = {
#define GROUP(text) {OPT_N, text},
#define O(id, name, letter, operand, verbs, repeat, take, help) {OPT_##id, NULL},
#define ALIAS(name, id)
#include "cli/options.def"
#undef GROUP
#undef O
#undef ALIAS
};
const size_t opt_lines_n = ARRAY_LEN(opt_lines);

static const struct {
	const char *name;
	enum opt_id id;
} aliases[] = {
#define GROUP(text)
#define O(id, name, letter, operand, verbs, repeat, take, help)
#define ALIAS(name, id) {name, OPT_##id},
#include "cli/options.def"
#undef GROUP
#undef O
#undef ALIAS
};

static const struct {
	const char *name, *why;
} refused[] = {
#define H(name, why) {name, why},
#include "cli/habits.def"
#undef H
};

const char *opt_refused(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (strcmp(refused[i].name, name) == 0)
			return refused[i].why;
	return NULL;
}

bool opt_is_optional(const struct opt *o)
{
	return o->operand && o->operand[0] == '[';
}

int opt_operands(const struct opt *o)
{
	if (!o->operand)
		return 0;
	return strchr(o->operand, ' ') ? 2 : 1;
}

const char *opt_alias(enum opt_id id)
{
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (aliases[i].id == id)
			return aliases[i].name;
	return NULL;
}

static bool knows(const struct verb *v, enum opt_id id)
{
	return opts[id].verbs & (1u << v->id);
}

static bool same(const char *full, const char *name, size_t len)
{
	return strlen(full) == len && memcmp(full, name, len) == 0;
}

enum opt_id opt_find(const struct verb *v, const char *name, size_t len)
{
	for (int i = 0; i < OPT_N; i++)
		if (same(opts[i].name, name, len) && knows(v, (enum opt_id)i))
			return (enum opt_id)i;
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (same(aliases[i].name, name, len) && knows(v, aliases[i].id))
			return aliases[i].id;
	return OPT_N;
}

enum opt_id opt_find_letter(const struct verb *v, char letter)
{
	for (int i = 0; i < OPT_N; i++)
		if (opts[i].letter == letter && knows(v, (enum opt_id)i))
			return (enum opt_id)i;
	return OPT_N;
}

const char *opt_nearest(const struct verb *v, const char *name)
{
	const char *list[OPT_N + ARRAY_LEN(aliases)], *begun = NULL;
	size_t n = 0, len = strlen(name);

	for (int i = 0; i < OPT_N; i++)
		if (knows(v, (enum opt_id)i))
			list[n++] = opts[i].name;
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
		if (knows(v, aliases[i].id))
			list[n++] = aliases[i].name;
	/* A beginning counts as near: "--mem" is far from "--memory" by letters alone. */
	for (size_t i = 0; len >= 2 && i < n && !begun; i++)
		if (strncmp(list[i], name, len) == 0)
			begun = list[i];
	return begun ? begun : text_nearest(name, list, n);
}
