/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of elf/: where a library is looked for, as ld.so(8) does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "elf/programs.h"

/* Directories that every loader searches, after those of the processor. */
#define ELF_USUAL_ALL "/lib:/usr/lib"
#define ELF_USUAL_MUSL "/lib:/usr/local/lib:/usr/lib"

/* Where a library was looked for, a:b:c, cut at the end; for the error. */
struct elf_looked {
	char text[256];
	unsigned n; /* files that were looked at, since the closure was begun */
};

#define ELF_LOOKS_MAX (1u << 18)

/* A regular file, opened without any effect on what is none. Or -errno. */
int elf_open_regular(const char *path, struct stat *ret);

/* Is it a library for this object? The loader passes over those of another kind. */
bool elf_fits(const char *path, const struct elf_object *want);

/*
 * Looks for name in the directories of list (a:b:c), where $ORIGIN is the directory of object.
 * 1: found, ret[PATH_MAX] is its path; 0: it is not there.
 */
int elf_search_list(struct elf_looked *l, const char *list, const char *object, const char *name,
		    const struct elf_object *want, char *ret);
void elf_note_looked(struct elf_looked *l, const char *where);

/*
 * conf.c: is the library in a directory that the file conf (of ldconfig; absolute) names, itself or
 * by its includes? ret[PATH_MAX] is its path then. Never fails: what can't be read names nothing.
 */
bool elf_conf_find(const char *conf, const char *name, const struct elf_object *want, char *ret);

/* The directories of the object's processor; is the file in one of these, or of ELF_USUAL_ALL? */
const char *elf_usual(const struct elf_object *o);
bool elf_is_usual(const struct elf_object *o, const char *path);
/* Is the directory of the path among those that this loader (a file) searches by itself? */
bool elf_loader_knows(const char *loader, const char *path);

/* "$ORIGIN/../lib" (of that length) of an object, to ret[PATH_MAX]. False: too long, relative, or a
 * token that we don't know. */
bool elf_expand(const char *dir, size_t len, const char *object, char *ret);

/* The C library of musl is its loader: does this name belong to it? */
bool elf_is_part_of_musl(const char *name);
