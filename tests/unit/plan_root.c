/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of /proc a plan hides or makes read-only, against a list written by hand here: of the paths
 * that this kernel lacks no running sandbox could tell whether they are in the table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "plan/make.h"

static const char *const hidden[] = {
	"acpi",          "asound",     "driver",      "interrupts",  "kallsyms",   "kcore",
	"key-users",     "keys",       "kmsg",        "kpagecgroup", "kpagecount", "kpageflags",
	"latency_stats", "modules",    "sched_debug", "schedstat",   "scsi",       "slabinfo",
	"sysrq-trigger", "timer_list", "timer_stats", "vmallocinfo",
};
static const char *const read_only[] = {"bus", "fs", "irq", "mtrr", "sys"};

static struct plan_bytes make(bool bare)
{
	struct plan_host host = {.root = true, .uid = 0, .gid = 0};
	struct plan_bytes ret = {0};
	struct result report;
	struct err e = ERR_INIT;
	struct spec spec;

	spec_init(&spec);
	if (bare) {
		free(spec.root);
		spec.root = strdup("programs");
	}
	result_init(&report);
#ifdef CLEAVE_DEV
	host.test_without = getenv("CLEAVE_TEST_WITHOUT");
#endif
	assert_int_equal(plan_make(&spec, &host, &ret, &report, &e), 0);
	result_done(&report);
	spec_done(&spec);
	return ret;
}

static bool has(const struct plan_bytes *p, enum plan_kind kind, const char *name)
{
	const struct plan_entry *e = plan_entries(p->plan);

	for (uint32_t i = 0; i < p->plan->n_entries; i++) {
		const char *target = plan_text(p->plan, e[i].target);

		if (e[i].kind == kind && strncmp(target, "/proc/", 6) == 0 &&
		    strcmp(target + 6, name) == 0)
			return true;
	}
	return false;
}

static void every_part_of_proc_is_in_the_plan(void **state)
{
	(void)state;
	for (int bare = 0; bare < 2; bare++) {
		struct plan_bytes p = make(bare);

		for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
			if (!has(&p, PLAN_COVER, hidden[i]))
				fail_msg("/proc/%s is not hidden", hidden[i]);
		for (size_t i = 0; i < ARRAY_LEN(read_only); i++)
			if (!has(&p, PLAN_SELF_RO, read_only[i]))
				fail_msg("/proc/%s is not read-only", read_only[i]);
		plan_free(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_part_of_proc_is_in_the_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
