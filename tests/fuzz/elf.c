/* SPDX-License-Identifier: Apache-2.0 */
/* Programs and ld.so.cache, as --bin reads them: anybody may have written the file. */
#include "fuzz.h"

#include <errno.h>
#include <unistd.h>

#include "elf/programs.h"

static void object(int fd)
{
	struct elf_object o;
	int r = elf_object_read(fd, &o);

	if (r < 0) {
		FUZZ_CHECK(r == -ENOEXEC || r == -ENOMEM);
		return;
	}
	FUZZ_CHECK(o.kind == ELF_OBJECT || !o.n_needed);
	FUZZ_CHECK(o.kind != ELF_SCRIPT || (o.interp && o.interp[0]));
	for (size_t i = 0; i < o.n_needed; i++)
		FUZZ_CHECK(strlen(o.needed[i]) < 4096);
	elf_object_done(&o);
}

static void cache(int fd)
{
	struct elf_cache c;
	const char *path;

	elf_cache_read(fd, &c);
	for (unsigned i = 0; (path = elf_cache_find(&c, "libc.so.6", i)); i++)
		FUZZ_CHECK(path[0] == '/' && path + strlen(path) < c.bytes + c.size);
	elf_cache_done(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned which = fuzz_selector(&data, &size) % 2;
	int fd = fuzz_memfd(data, size);

	if (which == 0)
		object(fd);
	else
		cache(fd);
	close(fd);
	return 0;
}
