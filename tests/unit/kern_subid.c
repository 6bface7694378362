/* SPDX-License-Identifier: Apache-2.0 */
/* /etc/subuid and /etc/subgid as texts: whose line counts, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/cleanup.h"
#include "kern/subid.h"

static const struct {
	const char *text;
	int answer;
	uint32_t first, count;
} cases[] = {
	{"alice:100000:65536\n", 0, 100000, 65536},
	{"alice:100000:65536", 0, 100000, 65536}, /* no newline at the end */
	{"bob:100000:65536\nalice:165536:65536\n", 0, 165536, 65536},
	{"1000:200000:65536\n", 0, 200000, 65536},              /* by number */
	{"alice:100000:65535\n", 0, 100000, 65535},             /* the least that does */
	{"alice:100000:65534\n", -ERANGE, 100000, 65534},       /* one less */
	{"alice:1:10\nalice:500000:65536\n", 0, 500000, 65536}, /* the first that is large enough */
	{"alice:300000:9\nalice:1:10\nalice:5:3\n", -ERANGE, 1, 10},    /* the largest is told of */
	{"alice:100000:65536\nalice:300000:99999\n", 0, 100000, 65536}, /* the first of two */
	{"alice:100000:65536\nalice:100000:65536\n", 0, 100000, 65536},
	{"alice:4294901759:65536\n", 0, 4294901759u, 65536}, /* up to the last id that is one */
	{"", -ENOENT, 0, 0},
	{"\n\n\n", -ENOENT, 0, 0},
	{"alicia:100000:65536\nalic:100000:65536\n", -ENOENT, 0, 0},
	{"10000:100000:65536\n100:100000:65536\n01000:100000:65536\n", -ENOENT, 0, 0},
	{"alice:0:65536\n", -ENOENT, 0, 0},      /* the host's root */
	{"alice:0:4294967295\n", -ENOENT, 0, 0}, /* and everybody */
	{"alice:500:65536\n", -ENOENT, 0, 0},    /* alice twice */
	{"alice:1000:65536\n", -ENOENT, 0, 0},
	{"alice:1001:65536\n", 0, 1001, 65536},
	{"alice:100000:0\n", -ENOENT, 0, 0},
	{"alice:4294901760:65536\n", -ENOENT, 0, 0}, /* with the id that means none */
	{"alice:4294967295:65536\n", -ENOENT, 0, 0},
	{"alice:4294967296:65536\n", -ENOENT, 0, 0},
	{"alice:18446744073709551616:65536\n", -ENOENT, 0, 0},
	{"alice:100000:18446744073709551615\n", -ENOENT, 0, 0},
	{"alice:100000:4294967295\n", -ENOENT, 0, 0},
	{"alice:-100000:65536\n", -ENOENT, 0, 0},
	{"alice: 100000:65536\n", -ENOENT, 0, 0},
	{"alice:100000:65536 \n", -ENOENT, 0, 0},
	{"alice:0x10000:65536\n", -ENOENT, 0, 0},
	{"alice:100000\n", -ENOENT, 0, 0},
	{"alice:100000:\n", -ENOENT, 0, 0},
	{"alice::65536\n", -ENOENT, 0, 0},
	{"alice:100000:65536:1\n", -ENOENT, 0, 0},
	{":100000:65536\n", -ENOENT, 0, 0},
	{"alice\n", -ENOENT, 0, 0},
	{":::::\nalice:100000:65536\n", 0, 100000, 65536},
	{"#alice:100000:65536\n", -ENOENT, 0, 0},
};

static void lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct subid got;
		uint64_t free_id;
		int r = subid_find(cases[i].text, "alice", 1000, 1000, &got, &free_id);

		if (r != cases[i].answer || got.first != cases[i].first ||
		    got.count != cases[i].count)
			fail_msg("case %zu: %d, %u ids from %u", i, r, got.count, got.first);
	}
}

static void without_a_name(void **state)
{
	struct subid got;
	uint64_t free_id;

	(void)state;
	assert_int_equal(subid_find(":100000:65536\n1000:200000:65536\n", NULL, 1000, 1000, &got,
				    &free_id),
			 0);
	assert_int_equal(got.first, 200000);
	assert_int_equal(subid_find("alice:1:65536\n", NULL, 1000, 70000, &got, &free_id), -ENOENT);
}

static void the_next_free(void **state)
{
	struct subid got;
	uint64_t free_id;

	(void)state;
	subid_find("", "alice", 1000, 1000, &got, &free_id);
	assert_int_equal(free_id, 100000);
	subid_find("bob:200000:65536\ncarol:100000:65536\nx:9999999999:1\n", "alice", 1000, 1000,
		   &got, &free_id);
	assert_int_equal(free_id, 265536);
	/* behind everything, also where a line of ours came first */
	subid_find("alice:100000:65536\nbob:4294901759:65536\n", "alice", 1000, 1000, &got,
		   &free_id);
	assert_int_equal(free_id, 4294967295u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(without_a_name),
		cmocka_unit_test(the_next_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
