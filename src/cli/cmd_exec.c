/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/command.h"

int cmd_exec(struct args *a)
{
	cleave_result *result = NULL;
	struct cleave_io io = {sizeof(io), -1, 1, 2, 1};
	struct out_json json;
	char **argv = a->operands + 1;
	int status;

	if (a->n_operands && *argv && strcmp(*argv, "--") == 0)
		argv++;
	if (!a->n_operands || !*argv) {
		out_error("exec", "there is no command to run (cleave exec %s)", a->verb->operands);
		return 125;
	}
	status = command_json_open(a, &json);
	if (!status)
		status = command_redirect(a);
	if (status)
		return status;
	if (a->seen[OPT_INTERACTIVE] || a->seen[OPT_STDIN])
		io.stdin_fd = 0;
	if (cleave_spec_argv(a->spec, (const char *const *)argv) < 0 ||
	    cleave_exec(a->operands[0], a->spec, &io, &result) < 0)
		return out_cleave_error("exec");
	status = command_report(a, result, &json);
	cleave_result_free(result);
	return status;
}
