/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/options.h"
#include "cli/out.h"

int cmd_gc(struct args *a)
{
	AUTO_FREE char *report = NULL;
	int r, status = 0;

	if (a->n_operands) {
		out_error("gc", "%s: it takes no operand", a->operands[0]);
		return 125;
	}
	r = cleave_gc(0, &report);
	/* What was removed before a failure is told all the same. */
	if (r < 0)
		status = out_cleave_error("gc");
	if (report && *report && out_text("gc", report))
		status = 125;
	return status;
}
