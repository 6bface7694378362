/* SPDX-License-Identifier: Apache-2.0 */
/* The page that a tracer and its parasite share. Freestanding. */
#pragma once

#include <stdint.h>

#define PARASITE_ACTIONS 65

struct parasite_action {
	uint64_t handler, flags, restorer, mask;
};

/* Answers of one thread. */
struct parasite_thread {
	uint64_t altstack, altstack_flags, altstack_bytes;
	uint64_t tid_address;
	uint64_t timer_slack_ns;
	int64_t error; /* the first call that failed, 0 */
};

/* Answers that the leader gives for its process. */
struct parasite_process {
	uint64_t brk;
	uint64_t itimer[3][4]; /* interval and value, seconds and microseconds */
	uint64_t pdeathsig, subreaper, no_thp, dumpable, tiles;
	uint64_t membarrier;                   /* the commands that registered it */
	uint64_t segments, semaphores, queues; /* of System V, in its namespace */
	struct parasite_action action[PARASITE_ACTIONS];
};

struct parasite_page {
	uint64_t leader; /* in: ask for the process too */
	struct parasite_thread thread;
	struct parasite_process process;
};

/* Lay-out of the memory inside the tracee. */
#define PARASITE_CODE_BYTES 4096u
#define PARASITE_BYTES (PARASITE_CODE_BYTES + 3 * 4096u)
#define PARASITE_DATA PARASITE_CODE_BYTES
#define PARASITE_STACK PARASITE_BYTES
