/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L4: carrying a plan out. The keeper's side of the launch table and its conversation with init.
 *
 * Single-threaded callers only, except that the child shares our memory until it executes init and
 * runs nothing but system calls meanwhile. Every function that can fail tells it in *e.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "box/wire.h"
#include "kern/cgroup.h"
#include "plan/make.h"
#include "spec/result.h"

/* Called before a kernel object that outlives processes is made; a negative errno stops the launch.
 */
struct box_journal {
	int (*will_make)(void *arg, const char *kind, const char *object, struct err *e);
	void *arg;
};

struct box {
	pid_t init_pid;
	int pidfd;        /* of init */
	int sock_fd;      /* to init, SOCK_SEQPACKET */
	int root_fd;      /* its root, O_PATH: the place to look things up from */
	int slot_fd;      /* lock of the id slot; -EBADF without one */
	uint32_t id_base; /* first host id of the slot */
	struct cgroup cgroup;
	/* The caller's processors: init stays pinned to one, each command gets all of them back. */
	uint8_t affinity[128];
	uint32_t affinity_bytes; /* 0: never pinned */
	/* Of a clone: when it asked for its files, when they stood, how its tree was built. */
	uint64_t root_at, filled_at;
	struct restore_report restored;
};

#define BOX_INIT                         \
	((struct box){.init_pid = -1,    \
		      .pidfd = -EBADF,   \
		      .sock_fd = -EBADF, \
		      .root_fd = -EBADF, \
		      .slot_fd = -EBADF})

/* What a clone is made of: the plan of fork_plan_make, the image, its new 0, 1, 2. */
struct box_restore {
	int plan_fd, image_fd;
	int exe_fd; /* of box_init_memfd, one for all clones */
	int fds[3];
	/* Fills the writable places below the clone's root before a process exists. May be NULL. */
	int (*fill)(void *arg, int root_fd, struct err *e);
	void *arg;
};

struct box_request {
	struct plan_bytes *plan;
	const struct spec *spec;
	const struct cgroup_host *cgroups;
	const char *id;         /* 12 hex digits */
	uint32_t extra_cgroups; /* CGROUP_BIT()s wanted besides those that limits need */
	int slot_fd;            /* a slot to share (fork), or -EBADF */
	uint32_t id_base;
	struct box_journal journal;
	const struct box_restore *restore; /* plan has PLAN_RESTORE */
	/*
	 * Plan has PLAN_AHEAD: called while init works, with box's socket and cgroup ready; hands
	 * the first command over by box_spawn. init looks at it after READY.
	 */
	int (*ahead)(void *arg, struct err *e);
	void *ahead_arg;
};

/* Init's program, sealed. */
int box_init_memfd(struct err *e);

/*
 * Walks the table up to READY. On failure everything is undone and *e names the row. The steps'
 * times are appended to result->timing (NULL: not wanted), and a limit that only the kernel could
 * tell to be weaker is marked there.
 */
int box_launch(const struct box_request *q, struct box *ret, struct result *result, struct err *e);

/* Hands a command to init: fds[3] for 0, 1, 2, ignored for a terminal; join: the cgroup that is
 * its own, or NULL for the sandbox's. The answer comes by box_receive. */
int box_spawn(struct box *b, uint32_t id, struct cmd *cmd, const int fds[3],
	      const struct cgroup_join *join, struct err *e);
int box_signal(struct box *b, uint32_t id, int signo, bool group);
int box_kill_all(struct box *b);
/* WIRE_ALIVE answers, unless the command is at its end: then EXITED comes. */
int box_ask(struct box *b, uint32_t id);

/*
 * A clone after box_launch: every process of the tree stands confined, none has run yet. Those that
 * are commands are made known to init (their ends will be told), then box_resume lets all go on. A
 * parked clone waits between the two.
 */
struct box_adoption {
	uint32_t id;
	pid_t inside;
	bool main_command;
	uint64_t timeout_ns;  /* from now on, 0: none */
	uint64_t cpu_time_ns; /* as in struct cmd */
	uint32_t processors;
};
int box_adopt(struct box *b, const struct box_adoption *a);
int box_resume(struct box *b);

/*
 * One message of init, checked. 1: *ret is filled (*ret_fd: a descriptor that came along, or -1);
 * 0: end of file, init is gone; -EAGAIN: nothing now; -EPROTO: init lied.
 */
int box_receive(struct box *b, struct wire_reply *ret, int *ret_fd);
/* Appends the trace of a message to the result. */
void box_trace(const struct wire_reply *m, struct result *result);
/* The row, errno and object of a fault as an error for people. plan and cmd may be NULL. */
int box_fault(const struct plan *plan, const struct cmd *cmd, const struct step_fault *f,
	      struct err *e);

/* Gives the caller's processors back. Idempotent. */
void box_unpin(struct box *b);
/* Kills everything inside, reaps init, removes the cgroups, frees the slot. Idempotent. */
int box_end(struct box *b, struct err *e);

/* The table for people: name, side, why; false past the end. */
bool box_row(unsigned i, const char **ret_name, const char **ret_side, const char **ret_why,
	     uint64_t *ret_needs, bool *ret_command);
