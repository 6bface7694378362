/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

static int resume_one(struct args *a, const char *name)
{
	(void)a;
	return cleave_resume(name) < 0 ? out_cleave_error("resume") : 0;
}

int cmd_resume(struct args *a)
{
	return operands_each(a, resume_one);
}
