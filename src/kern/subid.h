/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: subordinate ids: what /etc/subuid and /etc/subgid give the caller, for --ids range.
 *
 * The files are the administrator's; newuidmap judges by them once more when it is asked. Here they
 * are read to know which ids to ask for, and to say what is missing before anything is made.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define SUBID_NEEDED 65535u /* inside 0 to 65535, but for the caller's own */
#define SUBID_UID_PROGRAM "/usr/bin/newuidmap"
#define SUBID_GID_PROGRAM "/usr/bin/newgidmap"

struct subid {
	uint32_t first, count;
};

/*
 * The first line NAME:FIRST:COUNT of text that gives SUBID_NEEDED ids to the user called `name`
 * (NULL: nobody is) or numbered `uid`. A range with id 0 or with `own` is passed over: the one is
 * the host's root, the other can't be mapped twice. Malformed lines say nothing.
 *
 * Returns 0, -ERANGE with the largest in *ret where all are too small, or -ENOENT. *ret_free is
 * behind all that the text gives to anybody, and 100000 at least. Pure.
 */
int subid_find(const char *text, const char *name, uint32_t uid, uint32_t own, struct subid *ret,
	       uint64_t *ret_free);

/* The caller's ranges, or what is missing in one sentence with its remedy. Context: any thread. */
int subid_ranges(struct subid *ret_uid, struct subid *ret_gid, struct err *e);
