/* SPDX-License-Identifier: Apache-2.0 */
/* L7: start, as its own verb and as `run --detach`. */
#pragma once

#include "cli/options.h"

/* Starts the spec with argv (NULL terminated, may be empty) and prints the id. Returns 0 or an exit
 * status. */
int start_and_print(struct args *a, char **argv);
