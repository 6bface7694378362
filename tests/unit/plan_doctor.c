/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's verdicts from made-up hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "plan/doctor.h"

static struct probe host;
static struct result_layer rows[LAYER_N];

static int healthy(void **state)
{
	(void)state;
	memset(&host, 0, sizeof(host));
	for (int i = 0; i < PROBE_N; i++)
		host.f[i].state = PROBE_PRESENT;
	snprintf(host.f[PROBE_LANDLOCK].how, sizeof(host.f[0].how), "ABI 7");
	snprintf(host.f[PROBE_CGROUP_PIDS].how, sizeof(host.f[0].how), "cgroup v2");
	host.quick.id_range = true;
	return 0;
}

static void take_away(enum probe_id id, const char *how, const char *remedy)
{
	struct probe_answer *a = &host.f[id];

	a->state = PROBE_ABSENT;
	a->code = EPERM;
	snprintf(a->how, sizeof(a->how), "%s", how);
	snprintf(a->remedy, sizeof(a->remedy), "%s", remedy);
}

static void a_fit_host_has_every_layer(void **state)
{
	(void)state;
	assert_int_equal(plan_doctor(&host, rows), 0);
	for (int i = 0; i < LAYER_N; i++) {
		assert_int_equal(rows[i].state, LAYER_ON);
		assert_string_equal(rows[i].remedy, "");
	}
	assert_string_equal(rows[LAYER_LANDLOCK].how, "ABI 7");
	assert_string_equal(rows[LAYER_CGROUP_PIDS].how, "cgroup v2");
	assert_string_equal(rows[LAYER_IDS].how, "a slot of 65536 ids");
	host.quick.id_range = false;
	assert_int_equal(plan_doctor(&host, rows), 0);
	assert_string_equal(rows[LAYER_IDS].how, "one id, the caller's");
}

static void one_layer_off_says_why(void **state)
{
	(void)state;
	take_away(PROBE_CGROUP_PIDS, "not delegated", "systemd-run ...");
	assert_int_equal(plan_doctor(&host, rows), 1);
	assert_int_equal(rows[LAYER_CGROUP_PIDS].state, LAYER_OFF);
	assert_string_equal(rows[LAYER_CGROUP_PIDS].how, "not delegated");
	assert_string_equal(rows[LAYER_CGROUP_PIDS].remedy, "systemd-run ...");
}

/* Without a text of its own the table's remedy stands there: nobody is left without a next step. */
static void the_table_fills_in(void **state)
{
	(void)state;
	take_away(PROBE_LANDLOCK, "", "");
	assert_int_equal(plan_doctor(&host, rows), 1);
	assert_string_equal(rows[LAYER_LANDLOCK].how, "landlock");
	assert_string_equal(rows[LAYER_LANDLOCK].remedy, probe_features[PROBE_LANDLOCK].remedy);
}

/* No user namespace, or one without power: the layers inside it name that one cause, not the
 * trials that failed or never ran because of it. */
static void the_cause_is_named_not_its_consequences(void **state)
{
	static const enum probe_id causes[] = {PROBE_USER_NS, PROBE_USER_NS_CAPS};

	for (size_t c = 0; c < 2; c++) {
		healthy(state);
		for (int i = PROBE_ID_MAP; i <= PROBE_NS_LIMITS; i++) {
			host.f[i].state = PROBE_UNASKED;
			snprintf(host.f[i].how, sizeof(host.f[i].how), "an earlier step failed");
		}
		take_away(PROBE_ID_MAP, "a consequence", "nothing helps");
		host.f[PROBE_USER_NS_CAPS].state = PROBE_PRESENT;
		take_away(causes[c], "EPERM", "sysctl -w user.max_user_namespaces=15000");
		assert_true(plan_doctor(&host, rows) > 10);
		for (int i = 0; i < LAYER_N; i++)
			if (rows[i].state != LAYER_ON)
				assert_string_equal(rows[i].how, "EPERM");
		assert_int_equal(rows[LAYER_LANDLOCK].state, LAYER_ON);
		assert_int_equal(rows[LAYER_NET_NS].state, LAYER_OFF);
	}
}

/* podman's filter: without power over a host name, and parts of /proc covered. Each says its own.
 */
static void what_was_tried_comes_before_what_was_not(void **state)
{
	(void)state;
	take_away(PROBE_USER_NS_CAPS, "EPERM", "the filter");
	take_away(PROBE_PROC_MOUNT, "covered", "unmask it");
	host.f[PROBE_DEVPTS].state = PROBE_UNASKED;
	plan_doctor(&host, rows);
	assert_string_equal(rows[LAYER_PROC].remedy, "unmask it");
	assert_string_equal(rows[LAYER_UTS_NS].remedy, "the filter");
	assert_string_equal(rows[LAYER_DEV].remedy, "the filter");
}

/* Every probe that a launch or a layer needs shows up in some row; the rest is for forks and
 * conveniences, or checked at every start. */
static void no_needed_probe_is_forgotten(void **state)
{
	(void)state;
	for (int i = 0; i < PROBE_N; i++) {
		if (probe_features[i].need != PROBE_REQUIRED &&
		    probe_features[i].need != PROBE_LAYER)
			continue;
		healthy(NULL);
		take_away(i, "gone", "");
		if (plan_doctor(&host, rows) == 0)
			fail_msg("%s is in no layer", probe_features[i].name);
	}
}

static void a_long_reason_is_cut_not_overrun(void **state)
{
	char text[192];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	take_away(PROBE_FREEZER, text, text);
	assert_int_equal(plan_doctor(&host, rows), 1);
	assert_int_equal(rows[LAYER_FREEZER].how[sizeof(rows[0].how) - 1], 0);
	assert_string_equal(rows[LAYER_FREEZER].remedy, text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, healthy)
	const struct CMUnitTest tests[] = {
		T(a_fit_host_has_every_layer),
		T(one_layer_off_says_why),
		T(the_table_fills_in),
		T(the_cause_is_named_not_its_consequences),
		T(what_was_tried_comes_before_what_was_not),
		T(no_needed_probe_is_forgotten),
		T(a_long_reason_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
