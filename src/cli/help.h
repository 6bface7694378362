/* SPDX-License-Identifier: Apache-2.0 */
/* L7: help made from the tables. Each returns malloc'd text, NULL when out of memory. */
#pragma once

#include "cli/verbs.h"

/* All verbs. */
char *help_overview(void);
/* One verb and its options, at most 80 columns. */
char *help_verb(const struct verb *v);
/* Verbs, options and exit statuses as one JSON object, for the generators of man page and
 * completion. */
char *help_dump(void);
