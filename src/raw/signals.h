/* SPDX-License-Identifier: Apache-2.0 */
/* L0: signals by system call, for code that has no libc or may not use it. */
#pragma once

#include <stdint.h>

#include "raw/syscall.h"

#define RAW_SIGNALS 64

/* Every signal that can be is what a fresh program finds it: not ignored, no handler. 0 or -errno.
 */
__attribute__((no_sanitize("address", "undefined"))) static inline long raw_default_signals(void)
{
	struct { /* the kernel's own, unlike libc's */
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} preset = {0};

	for (int n = 1; n <= RAW_SIGNALS; n++) {
		long r = n == 9 || n == 19 /* KILL, STOP */
				 ? 0
				 : SYS4(SYS_rt_sigaction, n, &preset, 0, sizeof(preset.mask));

		if (r < 0)
			return r;
	}
	return 0;
}
