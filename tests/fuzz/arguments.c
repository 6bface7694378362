/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: the first byte chooses the verb, each further line is a word. */
#include "fuzz.h"

#include "cli/options.h"

#define WORDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned verb = fuzz_selector(&data, &size) % VERB_N;
	char *all = fuzz_text(data, size), *save = NULL, *argv[WORDS + 1];
	struct args a = {.verb = &verbs[verb], .spec = cleave_spec_new()};
	int argc = 0;

	FUZZ_CHECK(a.spec);
	for (char *w = strtok_r(all, "\n", &save); w && argc < WORDS;
	     w = strtok_r(NULL, "\n", &save)) {
		/* the only one that opens a file, which may be a terminal or endless */
		if (!strstr(w, "env-f"))
			argv[argc++] = w;
	}
	argv[argc] = NULL;
	if (args_parse(&a, argc, argv) == 0) {
		FUZZ_CHECK(a.n_operands >= 0 && a.n_operands <= argc && !a.operands[a.n_operands]);
		FUZZ_CHECK(a.n_filters >= 0 && a.n_filters <= FILTERS_MAX);
		for (int i = 0; i < a.n_filters; i++)
			FUZZ_CHECK(strlen(a.filters[i]) <= size);
	}
	cleave_spec_free(a.spec);
	free(all);
	return 0;
}
