/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int cmd_rollback(struct args *a)
{
	int status = operands_check(a, 2, 2);

	if (status)
		return status;
	return cleave_rollback(a->operands[0], a->operands[1]) < 0 ? out_cleave_error("rollback")
								   : 0;
}
