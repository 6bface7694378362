/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "base/text.h"
#include "cli/command.h"

/* "10m" before now, or "@SECONDS" since 1970, to nanoseconds of CLOCK_REALTIME. */
static int since(struct args *a, uint64_t *ret_ns)
{
	const char *text = a->value[OPT_SINCE];
	struct timespec now;
	uint64_t now_ns;

	*ret_ns = 0;
	if (!a->seen[OPT_SINCE])
		return 0;
	if (text[0] == '@' && text_parse_uint(text + 1, 0, UINT64_MAX / 1000000000, ret_ns) == 0) {
		*ret_ns *= 1000000000;
		return 0;
	}
	if (text_parse_time(text, ret_ns) < 0) {
		out_error("logs", "--since '%s': 10m (that long ago) or @SECONDS is expected",
			  text);
		return 125;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	*ret_ns = *ret_ns < now_ns ? now_ns - *ret_ns : 0;
	return 0;
}

int cmd_logs(struct args *a)
{
	unsigned flags = a->seen[OPT_FOLLOW] ? CLEAVE_FOLLOW : 0;
	uint64_t since_ns;
	int status = operands_check(a, 1, 1);

	if (!status)
		status = since(a, &since_ns);
	if (status)
		return status;
	return cleave_logs(a->operands[0], since_ns, flags, 1, 2) < 0 ? out_cleave_error("logs")
								      : 0;
}
