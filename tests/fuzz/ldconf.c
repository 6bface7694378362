/* SPDX-License-Identifier: Apache-2.0 */
/* ld.so.conf, as the message of a missing library reads it: anybody may have written the file. */
#include "fuzz.h"

#include <limits.h>
#include <unistd.h>

#include "elf/search.h"

/* Its own directory is /proc/self/fd: "include *" is itself, and whatever else is open. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct elf_object want = {.kind = ELF_OBJECT, .class = 2, .machine = 62};
	char path[64], found[PATH_MAX];
	int fd = fuzz_memfd(data, size);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (elf_conf_find(path, "libc.so.6", &want, found))
		FUZZ_CHECK(found[0] == '/' && strcmp(strrchr(found, '/'), "/libc.so.6") == 0);
	close(fd);
	return 0;
}
