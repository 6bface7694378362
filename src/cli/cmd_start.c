/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/start.h"

int start_and_print(struct args *a, char **argv)
{
	AUTO_FREE char *id = NULL;
	char line[32];

	if (*argv && cleave_spec_argv(a->spec, (const char *const *)argv) < 0)
		return out_cleave_error(a->verb->name);
	if (cleave_start(a->spec, &id) < 0)
		return out_cleave_error(a->verb->name);
	snprintf(line, sizeof(line), "%s\n", id);
	return out_text(a->verb->name, line);
}

int cmd_start(struct args *a)
{
	char **argv;
	int status;

	if (!a->n_operands)
		return operands_check(a, 1, 1);
	status = args_spec_set(a, "name", a->operands[0]);
	if (status)
		return status;
	argv = a->operands + 1;
	if (*argv && strcmp(*argv, "--") == 0)
		argv++;
	return start_and_print(a, argv);
}
