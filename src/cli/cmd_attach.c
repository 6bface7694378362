/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

int cmd_attach(struct args *a)
{
	cleave_result *result = NULL;
	struct cleave_io io = {sizeof(io), -1, 1, 2, 0};
	int status = operands_check(a, 1, 1);

	if (status)
		return status;
	if (a->seen[OPT_INTERACTIVE])
		io.stdin_fd = 0;
	if (cleave_attach(a->operands[0], &io, &result) < 0)
		return out_cleave_error("attach");
	if (!result) {
		out_error("attach", "detached from %s, which goes on", a->operands[0]);
		return 0;
	}
	status = command_report(a, result, NULL);
	cleave_result_free(result);
	return status;
}
