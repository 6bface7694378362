/* SPDX-License-Identifier: Apache-2.0 */
/* L5: what run.c and its streams share. Nobody else includes it. */
#pragma once

#include "box/box.h"
#include "engine/cpu_watch.h"
#include "engine/journal.h"
#include "engine/relay.h"
#include "engine/settle.h"
#include "engine/sigpipe.h"

#define MAIN_ID 1

struct run {
	const struct spec *spec;
	struct result *result;
	struct box box;
	struct plan_bytes plan;
	struct cmd *cmd;
	struct plan_host host;
	struct cgroup_host cgroups;
	struct journal journal;
	struct cgroup_oom oom;
	int signal_fd;
	struct sigpipe sigpipe;
	int stdio_fd[3];       /* the sandbox's ends, until they are handed over */
	struct relay relay[3]; /* in, out, err; with a terminal: in and out */
	int master_fd;
	unsigned asked; /* peers of relays for which init was asked, by bit */
	uint64_t output_budget;
	bool ended, init_gone;
	struct ending end;
	uint64_t deadline_ns; /* the keeper's own, 0: none */
	struct cpu_watch cpu;
};

/* The pipes of the command and the relays at our ends of them. */
int run_open_stdio(struct run *r);
/* The terminal's master in place of all three; ours now. */
void run_open_terminal(struct run *r, int master);

/*
 * SPEC_STDIO_OWN: whoever is at the other end of our 0 and 1 shall not learn of an end of the
 * command before its time was taken, so that two of a pair can tell who was first. A stream that
 * ended is therefore closed towards them when init says that the command lives (or has ended).
 */
void run_ask_peers(struct run *r);
void run_release_peers(struct run *r);
