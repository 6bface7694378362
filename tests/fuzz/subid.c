/* SPDX-License-Identifier: Apache-2.0 */
/* /etc/subuid: whatever its lines say, a range that is found is one that may be asked for. */
#include "fuzz.h"

#include <errno.h>

#include "kern/subid.h"

#define OWN 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool named = fuzz_selector(&data, &size) % 2;
	char *s = fuzz_text(data, size);
	struct subid got;
	uint64_t free_id;
	int r = subid_find(s, named ? "alice" : NULL, OWN, OWN, &got, &free_id);

	FUZZ_CHECK(r == 0 || r == -ERANGE || r == -ENOENT);
	FUZZ_CHECK(free_id >= 100000 && free_id <= UINT32_MAX);
	if (r != -ENOENT) {
		FUZZ_CHECK(got.first && got.count && (r == 0) == (got.count >= SUBID_NEEDED));
		FUZZ_CHECK((uint64_t)got.first + got.count <= free_id);
		FUZZ_CHECK(OWN < got.first || OWN - got.first >= got.count);
	} else {
		FUZZ_CHECK(!got.count);
	}
	free(s);
	return 0;
}
