/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#define GRACE_NS UINT64_C(10000000000)

static int stop_one(struct args *a, const char *name)
{
	uint64_t grace_ns;
	int status = args_time(a, OPT_GRACE, GRACE_NS, &grace_ns);

	if (status)
		return status;
	return cleave_stop(name, grace_ns) < 0 ? out_cleave_error("stop") : 0;
}

int cmd_stop(struct args *a)
{
	return operands_each(a, stop_one);
}
