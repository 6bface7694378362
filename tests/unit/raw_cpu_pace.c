/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of looking at a budget: few looks, a bounded overshoot, no storm while nothing runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raw/cpu_pace.h"

#define SECOND UINT64_C(1000000000)

/* A tree that keeps `busy` processors of `processors` busy: looks until it is stopped, and what it
 * had used then. */
static unsigned burn(uint64_t limit_ns, uint32_t processors, uint32_t busy, uint64_t *ret_used)
{
	struct cpu_pace p;
	uint64_t now = 1000;
	unsigned looks = 1;

	cpu_pace_start(&p, limit_ns, processors, now);
	assert_int_equal(p.at, now);
	while (!cpu_pace_look(&p, (now - 1000) * busy, now)) {
		assert_true(p.at > now);
		now = p.at;
		looks++;
	}
	assert_int_equal(p.at, 0);
	*ret_used = (now - 1000) * busy;
	return looks;
}

static void test_overshoot_is_bounded(void **state)
{
	static const uint32_t processors[] = {1, 2, 8, 64};
	static const uint64_t limits[] = {1, SECOND / 100, SECOND, 3600 * SECOND};
	uint64_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(processors) / sizeof(*processors); i++)
		for (size_t l = 0; l < sizeof(limits) / sizeof(*limits); l++)
			for (uint32_t busy = 1; busy <= processors[i]; busy++) {
				burn(limits[l], processors[i], busy, &used);
				assert_true(used >= limits[l]);
				assert_true(used <= limits[l] + busy * CPU_PACE_MIN_NS);
			}
}

static void test_looks_are_few(void **state)
{
	uint64_t used;

	(void)state;
	assert_true(burn(SECOND, 2, 2, &used) <= 4);
	assert_true(burn(SECOND, 2, 1, &used) <= 20);
	assert_true(burn(60 * SECOND, 2, 1, &used) <= 30);
}

static void test_idle_trees_are_left_alone(void **state)
{
	struct cpu_pace p;
	uint64_t now = 0;

	(void)state;
	cpu_pace_start(&p, SECOND, 4, now);
	for (int i = 0; i < 20; i++) { /* a millisecond is left */
		assert_false(cpu_pace_look(&p, SECOND - SECOND / 1000, now));
		now = p.at;
	}
	assert_true(p.at - now <= CPU_PACE_IDLE_NS);
	assert_false(cpu_pace_look(&p, SECOND - SECOND / 1000, now));
	assert_int_equal(p.at - now, CPU_PACE_IDLE_NS);
}

static void test_without_a_budget(void **state)
{
	struct cpu_pace p;

	(void)state;
	cpu_pace_start(&p, 0, 4, 5);
	assert_int_equal(p.at, 0);
	assert_false(cpu_pace_look(&p, UINT64_MAX, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overshoot_is_bounded),
		cmocka_unit_test(test_looks_are_few),
		cmocka_unit_test(test_idle_trees_are_left_alone),
		cmocka_unit_test(test_without_a_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
