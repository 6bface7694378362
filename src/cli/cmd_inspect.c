/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/table.h"

int cmd_inspect(struct args *a)
{
	AUTO_FREE char *text = NULL;
	int status = operands_check(a, 1, 1);

	if (status)
		return status;
	text = cleave_inspect(a->operands[0]);
	return text ? json_print("inspect", text) : out_cleave_error("inspect");
}
