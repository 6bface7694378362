/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/out.h"

int cmd_help(struct args *a)
{
	AUTO_FREE char *text = NULL;
	const struct verb *v = NULL;

	if (a->n_operands > 1) {
		out_error("help", "%s: one verb at a time", a->operands[1]);
		return 125;
	}
	if (a->n_operands == 1) {
		v = verb_find(a->operands[0]);
		if (!v) {
			out_error("help", "%s: there is no such verb (`cleave help` lists them)",
				  a->operands[0]);
			return 125;
		}
	}
	text = a->seen[OPT_DUMP] ? help_dump() : v ? help_verb(v) : help_overview();
	if (!text) {
		out_error("help", "%s", strerror(ENOMEM));
		return 125;
	}
	return out_text("help", text);
}
