/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of ids: passwd and group of a foreign root, which init reads, and the kernel's uid_map. */
#include "box/accounts.h"
#include "fuzz.h"
#include "kern/probe_internal.h"

/* The same question, asked line by line with the C library. */
static bool known(const char *text, size_t n, const char *id)
{
	const char *end = text + n;

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text)), *at = text;

		stop = stop ? stop : end;
		for (int i = 0; at && i < 2; i++) {
			at = memchr(at, ':', (size_t)(stop - at));
			at = at ? at + 1 : NULL;
		}
		if (at) {
			const char *colon = memchr(at, ':', (size_t)(stop - at));
			size_t len = (size_t)((colon ? colon : stop) - at);

			if (len == strlen(id) && memcmp(at, id, len) == 0)
				return true;
		}
		text = stop + 1;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned which = fuzz_selector(&data, &size) % 4;
	const char *id = which == 1 ? "0" : which == 2 ? "1000" : "65533";
	uint8_t *exact = malloc(size ? size : 1); /* these texts have no NUL at the end */
	char *s = fuzz_text(data, size);

	FUZZ_CHECK(exact);
	memcpy(exact, s, size);
	if (which == 0) {
		if (probe_map_covers(s, 10, 20))
			FUZZ_CHECK(probe_map_covers(s, 11, 19) && size >= 5);
	} else {
		FUZZ_CHECK(accounts_know((char *)exact, size, id) ==
			   known((char *)exact, size, id));
	}
	free(exact);
	free(s);
	return 0;
}
