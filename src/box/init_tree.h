/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside init: what can be known of all processes of the sandbox through its own /proc, for hosts
 * where no cgroup tells. Freestanding.
 */
#pragma once

#include "box/init.h"

/*
 * A tag is RLIMIT_LOCKS, a resource limit that the kernel itself makes no use of: a random number
 * that a command gets before it starts, that everything it forks and executes inherits, sessions
 * and lost parents notwithstanding, and that the filter lets nobody change. So the tree of a
 * command can be found without any cgroup.
 */

struct tree_usage {
	uint64_t user_ns, system_ns;
};

/*
 * Processor time of the living processes with this tag, and of what they waited for; tag 0: of all
 * processes but init, and all that init has reaped. Lost is what a process burnt whose parent
 * ignores SIGCHLD: the kernel drops it with the zombie. RLIMIT_CPU bounds each of those.
 */
uint64_t tree_cpu_ns(uint64_t tag);

/* It has begun to exit: its descriptors may be closed already. */
bool tree_is_ending(int32_t pid);

/* The tag of a process, a zombie too; 0: none. */
uint64_t tree_tag(int32_t pid);

/*
 * Kills all processes with this tag, and waits until none of them can run any more; what they used
 * and nobody collected is added to *used. What forks faster than we look is stopped first, together
 * with everything else, which goes on afterwards.
 */
void tree_kill(uint64_t tag, struct tree_usage *used);
