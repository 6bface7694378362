/* SPDX-License-Identifier: Apache-2.0 */
/* Where a library is looked for, as ld.so(8) does: one directory list at a time. */
#include "elf/search.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

static const struct {
	uint8_t class;
	uint16_t machine;
	const char *text;
} usual[] = {
	{ELFCLASS64, EM_X86_64,
	 "/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64"},
	{ELFCLASS64, EM_AARCH64,
	 "/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu:/lib64:/usr/lib64"},
	{ELFCLASS32, EM_386, "/lib/i386-linux-gnu:/usr/lib/i386-linux-gnu:/lib32:/usr/lib32"},
	{ELFCLASS32, EM_X86_64, "/lib/x86_64-linux-gnux32:/usr/lib/x86_64-linux-gnux32:/libx32"},
};

/* A regular file, opened without any effect on what is none. */
int elf_open_regular(const char *path, struct stat *ret)
{
	AUTO_FD int at = open(path, O_PATH | O_CLOEXEC);
	char name[32];
	int fd;

	if (at < 0 || fstat(at, ret) < 0)
		return -errno;
	if (!S_ISREG(ret->st_mode))
		return -EACCES;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", at);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Is it a library for this object? The loader passes over those of another kind. */
bool elf_fits(const char *path, const struct elf_object *want)
{
	struct elf_object o;
	struct stat st;
	AUTO_FD int fd = elf_open_regular(path, &st);

	if (fd < 0 || elf_object_kind(fd, &o) < 0)
		return false;
	return o.kind == ELF_OBJECT && o.class == want->class && o.machine == want->machine;
}

bool elf_expand(const char *dir, size_t len, const char *object, char *ret)
{
	static const struct {
		const char *token;
		size_t len;
	} tokens[] = {{"$ORIGIN", 7}, {"${ORIGIN}", 9}};
	const char *slash = strrchr(object, '/');
	size_t at = 0, origin = slash ? (size_t)(slash - object) : 0;

	for (size_t i = 0; i < len;) {
		size_t k = 0;

		if (dir[i] != '$') {
			if (at + 1 >= PATH_MAX)
				return false;
			ret[at++] = dir[i++];
			continue;
		}
		while (k < ARRAY_LEN(tokens) &&
		       (len - i < tokens[k].len ||
			strncmp(dir + i, tokens[k].token, tokens[k].len) != 0))
			k++;
		if (k == ARRAY_LEN(tokens) || at + origin >= PATH_MAX)
			return false;
		memcpy(ret + at, object, origin);
		at += origin;
		i += tokens[k].len;
	}
	ret[at] = 0;
	return ret[0] == '/';
}

void elf_note_looked(struct elf_looked *l, const char *where)
{
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%s%s", n ? ":" : "", where);
}

/* Looks for name in the directories of list (a:b:c). 1: found, *ret is its path. */
int elf_search_list(struct elf_looked *l, const char *list, const char *object, const char *name,
		    const struct elf_object *want, char *ret)
{
	char dir[PATH_MAX];

	while (list && *list) {
		size_t len = strcspn(list, ":");

		if (len && elf_expand(list, len, object, dir)) {
			elf_note_looked(l, dir);
			if (l->n++ < ELF_LOOKS_MAX &&
			    snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX &&
			    elf_fits(ret, want))
				return 1;
		}
		list += len + (list[len] == ':');
	}
	return 0;
}

static bool is_in_list(const char *list, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = (size_t)(slash - path);

	for (; *list; list += strcspn(list, ":"), list += *list == ':')
		if (strcspn(list, ":") == n && strncmp(list, path, n) == 0)
			return true;
	return false;
}

const char *elf_usual(const struct elf_object *o)
{
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		if (usual[i].class == o->class && usual[i].machine == o->machine)
			return usual[i].text;
	return "";
}

bool elf_is_usual(const struct elf_object *o, const char *path)
{
	return is_in_list(elf_usual(o), path) || is_in_list(ELF_USUAL_ALL, path);
}

bool elf_loader_knows(const char *loader, const char *path)
{
	char dir[PATH_MAX];
	struct stat st;
	AUTO_FD int fd = elf_open_regular(loader, &st);
	/* they stand in it as "/lib/\0/usr/lib/\0" */
	int n = snprintf(dir, sizeof(dir), "%.*s/", (int)(strrchr(path, '/') - path), path);
	void *text;
	bool found;

	if (fd < 0 || n >= (int)sizeof(dir) || st.st_size <= 0)
		return false;
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		return false;
	found = memmem(text, (size_t)st.st_size, dir, (size_t)n + 1) != NULL;
	munmap(text, (size_t)st.st_size);
	return found;
}

/* The C library of musl is its loader, which loads nothing that is called so (ldso/dynlink.c). */
bool elf_is_part_of_musl(const char *name)
{
	static const char *const parts[] = {"c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strncmp(name, "lib", 3) == 0 &&
		    strncmp(name + 3, parts[i], strlen(parts[i])) == 0)
			return true;
	return false;
}
