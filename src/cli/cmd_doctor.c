/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/options.h"
#include "cli/out.h"

int cmd_doctor(struct args *a)
{
	AUTO_FREE char *text = NULL;
	struct out_json json;
	unsigned bad = 0;
	int status;

	if (a->n_operands) {
		out_error("doctor", "%s: it takes no operand", a->operands[0]);
		return 125;
	}
	if (a->seen[OPT_JSON]) {
		status = out_json_open(&json, "doctor", a->value[OPT_JSON]);
		if (status)
			return status;
	}
	text = cleave_doctor(a->seen[OPT_JSON] ? CLEAVE_JSON : 0, &bad);
	if (!text)
		return out_cleave_error("doctor");
	status = a->seen[OPT_JSON] ? out_json_write(&json, "doctor", text)
				   : out_text("doctor", text);
	return status ? status : bad > 0;
}
