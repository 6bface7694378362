/* SPDX-License-Identifier: Apache-2.0 */
/* L7: run --batch. */
#pragma once

#include "cli/options.h"

/*
 * Runs each line of --batch as a command in a sandbox of its own, --jobs at a time, and prints a
 * JSON line for each as it ends. 0: every line was a spec, however its command ended; 125: one was
 * not, or the output failed; 128+N: ended by signal N.
 */
int batch_run(struct args *a);
