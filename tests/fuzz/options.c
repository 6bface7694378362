/* SPDX-License-Identifier: Apache-2.0 */
/* Options by name, one a line: NAME or NAME=VALUE; and the readers of sizes, times and numbers. */
#include "fuzz.h"

#include "base/text.h"
#include "spec/options.h"

static void text(const char *s, size_t n)
{
	static const char *const words[] = {"memory", "timeout", "pids", "tmpfs"};
	char out[64], *b64 = text_base64(s, n);
	uint64_t v, back;

	if (text_parse_size(s, &v) == 0) {
		FUZZ_CHECK(v <= INT64_MAX);
		text_format_size(v, out, sizeof(out));
		FUZZ_CHECK(text_parse_size(out, &back) == 0 && back == v);
	}
	if (text_parse_time(s, &v) == 0)
		FUZZ_CHECK(v <= INT64_MAX);
	if (text_parse_uint(s, 3, 1000, &v) == 0)
		FUZZ_CHECK(v >= 3 && v <= 1000);
	for (size_t size = 0; size <= sizeof(out); size += 7) {
		text_escape(s, n, out, size);
		for (const char *p = out; size && *p; p++)
			FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
		FUZZ_CHECK(!size || text_is_utf8(out, strlen(out)));
	}
	if (text_is_name(s))
		FUZZ_CHECK(n <= 63 && !strchr(s, '/'));
	FUZZ_CHECK(b64 && strlen(b64) == (n + 2) / 3 * 4);
	free(b64);
	text_nearest(s, words, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = fuzz_text(data, size), *save = NULL, *json;
	struct err e = ERR_INIT;
	struct spec s, again;

	spec_init(&s);
	for (char *line = strtok_r(all, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');

		text(line, strlen(line));
		if (value)
			*value++ = 0;
		if (value)
			text(value, strlen(value));
		e = ERR_INIT;
		if (spec_option(&s, line, value, "/home/user", &e) < 0)
			FUZZ_CHECK(e.id && e.what[0]);
	}
	if (spec_check(&s, &e) == 0) {
		json = spec_encode(&s);
		FUZZ_CHECK(json && spec_decode(json, strlen(json), &again, &e) == 0);
		free(json);
		spec_done(&again);
	}
	spec_done(&s);
	free(all);
	return 0;
}
