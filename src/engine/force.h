/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: a keeper that does not answer: stopped, or hanging. Who it is is asked of the kernel, which
 * knows who locked the state directory; never of a file that may be stale. With it dies its
 * sandbox; what outlives both stands in the journal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* True when the keeper of this state directory is stopped by a signal or a tracer. */
bool force_is_stopped(int dir_fd);
/* Kills the keeper and waits, not for ever, until its lock is free. 0 too when it is gone. */
int force_end(int dir_fd, struct err *e);
/* Waits until the keeper's lock is free; false when that takes longer. */
bool force_wait(int dir_fd, uint64_t timeout_ns);
