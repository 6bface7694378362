/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the state directory:
 * sandboxes/ID/{spec.json,state.json,journal,control.sock,log,result.json}, names/NAME -> ID. Files
 * are replaced as a whole (write, rename), so a reader never sees half of one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define REGISTRY_ID 13
/* More than a keeper writes: a spec (8 MiB at most), or its command and labels with what is known
 * of the sandbox. */
#define REGISTRY_FILE_MAX (16u << 20)

/* names/NAME -> id; -EEXIST with a sentence when it is taken. */
int registry_claim(const char *name, const char *id, struct err *e);
/* Has a sandbox that very name? Ids don't count. */
bool registry_has_name(const char *name);
void registry_release(const char *name, const char *id);
/* Frees the names of sandboxes that are no more; appends a line each to *report (malloc'd or NULL).
 */
int registry_sweep(char **report, struct err *e);
/* `rm -f b1` must not hit whatever has an id that begins so when no b1 is there: names are often
 * hex digits. */
#define REGISTRY_PREFIX 6
/* Name, id or unique prefix of an id (REGISTRY_PREFIX digits at least) to an id. */
int registry_find(const char *name, char ret_id[REGISTRY_ID], struct err *e);
/* The directory of a sandbox. Returns a descriptor. */
int registry_open(const char *id, struct err *e);
/* Both: the directory of the sandbox of that name, and its id. */
int registry_open_name(const char *name, char ret_id[REGISTRY_ID], struct err *e);
bool registry_exists(const char *id);
/* Does a keeper hold the lock? It goes after the last file is written. One that can't be asked
 * (no descriptor left) is said to live: what is dead is removed. */
bool registry_alive(int dir_fd);
int registry_write(int dir_fd, const char *file, const char *text, struct err *e);
/* malloc'd and NUL terminated; NULL with errno: ENOENT, EINVAL (no file, or too large), or why not.
 */
char *registry_read(int dir_fd, const char *file);
/* Of that errno: is there nothing that a later try could read? */
bool registry_is_lost(int code);
/* Calls fn for every sandbox; stops when it returns non-zero. */
int registry_each(int (*fn)(void *arg, const char *id, int dir_fd), void *arg, struct err *e);
/* Removes files, directory and the name. The caller has made sure that no keeper lives. */
int registry_forget(const char *id, struct err *e);
