/* SPDX-License-Identifier: Apache-2.0 */
/* L5: from what init and the cgroups say to the result record; shared by one-shot and living
 * sandboxes. */
#pragma once

#include "box/box.h"
#include "spec/result.h"
#include "spec/spec.h"

struct ending {
	bool started; /* exec worked */
	bool main;    /* the sandbox's own command: figures of the whole tree */
	bool timed_out, oom_killed, cpu_over;
	bool survives_oom; /* a kill for memory alone does not end it; what matters is how it ended:
			    */
	bool killed;       /* by a SIGKILL of ours */
	bool output_over, stream_over[2]; /* of both, of stdout, of stderr */
	int wait_status;
	uint64_t oom_kills_elsewhere; /* in the cgroup's count, but of commands with groups of their
					 own */
	struct wire_usage usage;
};

static inline bool ending_output_over(const struct ending *e)
{
	return e->output_over || e->stream_over[0] || e->stream_over[1];
}

/* What the cgroup counted for this command: the sandbox's for the main one, its own for an exec
 * that has one, which has to be read before it is removed. Without directories: nothing. */
void settle_figures(struct result *res, const struct cgroup *cg, struct ending *end);
/* The verdict of an output that was too long. */
void settle_output(struct result *res, const struct ending *end);
/* After the figures: how it ended. */
void settle_result(struct result *res, struct ending *end);
/* For a program that was not found: does the host have it, and which option would show it? */
void settle_hint(struct err *e, const char *program);
