/* SPDX-License-Identifier: Apache-2.0 */
/* L2: options by name, as the command line and every binding give them. Pure. */
#pragma once

#include "spec/spec.h"

/*
 * Sets option (long name without dashes) to value (NULL for flags). Host paths must be absolute
 * already, except
 * ".", "./x" and such, which are resolved against cwd. -EINVAL with *e set.
 */
int spec_option(struct spec *s, const char *option, const char *value, const char *cwd,
		struct err *e);
