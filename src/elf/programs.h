/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: which files a program needs to start: itself, its loader, its libraries and theirs, the
 * interpreters of a script. Found by reading (ELF, #!, ld.so.cache), never by running anything.
 *
 * What this room must not do: execute, write, or decide what a sandbox shows. The files it reads
 * may be hostile: every length and offset in them is checked against the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* ---- object.c: one file ---- */

enum elf_kind { ELF_OTHER, ELF_SCRIPT, ELF_OBJECT };

struct elf_object {
	enum elf_kind kind;
	uint8_t class;    /* ELFCLASS32, ELFCLASS64 */
	uint16_t machine; /* EM_* */
	char *interp;     /* loader, or what stands behind #!; NULL: none */
	char *argument;   /* of a script's interpreter; NULL: none */
	char **needed;    /* names of libraries */
	size_t n_needed;
	char *soname;          /* NULL: none */
	char *rpath, *runpath; /* as written, NULL: none */
	bool no_default;       /* DF_1_NODEFLIB: the usual directories are not searched */
};

/* Reads what fd is. 0, or -ENOEXEC (malformed), -ENOMEM or what read said. *ret is to be freed by
 * elf_object_done after 0 only. */
int elf_object_read(int fd, struct elf_object *ret);
void elf_object_done(struct elf_object *o);
/* Of what kind, class and machine alone, by the first bytes. Nothing is to be freed. */
int elf_object_kind(int fd, struct elf_object *ret);

/* ---- cache.c: /etc/ld.so.cache, format 1.1 of glibc 2.2 and newer ---- */

struct elf_cache {
	char *bytes; /* of the new format, NULL: there is none */
	size_t size;
	uint32_t n;
};

/* Never fails: a cache that is absent or malformed has no entries. */
void elf_cache_read(int fd, struct elf_cache *ret);
/* The i-th path for a library name, NULL past the last. */
const char *elf_cache_find(const struct elf_cache *c, const char *name, unsigned i);
void elf_cache_done(struct elf_cache *c);

/* ---- programs.c: the closure ---- */

struct elf_item {
	char *path; /* absolute, no symlink on the way but those that are items */
	char *link; /* what the symlink at path says; NULL: a file */
};

/* Links first, then files; each once. */
struct elf_items {
	struct elf_item *v;
	size_t n;
};

#define ELF_PATH "/usr/local/bin:/usr/bin:/bin" /* where a name without a slash is looked up */
#define ELF_ITEMS_MAX 2048

/*
 * What the programs need. name: absolute, or a name to be looked up in ELF_PATH. A shared library
 * counts as a program. Symlinks at the top of the root (/bin, /lib64 ...) are no items: the root
 * has them. Returns 0, or a negative errno with *e saying which file is missing, who needs it and
 * where it was looked for.
 */
int elf_programs(char *const *names, size_t n, struct elf_items *ret, struct err *e);
void elf_items_done(struct elf_items *items);

/* ---- walk.c: inside the room ---- */

int elf_items_add(struct elf_items *items, const char *path, const char *link);
/* Follows every symlink of an absolute path, each of which becomes an item; the real path to
 * *ret (malloc'd). -ENOENT and others as the kernel says them, -ELOOP. */
int elf_walk(const char *path, struct elf_items *links, char **ret);
