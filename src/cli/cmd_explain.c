/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/options.h"
#include "cli/out.h"

int cmd_explain(struct args *a)
{
	static const char *const some[] = {"true", NULL};
	AUTO_FREE char *text = NULL;
	struct out_json json;
	unsigned flags = 0;
	int status;

	if (a->seen[OPT_JSON]) {
		status = out_json_open(&json, "explain", a->value[OPT_JSON]);
		if (status)
			return status;
		flags |= CLEAVE_JSON;
	}
	if (a->seen[OPT_COUNT])
		flags |= CLEAVE_COUNT;
	if (cleave_spec_argv(a->spec, a->n_operands ? (const char *const *)a->operands : some) < 0)
		return out_cleave_error("explain");
	text = cleave_explain(a->spec, flags);
	if (!text)
		return out_cleave_error("explain");
	return flags & CLEAVE_JSON ? out_json_write(&json, "explain", text)
				   : out_text("explain", text);
}
