/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: what a limit becomes. */
#pragma once

#include "plan/make.h"

void plan_layer(struct result *r, enum layer_id id, enum layer_state state, const char *how,
		const char *remedy);
/* Limits of a sandbox: facts of *p and what the result says about them. */
int plan_sandbox_limits(struct plan *p, const struct spec *s, const struct plan_host *h,
			struct result *r, struct err *e);
