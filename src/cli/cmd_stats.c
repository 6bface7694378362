/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/command.h"

static bool has_ended(void)
{
	const char *id = cleave_error_id();

	return strcmp(id, "state") == 0 || strcmp(id, "no_sandbox") == 0;
}

/* One JSON object in one line. *ret_ended: it has no numbers any more, nothing was printed. */
static int print(const char *name, bool *ret_ended)
{
	AUTO_FREE char *text = cleave_stats(name);
	int status;

	*ret_ended = !text && has_ended();
	if (!text)
		return *ret_ended ? 0 : out_cleave_error("stats");
	status = out_text("stats", text);
	return status || (*text && text[strlen(text) - 1] == '\n') ? status
								   : out_text("stats", "\n");
}

int cmd_stats(struct args *a)
{
	static const struct timespec second = {1, 0};
	int status = operands_check(a, 1, 1);
	bool ended;

	if (!status)
		status = print(a->operands[0], &ended);
	if (!status && ended)
		return out_cleave_error("stats");
	while (!status && a->seen[OPT_STREAM]) {
		nanosleep(&second, NULL);
		status = print(a->operands[0], &ended);
		if (ended)
			break;
	}
	return status;
}
