/* SPDX-License-Identifier: Apache-2.0 */
/* What `cleave start` makes of itself: no verb for people. */
#define CLEAVE_INTERNAL 1
#include "cli/options.h"

int cmd_keeper(struct args *a)
{
	return cleave_keeper_main(a->n_operands, a->operands);
}
