/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L1: the error record. No pointers inside: it crosses pipes and sockets by copy.
 *
 * Rules: a fallible function returns 0 or a value, or a negative errno. One that meets user input
 * or the kernel in a way that a user must understand takes `struct err *e` last (never NULL). The
 * innermost function that knows the object writes the text; the first writer wins, callers may only
 * add a hint.
 */
#pragma once

#include <stdint.h>

enum err_id {
#define E(id, name, status, help) ERR_##id,
#include "base/errors.def"
#undef E
	ERR_N
};

struct err {
	uint32_t id;    /* enum err_id */
	int32_t code;   /* positive errno, 0 if none applies */
	char step[32];  /* launch, harvest or restore row; empty if none */
	char what[512]; /* the object and what was tried, one sentence without the errno's text */
	char hint[320]; /* what the user can do; empty if nothing */
};

#define ERR_INIT ((struct err){0})

/* Fills *e unless it is filled already. Returns -code, or -EINVAL when code is 0. */
int err_set(struct err *e, enum err_id id, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Sets the hint unless there is one. */
void err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Names the row of a table at which it happened. */
void err_step(struct err *e, const char *step);

const char *err_name(enum err_id id);
int err_status(enum err_id id);
const char *err_help(enum err_id id);
/* ENOENT, EPERM ...: the symbol of an errno, "0" when there is none. Static storage. */
const char *err_symbol(int code);

/* "WHAT: REASON (HINT)" in one line, control bytes escaped. Truncates to size. */
void err_format(const struct err *e, char *buf, unsigned long size);
