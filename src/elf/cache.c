/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/ld.so.cache. The format (glibc, sysdeps/generic/dl-cache.h): a header of 48 bytes, n entries
 * of 24, offsets of texts counted from the header. It may stand behind one of the older format,
 * whose magic and size are skipped.
 */
#include "elf/programs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLD_MAGIC "ld.so-1.7.0"
#define OLD_HEAD 16
#define OLD_ENTRY 12
#define NEW_MAGIC "glibc-ld.so.cache1.1"
#define NEW_HEAD 48
#define NEW_ENTRY 24
#define CACHE_MAX (64u << 20)

static uint32_t u32_at(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool is_new(const char *bytes, size_t size, size_t at)
{
	return at <= size && size - at >= NEW_HEAD &&
	       memcmp(bytes + at, NEW_MAGIC, sizeof(NEW_MAGIC) - 1) == 0;
}

static size_t behind_old(const char *bytes, size_t size)
{
	uint64_t end;

	if (size < OLD_HEAD || memcmp(bytes, OLD_MAGIC, sizeof(OLD_MAGIC) - 1) != 0)
		return 0;
	end = OLD_HEAD + (uint64_t)u32_at(bytes + OLD_HEAD - 4) * OLD_ENTRY;
	end = (end + 7) & ~UINT64_C(7);
	return end < size ? (size_t)end : 0;
}

void elf_cache_read(int fd, struct elf_cache *ret)
{
	struct stat st;
	size_t at;
	char *bytes;

	*ret = (struct elf_cache){0};
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < NEW_HEAD || st.st_size > CACHE_MAX)
		return;
	bytes = malloc((size_t)st.st_size);
	if (!bytes)
		return;
	if (pread(fd, bytes, (size_t)st.st_size, 0) != (ssize_t)st.st_size) {
		free(bytes);
		return;
	}
	at = behind_old(bytes, (size_t)st.st_size);
	if (!is_new(bytes, (size_t)st.st_size, at)) {
		free(bytes);
		return;
	}
	ret->size = (size_t)st.st_size - at;
	memmove(bytes, bytes + at, ret->size);
	ret->bytes = bytes;
	ret->n = u32_at(bytes + sizeof(NEW_MAGIC) - 1);
	if (ret->n > (ret->size - NEW_HEAD) / NEW_ENTRY)
		ret->n = (uint32_t)((ret->size - NEW_HEAD) / NEW_ENTRY);
}

static const char *text_at(const struct elf_cache *c, uint32_t offset)
{
	return offset < c->size && memchr(c->bytes + offset, 0, c->size - offset)
		       ? c->bytes + offset
		       : NULL;
}

const char *elf_cache_find(const struct elf_cache *c, const char *name, unsigned i)
{
	for (uint32_t k = 0; k < c->n; k++) {
		const char *entry = c->bytes + NEW_HEAD + (size_t)k * NEW_ENTRY;
		const char *key = text_at(c, u32_at(entry + 4)), *value;

		if (!key || strcmp(key, name) != 0)
			continue;
		value = text_at(c, u32_at(entry + 8));
		if (value && value[0] == '/' && !i--)
			return value;
	}
	return NULL;
}

void elf_cache_done(struct elf_cache *c)
{
	free(c->bytes);
	*c = (struct elf_cache){0};
}
