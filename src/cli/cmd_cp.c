/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int cmd_cp(struct args *a)
{
	int status = operands_check(a, 2, 2), skipped;

	if (status)
		return status;
	skipped = cleave_copy(a->operands[0], a->operands[1], 0);
	if (skipped < 0)
		return out_cleave_error("cp");
	if (skipped > 0)
		out_error("cp", "%s", cleave_error());
	return 0;
}
