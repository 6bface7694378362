/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/options.h"
#include "cli/out.h"

int cmd_version(struct args *a)
{
	char line[64];

	if (a->n_operands) {
		out_error("version", "%s: it takes no operand", a->operands[0]);
		return 125;
	}
	snprintf(line, sizeof(line), "cleave %s\n", cleave_version());
	return out_text("version", line);
}
