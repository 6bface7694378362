/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init: PID 1 inside. Freestanding: a program of its own (init.c, init_serve.c, steps_init.c,
 * steps_root.c, steps_command.c), embedded in cleave and executed by descriptor right after clone.
 *
 * Nothing here may use a C library. What init says to the keeper is believed by nobody; what the
 * keeper says to init is trusted.
 */
#pragma once

#include <stdbool.h>

#include "box/wire.h"
#include "plan/plan.h"
#include "raw/mem.h"
#include "raw/syscall.h"

/* In the place of a copy of the keeper's socket: below what a clone's files are gathered in, and
 * every command has a stream of its own there. */
#define INIT_DISK_FD 2

struct init {
	const struct plan *plan;
	int sock_fd;
	int root_fd;     /* the new root's mount; of a directory: the skeleton's until it stands */
	int disk_fd;     /* the disk's mount, INIT_DISK_FD */
	int dir_fd;      /* --root DIR: its mount, not attached yet */
	int skeleton_fd; /* --root DIR: what is ours, once the root is another */
	int proc_fd;     /* the fresh procfs */
	int cover_fd[2]; /* a file and a directory that hide parts of /proc, once attached */
	int32_t object;  /* entry of the plan that is being worked on; for faults */
	uint32_t n_trace;
	struct step_trace trace[STEP_N];
	const long *stack;              /* as the kernel left it: arguments, environment, auxv */
	struct restore_report restored; /* a clone: how its tree was built */
};

struct command {
	const struct plan *plan;
	const struct cmd *cmd;
	int stdio_fd[3];
	int tty_fd;          /* slave of the terminal, -1 */
	int error_fd;        /* write end of the error pipe */
	const int *tasks_fd; /* of the cgroups that are its own */
	uint32_t n_tasks;
	uint32_t n_trace;
	struct step_trace trace[STEP_N];
};

/* What a command's child tells init through the error pipe: once before exec, once more if exec
 * failed. */
struct command_note {
	struct step_fault fault; /* step -1: none, about to exec */
	uint64_t exec_ns;
	uint32_t n_trace;
	struct step_trace trace[STEP_N];
};

/* Rows of launch.def. Each returns 0 or a negative errno. */
typedef long init_step(struct init *s);
typedef long command_step(struct command *c);

#define KEEPER(fn)
#define MEET(fn)
#define INIT(fn) long fn(struct init *s);
#define COMMAND(fn) long fn(struct command *c);
#define S(id, who, fn, after, needs, why) who(fn)
#include "box/launch.def"

/* The kernel's numbers, of which a freestanding program has no header. */
#define SIGKILL_ 9
#define EINTR_ 4
#define EAGAIN_ 11
#undef S
#undef KEEPER
#undef MEET
#undef INIT
#undef COMMAND

/* Walks the COMMAND rows in a fresh child; never returns. */
_Noreturn void command_walk(struct command *c);

/* PID 1's loop; returns when the keeper is gone or the main command has ended. */
void init_serve(struct init *s);

/* A terminal of the private devpts that belongs to the command's user. Returns the master. */
long init_terminal(const struct cmd *cmd, int *ret_slave);
/* A child like fork's, born in the v2 cgroup into_fd unless that is -1. */
long init_fork(int into_fd);

/* Lets the tree that row RESTORE built go on. */
void init_resume(void);
/* The master of the restored main command's terminal, once; -1: there is none. */
int init_take_master(void);

/* Sends a reply, with a descriptor unless fd is -1. Returns 0 or a negative errno. */
long init_send(const struct init *s, const struct wire_reply *r, int fd);

/*
 * Takes one request: *q and the descriptors that came along, close-on-exec. Returns how many they
 * are, or a negative errno; -EPIPE: the keeper is gone.
 */
long init_take(const struct init *s, struct wire_request *q, int fd[WIRE_FD_MAX], bool wait);
/* Until the keeper hangs up: what lies inside stands that long. */
void init_linger(const struct init *s);

#ifdef CLEAVE_DEV
/* Development builds: 0, or the errno that the row named in the plan shall fail with. */
long init_test_row(const char *name, const char *fail, const char *stop, int32_t code);
#else
#define init_test_row(name, fail, stop, code) 0L
#endif
