/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/names.h"
#include "base/text.h"
#include "cli/command.h"

/* As glibc counts them for the programs inside, whatever C library we have ourselves. */
#define REALTIME_FIRST 34
#define REALTIME_LAST 64

/* "TERM", "sigterm", "15", "RTMIN+3"; 0: there is no such signal. */
static int signal_number(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	uint64_t n;

	if (text_parse_uint(text, 1, 64, &n) == 0)
		return (int)n;
	if (strncasecmp(name, "RTMIN+", 6) == 0 &&
	    text_parse_uint(name + 6, 0, REALTIME_LAST - REALTIME_FIRST, &n) == 0)
		return REALTIME_FIRST + (int)n;
	for (int i = 1; i < 32; i++) {
		const char *known = name_of_signal(i);

		if (known && strcasecmp(known, name) == 0)
			return i;
	}
	return 0;
}

static int kill_one(struct args *a, const char *name)
{
	int signo = a->seen[OPT_SIGNAL] ? signal_number(a->value[OPT_SIGNAL]) : SIGKILL;

	return cleave_kill(name, signo) < 0 ? out_cleave_error("kill") : 0;
}

int cmd_kill(struct args *a)
{
	if (a->seen[OPT_SIGNAL] && !signal_number(a->value[OPT_SIGNAL])) {
		out_error("kill", "--signal '%s': there is no such signal (TERM, INT, 9 ...)",
			  a->value[OPT_SIGNAL]);
		return 125;
	}
	return operands_each(a, kill_one);
}
