/* SPDX-License-Identifier: Apache-2.0 */
/* L7: what the verbs that run a command or act on sandboxes share. Each returns 0 or an exit status
 * after a sentence on stderr. */
#pragma once

#include "cli/options.h"
#include "cli/out.h"

/* Puts the files of --stdin, --stdout and --stderr on 0, 1 and 2. Our own sentences go on to the
 * caller. */
int command_redirect(struct args *a);
/* Opens the place of --json, if it was given; without FILE it turns capture on. */
int command_json_open(struct args *a, struct out_json *json);
/* Writes the JSON that was asked for and the line for people; returns the exit status of the
 * result. */
int command_report(struct args *a, const cleave_result *result, struct out_json *json);

/* Fewer than min operands or more than max is wrong: says which are wanted, as the table of verbs
 * has them. */
int operands_check(struct args *a, int min, int max);
/* Calls fn with each operand, of which there must be one; goes on after a failure, which is said
 * and is the status. */
int operands_each(struct args *a, int (*fn)(struct args *a, const char *name));

/* The operand of an option as a time; `other` when it was not given. */
int args_time(struct args *a, enum opt_id id, uint64_t other, uint64_t *ret_ns);
