/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/batch.h"
#include "cli/command.h"
#include "cli/start.h"

/* `run -d` is start by a habit of people: what only makes sense while somebody waits is refused. */
static int run_detached(struct args *a)
{
	static const enum opt_id waiting[] = {OPT_JSON, OPT_STDIN, OPT_STDOUT, OPT_STDERR, OPT_OUT};

	for (size_t i = 0; i < sizeof(waiting) / sizeof(waiting[0]); i++)
		if (a->seen[waiting[i]]) {
			out_error("run", "--%s: not with --detach (`cleave logs`, `cleave wait`)",
				  opts[waiting[i]].name);
			return 125;
		}
	return start_and_print(a, a->operands);
}

int cmd_run(struct args *a)
{
	cleave_result *result = NULL;
	struct out_json json;
	int status;

	if (a->seen[OPT_BATCH])
		return batch_run(a);
	if (!a->n_operands) {
		out_error("run", "there is no command to run (cleave run [OPTION...] COMMAND)");
		return 125;
	}
	if (a->seen[OPT_DETACH])
		return run_detached(a);
	status = command_json_open(a, &json);
	if (!status)
		status = command_redirect(a);
	if (status)
		return status;
	if (cleave_spec_argv(a->spec, (const char *const *)a->operands) < 0 ||
	    cleave_run_here(a->spec, &result) < 0)
		return out_cleave_error("run");
	status = command_report(a, result, &json);
	cleave_result_free(result);
	return status;
}
