/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: an exec that has limits of its own, and everything that it starts.
 *
 * Where there are cgroups it gets directories of its own below the sandbox's; where there are none,
 * its processes carry a tag by which init finds them (box/init_tree.h). In both cases what it left
 * running ends with it: a limit that nobody watches any more would be none.
 */
#pragma once

#include "engine/keeper.h"

struct exec_group {
	struct cgroup cgroup;
	struct cgroup_oom oom;
	struct source oom_source;
	struct cpu_watch cpu;
	struct command_state *command;
	struct exec_group *next_dead;
};

/* What the exec asks for, checked against the host; fills the limits of c->result. */
int exec_group_plan(const struct keeper *k, struct command_state *c, const struct spec *spec,
		    struct err *e);
/* Makes the group, if the exec needs one, and hands the command to init. */
int exec_group_spawn(struct keeper *k, struct command_state *c, const int fds[3], struct err *e);
/* init says that the command runs. */
void exec_group_started(struct keeper *k, struct command_state *c);
/* Kills what is inside; the command's end is told by init. */
void exec_group_kill(struct command_state *c);
/* The command is over: kills what it left, settles its figures, removes the group. Idempotent. */
void exec_group_end(struct keeper *k, struct command_state *c);
/* Between two rounds of the loop: strikes budgets that are used up. Returns when to come again, 0:
 * never. */
uint64_t exec_group_strike(struct keeper *k);
/* How many tasks of execs with groups of their own were killed for memory, where the sandbox's own
 * count contains them. */
uint64_t exec_group_oom_kills(struct keeper *k);
