/* SPDX-License-Identifier: Apache-2.0 */
/* L7: what the command line tool says, and where. All text leaves through here. */
#pragma once

#include <stdbool.h>

/* Opens /dev/null on each of 0, 1, 2 that is closed, so that no later descriptor gets such a
 * number. Must come first in main. Returns 0 or -errno. */
int out_init(void);

/* One line on stderr: "cleave VERB: ..." with control bytes escaped. verb NULL: "cleave: ...". */
void out_error(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The library's sentence about its last failed call. Returns the exit status that belongs to it. */
int out_cleave_error(const char *verb);
/* Where out_error writes from now on. The descriptor stays the caller's. */
void out_error_to(int fd);

/* Writes all of text to stdout. Returns 0, or 125 after a sentence on stderr: a text that did not
 * arrive whole is a failure. */
int out_text(const char *verb, const char *text);

/* Where a JSON text goes: --json, --json=FILE, --json=fd:N. */
struct out_json {
	int fd;
	bool owned;
	const char *name; /* for messages */
};
/* operand NULL: stdout. Fails before any work is done when the place can't be written. 0 or 125. */
int out_json_open(struct out_json *j, const char *verb, const char *operand);
/* Writes text and a newline and closes. Returns 0 or 125. */
int out_json_write(struct out_json *j, const char *verb, const char *text);
