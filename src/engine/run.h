/* SPDX-License-Identifier: Apache-2.0 */
/* L5: one command from nothing to nothing: the calling process is the keeper. */
#pragma once

#include "spec/result.h"
#include "spec/spec.h"

/*
 * Fills *result, a failed start included (status setup_error, result->error). Handles and forwards
 * signals until it returns; the caller's signal mask is restored. Single-threaded callers only.
 */
void run_command(const struct spec *spec, struct result *result);
