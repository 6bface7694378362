/* SPDX-License-Identifier: Apache-2.0 */
/* L0: starting tasks and becoming another one, for freestanding code: picks the machine's header.
 */
#pragma once

#include "raw/syscall.h"

#if defined(__x86_64__)
#include "raw/arch_x86_64_task.h"
#endif
