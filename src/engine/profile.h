/* SPDX-License-Identifier: Apache-2.0 */
/* L5: --seccomp: the file becomes a program in the spec, and what a fork wants of it. */
#pragma once

#include "base/err.h"
#include "plan/plan.h"
#include "spec/spec.h"

/*
 * Reads the profile of --seccomp with the caller's rights and keeps what it was compiled to in the
 * spec. Does nothing without --seccomp, or a second time: a clone has the program of its source. 0
 * or a negative errno with *e set.
 */
int profile_enter(struct spec *s, struct err *e);

/*
 * A fork asks the kernel from inside the sandbox's processes, under their filters: a profile that
 * forbids that (ERR_UNFORKABLE) is found out before it ends one of them.
 */
int profile_lets_fork(const struct plan *p, struct err *e);
