/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

static int pause_one(struct args *a, const char *name)
{
	(void)a;
	return cleave_pause(name) < 0 ? out_cleave_error("pause") : 0;
}

int cmd_pause(struct args *a)
{
	return operands_each(a, pause_one);
}
