/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verbs.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define MAKES_SPEC VERB_MAKES_SPEC
#define STOPS VERB_STOPS
#define HIDDEN VERB_HIDDEN
#define RAW VERB_RAW
const struct verb verbs[VERB_N] = {
#define V(id, name, flags, operands, line, text) \
	[VERB_##id] = {VERB_##id, #name, flags, operands, line, text, cmd_##name},
#include "cli/verbs.def"
#undef V
};

const struct example examples[] = {
#define X(verb, command, text) {VERB_##verb, command, text},
#include "cli/examples.def"
#undef X
};
const size_t examples_n = ARRAY_LEN(examples);

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < VERB_N; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

const char *verb_nearest(const char *name)
{
	const char *list[VERB_N];
	size_t n = 0;

	for (size_t i = 0; i < VERB_N; i++)
		if (!(verbs[i].flags & VERB_HIDDEN))
			list[n++] = verbs[i].name;
	return text_nearest(name, list, n);
}
