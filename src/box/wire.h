/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeper and init say to each other: fixed structs over SOCK_SEQPACKET, descriptors by
 * SCM_RIGHTS. The keeper treats everything that init says as hostile: sizes and ranges are checked
 * in box_receive.
 *
 *   keeper -> init: GO (ids are mapped); CGROUP with its `tasks` files; SPAWN {id, n_tasks, into}
 * with the cmd memfd, 0, 1, 2 (or none: a terminal) and the cgroup that is this command's own, if
 * it has one: n_tasks files `tasks` of v1, one directory of v2 when into is 1; SIGNAL {id, signo,
 * group}, id 0: all; KILLALL; for a clone RESTORE with the restore plan, the image and 0, 1, 2;
 * ADOPT {id, pid inside, main, timeout}; RESUME; ASK {id}.
 *
 *   init -> keeper: FAULT (a row failed, init exits); ROOT of a clone; READY (every layer stands;
 *   trace of the rows, its root); TERMINAL {id} with its master; TRACE {id}, the rows before exec;
 *   STARTED {id, pid inside}; REFUSED {id, row, errno}; TIMEOUT {id}; CPU_OVER {id};
 *   ALIVE {id}; EXITED {id, status, usage}.
 *
 * A clone (PLAN_RESTORE): RESTORE follows when its files stand, row RESTORE carries it out; after
 * READY the restored processes that are commands get their ids by ADOPT, RESUME lets them all go
 * on.
 *
 * After the main command's EXITED or REFUSED init ends, and everything inside with it.
 */
#pragma once

#include <stdint.h>

#include "box/walk.h"
#include "raw/restore_plan.h"

#define WIRE_MAX_COMMANDS 1024
#define WIRE_FD_MAX 12

enum wire_op {
	WIRE_GO = 1,
	WIRE_SPAWN,
	WIRE_SIGNAL,
	WIRE_KILLALL,
	WIRE_RESTORE,
	WIRE_ADOPT,
	WIRE_RESUME,
	WIRE_CGROUP,
	WIRE_ASK, /* does the command live? */
	WIRE_FAULT = 100,
	WIRE_READY,
	WIRE_STARTED,
	WIRE_REFUSED,
	WIRE_EXITED,
	WIRE_TRACE,    /* a command is about to exec: how long its rows took */
	WIRE_TERMINAL, /* the master of a command's terminal */
	WIRE_ROOT,     /* of a clone, before it is filled */
	WIRE_TIMEOUT,  /* init's own deadline struck; EXITED follows */
	WIRE_ALIVE,    /* it does; one that is on its way out has only its EXITED */
	WIRE_CPU_OVER, /* init's own count of processor time is over; EXITED follows */
	WIRE_REPLY_END,
};

struct wire_request {
	uint32_t op;
	uint32_t id;          /* of the command, chosen by the keeper */
	int32_t signo;        /* ADOPT: the pid inside */
	uint32_t group;       /* SIGNAL: 1 = the command's process group; ADOPT: 1 = the main one */
	uint64_t timeout_ns;  /* ADOPT: counted from now, 0: none */
	uint64_t cpu_time_ns; /* ADOPT: as in struct cmd */
	uint32_t processors;
	uint32_t n_tasks, into; /* SPAWN */
	uint32_t pad;
};

struct wire_usage {
	uint64_t user_ns, system_ns; /* of the command and all that it waited for */
	uint64_t wall_ns;            /* exec to reap */
	uint64_t ended_ns;           /* CLOCK_MONOTONIC of the reap */
	uint64_t max_rss_bytes;
	uint64_t csw_voluntary, csw_forced;
	uint64_t disk_free_bytes, disk_free_inodes; /* at the end of the main command */
};

struct wire_reply {
	uint32_t op;
	uint32_t id;
	int32_t pid;    /* inside */
	int32_t status; /* as wait4 gives it */
	struct step_fault fault;
	uint32_t n_trace;
	struct restore_report restore; /* READY, FAULT of a clone */
	struct wire_usage usage;
	struct step_trace trace[STEP_N];
};
