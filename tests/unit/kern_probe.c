/* SPDX-License-Identifier: Apache-2.0 */
/* The probes: the texts that they parse, and their answers on this kernel, as far as those can be
 * known otherwise. Needs no privilege; leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kern/probe_internal.h"

static void kernel_releases(void **state)
{
	(void)state;
	assert_int_equal(probe_kernel_parse("6.1.0-25-amd64"), PROBE_KERNEL(6, 1));
	assert_int_equal(probe_kernel_parse("5.15"), PROBE_KERNEL(5, 15));
	assert_int_equal(probe_kernel_parse("10.0-rc1"), PROBE_KERNEL(10, 0));
	assert_int_equal(probe_kernel_parse("6"), 0);
	assert_int_equal(probe_kernel_parse("linux"), 0);
	assert_int_equal(probe_kernel_parse(""), 0);
	assert_true(PROBE_KERNEL(5, 15) > PROBE_KERNEL(5, 4));
	assert_true(PROBE_KERNEL(6, 1) > PROBE_KERNEL(5, 255));
}

static void id_maps(void **state)
{
	const char *host = "         0          0 4294967295\n";
	const char *container = "         0     100000      65536\n";
	const char *two = "0 100000 65536\n1879048192 200000 268435456\n";

	(void)state;
	assert_true(probe_map_covers(host, 0x70000000u, 0x7ffeffffu));
	assert_false(probe_map_covers(container, 0x70000000u, 0x7ffeffffu));
	assert_true(probe_map_covers(container, 0, 65535));
	assert_false(probe_map_covers(container, 0, 65536));
	assert_true(probe_map_covers(two, 0x70000000u, 0x7ffeffffu));
	assert_false(probe_map_covers(two, 0x6fffffffu, 0x7ffeffffu));
	assert_false(probe_map_covers("", 0, 0));
	assert_false(probe_map_covers("0 x", 0, 0));
}

static void the_table_is_complete(void **state)
{
	(void)state;
	for (int i = 0; i < PROBE_N; i++) {
		const struct probe_feature *f = &probe_features[i];

		assert_true(f->name[0] && f->asked[0] && f->lost[0]);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(f->name, probe_features[j].name);
	}
}

static unsigned count_entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static struct probe full;

/* CI runs where sandboxes run: what every launch needs must be found. */
static void this_host_is_found_fit(void **state)
{
	struct err e = ERR_INIT;
	struct probe_quick q;
	unsigned fds = count_entries("/proc/self/fd");

	(void)state;
	assert_int_equal(probe_quick(&q, &e), 0);
	assert_int_equal(probe_full(&full), 0);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(q.kernel, full.quick.kernel);
	assert_int_equal(q.landlock_abi, full.quick.landlock_abi);
	assert_int_equal(q.id_range, full.quick.id_range);
	for (int i = 0; i < PROBE_N; i++)
		if (probe_features[i].need == PROBE_REQUIRED && full.f[i].state != PROBE_PRESENT)
			fail_msg("%s: %s", probe_features[i].name, full.f[i].how);
	assert_int_equal(full.f[PROBE_PAGEMAP_SCAN].state == PROBE_PRESENT,
			 full.quick.kernel >= PROBE_KERNEL(6, 7));
	assert_int_equal(full.f[PROBE_LANDLOCK].state == PROBE_PRESENT,
			 full.quick.landlock_abi >= 2);
	if (geteuid())
		assert_false(q.id_range);
}

static void what_is_absent_has_a_reason(void **state)
{
	(void)state;
	for (int i = 0; i < PROBE_N; i++)
		if (full.f[i].state != PROBE_PRESENT)
			assert_true(full.f[i].how[0] != 0);
		else
			assert_true(full.f[i].remedy[0] == 0 && full.f[i].code == 0);
}

static void refusals_have_a_hint(void **state)
{
	struct err e = ERR_INIT;
	char line[256];

	(void)state;
	probe_user_ns_remedy(EPERM, line, sizeof(line));
	assert_true(line[0] != 0);
	probe_hint_user_ns(EINVAL, &e);
	assert_string_equal(e.hint, "boot a kernel with CONFIG_USER_NS");
}

/* In a development build every feature can be made to fail; one that every launch needs then ends
 * in its declared error, another is merely off. In a release the variable does nothing. */
static void features_can_be_switched_off_for_tests(void **state)
{
	(void)state;
	for (int i = 0; i < PROBE_N; i++) {
		struct err e = ERR_INIT;
		struct probe_quick q;
		int r;

		setenv("CLEAVE_TEST_NO", probe_features[i].name, 1);
		r = probe_quick(&q, &e);
#ifdef CLEAVE_DEV
		if (probe_features[i].need == PROBE_REQUIRED) {
			assert_true(r < 0);
			assert_int_equal(e.id, ERR_HOST);
			assert_non_null(strstr(e.what, probe_features[i].name));
			assert_string_equal(e.hint, probe_features[i].remedy);
			continue;
		}
		assert_int_equal(q.landlock_abi == 0, i == PROBE_LANDLOCK);
		if (i == PROBE_LANDLOCK_SCOPE)
			assert_true(q.landlock_abi < 6);
#endif
		assert_int_equal(r, 0);
	}
#ifdef CLEAVE_DEV
	setenv("CLEAVE_TEST_NO", "landlock_scope,set_tid,net_ns", 1);
	probe_full(&full);
	assert_int_equal(full.f[PROBE_SET_TID].state, PROBE_ABSENT);
	assert_int_equal(full.f[PROBE_NET_NS].state, PROBE_ABSENT);
	assert_int_equal(full.f[PROBE_LANDLOCK_SCOPE].state, PROBE_ABSENT);
	assert_int_equal(full.f[PROBE_USER_NS].state, PROBE_PRESENT);
#endif
	unsetenv("CLEAVE_TEST_NO");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_releases),
		cmocka_unit_test(id_maps),
		cmocka_unit_test(the_table_is_complete),
		cmocka_unit_test(this_host_is_found_fit),
		cmocka_unit_test(what_is_absent_has_a_reason),
		cmocka_unit_test(refusals_have_a_hint),
		cmocka_unit_test(features_can_be_switched_off_for_tests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
