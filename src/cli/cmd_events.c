/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int cmd_events(struct args *a)
{
	int status = operands_check(a, 0, 1);

	if (status)
		return status;
	return cleave_events(a->n_operands ? a->operands[0] : NULL, 1) < 0
		       ? out_cleave_error("events")
		       : 0;
}
