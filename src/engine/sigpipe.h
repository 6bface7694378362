/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: a reader that has gone is told by EPIPE and by nothing else, whatever the program that uses
 * the library does with SIGPIPE: held back in this thread, and taken before it is let through.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>

struct sigpipe {
	sigset_t old; /* all that was blocked before */
	bool was_pending;
};

void sigpipe_hold(struct sigpipe *s);
/* Blocked is again what was; also other signals that were blocked since. */
void sigpipe_release(const struct sigpipe *s);
