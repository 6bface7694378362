/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "cli/command.h"

int cmd_wait(struct args *a)
{
	cleave_result *result = NULL;
	struct out_json json;
	uint64_t timeout_ns;
	int status = operands_check(a, 1, 1), r;

	if (!status)
		status = args_time(a, OPT_WAIT_TIMEOUT, UINT64_MAX, &timeout_ns);
	if (!status && a->seen[OPT_JSON])
		status = out_json_open(&json, "wait", a->value[OPT_JSON]);
	if (status)
		return status;
	r = cleave_wait(a->operands[0], timeout_ns, &result);
	if (r == -ETIMEDOUT) {
		out_error("wait", "%s has not ended within %s", a->operands[0],
			  a->value[OPT_WAIT_TIMEOUT]);
		return 124;
	}
	if (r < 0)
		return out_cleave_error("wait");
	status = command_report(a, result, &json);
	cleave_result_free(result);
	return status;
}
