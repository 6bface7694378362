/* SPDX-License-Identifier: Apache-2.0 */
/* Every option that the front end forwards by name is one that the library knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.h"

#define V(id, name, flags, operands, line, text) \
	int cmd_##name(struct args *a)           \
	{                                        \
		(void)a;                         \
		return 0;                        \
	}
#include "cli/verbs.def"
#undef V

static void library_knows_what_is_forwarded(void **state)
{
	cleave_spec *spec = cleave_spec_new();
	int n = 0;

	(void)state;
	assert_non_null(spec);
	/* how it says that it does not know one */
	assert_true(cleave_spec_set(spec, "no-such-option", "1") < 0);
	assert_non_null(strstr(cleave_error(), "there is no option"));
	for (int i = 0; i < OPT_N; i++) {
		if (opts[i].take != opt_take_SPEC)
			continue;
		n++;
		/* whatever it thinks of the value */
		if (cleave_spec_set(spec, opts[i].name, opts[i].operand ? "?" : NULL) < 0 &&
		    strstr(cleave_error(), "there is no option"))
			fail_msg("--%s: %s", opts[i].name, cleave_error());
	}
	assert_true(n > 20);
	cleave_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(library_knows_what_is_forwarded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
