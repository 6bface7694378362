/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/command.h"

/* `snapshot rm SNAPSHOT...`: a sandbox that is named rm is snapshot by its id. */
static int remove_all(char **names)
{
	int status = 0;

	for (; *names; names++)
		if (cleave_snapshot_rm(*names) < 0)
			status = out_cleave_error("snapshot");
	return status;
}

int cmd_snapshot(struct args *a)
{
	int status;

	if (a->n_operands > 1 && strcmp(a->operands[0], "rm") == 0)
		return remove_all(a->operands + 1);
	status = operands_check(a, 2, 2);
	if (status)
		return status;
	if (cleave_snapshot(a->operands[0], a->operands[1], a->seen[OPT_STOP]) < 0)
		return out_cleave_error("snapshot");
	return 0;
}
