/* SPDX-License-Identifier: Apache-2.0 */
/* A spec as text: the same one comes back, or none; also in a program that does not watch jansson's
 * memory, as one that uses the library. And options that are paths. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/cleanup.h"
#include "spec/options.h"
#include "spec/spec.h"

static long left; /* requests that go well until one fails; below 0: all do */

static void *scarce(size_t n)
{
	return left >= 0 && left-- == 0 ? NULL : malloc(n);
}

static void make(struct spec *s)
{
	static const char *const options[][2] = {
		{"memory", "64m"},     {"timeout", "10"},         {"env", "A=b"},
		{"env", "ODD=\xff\1"}, {"ro", "/usr:/mnt/u\xfe"}, {"tmpfs", "/mnt/t:1m"},
		{"label", "k=v"},      {"seccomp", "/p.json"},    {"cpuset", "0-1"},
	};
	struct err e = ERR_INIT;

	spec_init(s);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		assert_int_equal(spec_option(s, options[i][0], options[i][1], "/", &e), 0);
	assert_int_equal(spec_strv_add(&s->command.argv, "true"), 0);
}

static void test_nothing_is_left_out(void **state)
{
	struct spec s, again;
	long refused = 0, n;
	char *whole;

	(void)state;
	make(&s);
	left = -1;
	json_set_alloc_funcs(scarce, free);
	whole = spec_encode(&s);
	assert_non_null(whole);
	for (n = 0;; n++) {
		struct err e = ERR_INIT;
		char *text, *same;
		bool all;

		left = n;
		text = spec_encode(&s);
		all = left >= 0;
		left = -1;
		if (all) {
			free(text);
			break;
		}
		refused++;
		/* jansson may write what is no JSON then: refused by whoever reads it */
		if (text && spec_decode(text, strlen(text), &again, &e) == 0) {
			refused--;
			same = spec_encode(&again);
			assert_string_equal(same, whole);
			free(same);
			spec_done(&again);
		}
		free(text);
	}
	assert_true(n > 100);
	assert_true(refused > n / 2);
	free(whole);
	spec_done(&s);
	json_set_alloc_funcs(malloc, free);
}

static void test_paths_without_a_directory(void **state)
{
	static const char *const options[][2] = {{"rw", "."},      {"ro", "x:/mnt/x"},
						 {"root", "x"},    {"bin", "./x"},
						 {"seccomp", "x"}, {"out", "/x:y"},
						 {"file", "x:/y"}};
	struct spec s;

	(void)state;
	spec_init(&s);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(spec_option(&s, options[i][0], options[i][1], NULL, &e), -ENOENT);
		assert_non_null(strstr(e.what, "working directory"));
	}
	assert_int_equal(s.n_mounts, 0);
	spec_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_left_out),
		cmocka_unit_test(test_paths_without_a_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
