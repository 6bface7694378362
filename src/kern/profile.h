/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: a user's own system call profile: JSON as the OCI runtime specification has it in
 * linux.seccomp, or as docker and podman keep their default ones, becomes a program for the kernel.
 *
 * What this file must not do: read a file, load a program (that is a row of the launch, behind our
 * own filter, so that the stricter answer of the two counts).
 *
 * A profile is taken as a whole or refused: an action, operator, architecture, field or flag that
 * is not known here is an error. Names of calls that nobody here knows are skipped, as everywhere:
 * what our own filter does not know by number answers ENOSYS. Rules for capabilities are those of a
 * process that has none; rules are made for this machine's architecture alone, since our own filter
 * ends a process that calls by another.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PROFILE_BYTES_MAX (256u << 10) /* of a text; docker's has 14 KiB */
#define PROFILE_INSNS_MAX 4096         /* the kernel's own bound for one program */

struct profile {
	struct sock_filter *insns; /* malloc'd */
	size_t len;                /* instructions */
};

/*
 * Compiles the text; `what` names it in messages. The program lets a command be executed: a profile
 * under which no command could start is an error. 0 or a negative errno with *e set.
 */
int profile_compile(const char *what, const char *json, size_t len, struct profile *ret,
		    struct err *e);
void profile_done(struct profile *p);

/* One of `names` (up to NULL) that the program may answer in another way than to let it run, going
 * by its number alone; NULL: it lets all of them run whatever their arguments. */
const char *profile_forbids(const struct profile *p, const char *const *names);
/* One that it may answer in another way than to let it run or to fail it. */
const char *profile_harms(const struct profile *p, const char *const *names);

/* A program as text for a spec, malloc'd, and back: 0, -EINVAL or -ENOMEM. */
char *profile_text(const struct profile *p);
int profile_from_text(const char *text, struct profile *ret);
