/* SPDX-License-Identifier: Apache-2.0 */
/* L5: a command's deadline is init's to strike; these say when a keeper takes an init that did not
 * for one that can't. CLOCK_MONOTONIC, nanoseconds. */
#pragma once

/* Beyond the deadline itself. */
#define DEADLINE_BACKUP_NS UINT64_C(200000000)
/* From the order to start the command until init has to have told that it runs. */
#define DEADLINE_EXEC_NS UINT64_C(5000000000)
