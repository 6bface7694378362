/* SPDX-License-Identifier: Apache-2.0 */
/* Inside kern/: a profile on its way from JSON over libseccomp's rules to a program. Functions
 * return 0 or a negative errno with the maker's err set, unless told otherwise. */
#pragma once

#include <jansson.h>
#include <seccomp.h>
#include <stdint.h>

#include "kern/profile.h"

/* One profile under way. */
struct profile_maker {
	const char *what; /* for messages: where the text is from */
	char where[48];   /* and which part of it is being read */
	scmp_filter_ctx filter;
	uint32_t default_action;
	unsigned long kernel[2]; /* major, minor */
	size_t rules;
	struct err *e;
};

/* An ERR_SPEC that tells where. */
int profile_bad(struct profile_maker *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* It is an object, of these fields (up to NULL) and no other. */
int profile_fields(struct profile_maker *m, const json_t *o, const char *const *known);
/* A list that may be missing or null: *ret is NULL then. */
int profile_list(struct profile_maker *m, const json_t *o, const char *key, const json_t **ret);
/* 1: *ret is the number; 0: there is none. */
int profile_whole(struct profile_maker *m, const json_t *o, const char *key, uint64_t max,
		  uint64_t *ret);
/* An errno by number or, as podman writes it as well, by name; *ret stays if there is none. */
int profile_errno(struct profile_maker *m, const json_t *o, const char *by_number,
		  const char *by_name, uint64_t *ret);
int profile_action(struct profile_maker *m, const char *name, uint64_t code, uint32_t *ret);
/* Is the architecture, by a name of includes and excludes, this machine's? */
int profile_arch(struct profile_maker *m, const char *name, bool *ret);
/* The profile is for this machine's architecture. */
int profile_arches(struct profile_maker *m, const json_t *o);
/* Is the kernel as new as "4.8"? */
int profile_kernel(struct profile_maker *m, const char *text, bool *ret);

/* 0, -E2BIG when it is longer than PROFILE_INSNS_MAX, or another negative errno; sets no err. */
int profile_export(scmp_filter_ctx filter, struct profile *ret);
