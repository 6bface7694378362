/* SPDX-License-Identifier: Apache-2.0 */
/* L4: a clone is confined as its own sandbox's plan says. */
#pragma once

#include "fork/fork.h"
#include "plan/plan.h"

/*
 * Fills *ret from the clone's plan and the main command's struct cmd (plan_command of the forker's
 * spec). *ret refers to the plan's filter: the plan must outlive it. The tasks get the processors
 * that the caller has now: call it before box_launch pins.
 */
void fork_confine_from(const struct plan *plan, const struct cmd *cmd, struct fork_confine *ret);
