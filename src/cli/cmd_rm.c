/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

static int rm_one(struct args *a, const char *name)
{
	return cleave_rm(name, a->seen[OPT_FORCE]) < 0 ? out_cleave_error("rm") : 0;
}

int cmd_rm(struct args *a)
{
	return operands_each(a, rm_one);
}
