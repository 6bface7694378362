/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the keeper of a living sandbox: one process outside, no thread, one epoll loop over init's
 * socket, the control socket and its connections, the main command's output, signals and memory
 * events.
 *
 * Nothing here waits for a client: what a client does not read is dropped with the client. What
 * init or a client says is checked where it comes in (box_receive, frame_receive, methods.c).
 */
#pragma once

#include <jansson.h>
#include <signal.h>

#include "box/box.h"
#include "engine/cpu_watch.h"
#include "engine/journal.h"
#include "engine/output.h"
#include "engine/registry.h"
#include "engine/settle.h"
#include "engine/state.h"
#include "spec/spec.h"

#define KEEPER_CONNS 64
#define KEEPER_COMMANDS 512
#define MAIN_ID 1
/* How long a freezer may take for a tree; the keeper answers nobody meanwhile. */
#define KEEPER_FREEZE_NS UINT64_C(5000000000)

struct source {
	int fd; /* -EBADF: unused; events that were fetched for it are dropped */
	void (*ready)(struct keeper *k, struct source *s, uint32_t events);
};

/* A client. */
struct conn {
	struct source source;
	json_t *wait_id; /* id of a pending `wait` or `attach`, NULL */
	bool subscribed; /* gets events */
	bool bound;      /* its end is the sandbox's end */
	int out_fd[2];   /* attached: write ends for stdout and stderr, -EBADF */
	uint64_t lost_bytes;
	json_t *move; /* {id, params} of a pause, resume or stop that waits for a capture, NULL */
	enum event move_event;
};

/* A command under way: the main one, or an exec that a client waits for. */
struct command_state {
	bool used;
	uint32_t id;
	struct conn *client; /* NULL: gone */
	json_t *request_id;
	struct cmd *cmd;
	bool waits; /* for the end of a capture; then init gets it, with these */
	int fds[3];
	struct ending end;
	struct result result;
	/* an exec, exec_group.c */
	struct spec_limits limits;
	uint64_t facts; /* of plan_exec_limits */
	bool bounded;   /* has a limit of its own */
	bool degrade;
	struct exec_group *group; /* NULL: in the sandbox's own cgroup */
};

/* Where the time of a clone went. */
struct clone_times {
	/* CLOCK_MONOTONIC: its keeper began, its root stood, its files, its tree; it went on */
	uint64_t born_at, root_at, filled_at, parked_at, gone_at;
	uint64_t open_ns, spawn_ns, map_ns; /* struct restore_report */
};

struct keeper {
	struct spec spec;
	enum state state;
	struct box box;
	struct plan_bytes plan;
	struct plan_host host;
	struct cgroup_host cgroups;
	struct journal journal;
	struct output_log log;
	struct cgroup_oom oom;
	uint64_t created_ns, started_ns; /* CLOCK_REALTIME */
	uint64_t oom_seen;

	int epoll_fd;
	struct source init, signals, listener, oom_source, output[2];
	struct source tracer;    /* of a capture under way */
	struct capture *capture; /* clone.c; NULL: none */
	int main_pid;            /* inside; 0: no main command, or not started */
	int main_in_fd;          /* write end of the main command's stdin, or -EBADF */
	uint64_t stream_bytes[2];
	uint64_t output_bytes; /* that the main command wrote and the log took */
	int master_fd;         /* of its terminal, or -EBADF; also output[0].fd */
	bool has_main, main_over, init_gone;
	bool held; /* `run --name`: the main command waits for the client that brings its streams */
	struct conn conns[KEEPER_CONNS];
	struct command_state commands[KEEPER_COMMANDS]; /* [0]: main */
	uint32_t next_id;
	struct exec_group *dead_groups;
	size_t n_groups;         /* commands that have one */
	uint64_t oom_kills_past; /* in groups that are gone; v2, whose counts contain them */

	/* CLOCK_MONOTONIC, 0: none */
	uint64_t ttl_at, kill_at, deadline_at, idle_at;
	struct cpu_watch cpu; /* of the whole sandbox */
	struct err failure;   /* why the sandbox could not start */
	int report_fd;        /* to the process that started us, until it was told */
	uint32_t index;       /* of a clone, for its report */
	struct clone_times times;
	json_t *lineage; /* {parent, generation ...} or NULL */
};

struct clone_parts;

/* Leaves the caller's session, directory and streams. */
void keeper_daemonise(void);
/* Becomes the keeper: spec on spec_fd, a struct keeper_report to report_fd. Returns the exit
 * status. */
int keeper_main(int spec_fd, int report_fd, bool hold);
/* The same for a clone, in a child of the nursery. */
int keeper_clone_main(const struct clone_parts *parts, int report_fd);
/* A limit of the whole sandbox is reached: everything inside dies, and the end tells why. */
void keeper_strike(struct keeper *k);
/* Hands the main command to init with these descriptors. */
int keeper_spawn_main(struct keeper *k, const int fds[3], struct err *e);

/* A clone tells twice: parked, and (after a byte from the gate) gone on. */
struct keeper_report {
	uint64_t told_ns; /* CLOCK_MONOTONIC */
	uint32_t index;   /* of a clone */
	uint32_t pad;
	struct clone_times times;
	struct err error; /* id ERR_NONE: it lives */
	char id[REGISTRY_ID];
};

/* keeper.c: the parts of a launch that a clone shares. */
int keeper_plan(struct keeper *k, uint64_t facts, struct err *e);
int keeper_launch(struct keeper *k, const struct box_restore *restore, int slot_fd,
		  uint32_t id_base, struct err *e);
/* keeper_confine.c: gives up what a living keeper does not need. Never undone. */
int keeper_confine(struct err *e);
/* clone.c: a client that waits for a capture is gone. */
void clone_forget_client(struct keeper *k, const struct conn *c);
/* The sandbox has ended: whoever waits for a capture is told. */
void clone_abandon(struct keeper *k);

/* keeper_io.c: streams of the main command, connections. */
int keeper_watch(struct keeper *k, struct source *s, uint32_t events, struct err *e);
void keeper_unwatch(struct keeper *k, struct source *s);
int keeper_main_stdio(struct keeper *k, int fds[3], struct err *e);
void keeper_main_terminal(struct keeper *k, int master);
int keeper_listen(struct keeper *k, struct err *e);
void keeper_conn_close(struct keeper *k, struct conn *c);
void keeper_send(struct keeper *k, struct conn *c, json_t *o, const int *fds, int n);
/* Answers, steals `result`. */
void keeper_answer(struct keeper *k, struct conn *c, const json_t *id, json_t *result,
		   const int *fds, int n);
void keeper_refuse(struct keeper *k, struct conn *c, const json_t *id, const struct err *e);
/* CLOCK_REALTIME, nanoseconds. */
uint64_t keeper_clock_ns(void);
void keeper_publish_event(struct keeper *k, const char *event, json_t *detail);
bool keeper_output_drained(const struct keeper *k);
/* Gives a client's pipe to the workload's user, so that it can be reopened inside. */
void keeper_own_pipe(const struct keeper *k, int fd);

/* methods.c: one request of a client; takes o and the descriptors over. */
void keeper_request(struct keeper *k, struct conn *c, json_t *o, int *fds, int n);
/* A capture is over: what waited for it is done and answered. */
void keeper_moves_go(struct keeper *k);
/* The end of a command: its client is told, the slot is free again. */
void keeper_command_end(struct keeper *k, struct command_state *c);
/* The clock of --timeout while the main command has not started yet. */
void keeper_await_start(struct keeper *k);
void keeper_command_signal(struct keeper *k, struct command_state *c, int signo, bool group);
struct command_state *keeper_command_new(struct keeper *k);
/*
 * Hands an exec to init; n: 3 descriptors, or none with a terminal. While a capture is under way it
 * waits (with copies of them): what is born then would be in no image, but write to the files of
 * it.
 */
int keeper_command_start(struct keeper *k, struct command_state *c, const int *fds, int n,
			 struct err *e);
void keeper_commands_go(struct keeper *k);
struct command_state *keeper_command_find(struct keeper *k, uint32_t id);

/* One message of init; a descriptor that is kept is taken out of *fd. */
void keeper_take_reply(struct keeper *k, const struct wire_reply *m, int *fd);
/* Tells whoever started us, once: it lives, or why not. */
void keeper_tell_starter(struct keeper *k, const struct err *failure);

/* keeper_actions.c: state.json. */
json_t *keeper_describe(const struct keeper *k);
int keeper_publish(struct keeper *k, struct err *e);
/* Actions of state.def. */
#define ON(state, event, next, action) int action_##action(struct keeper *k, struct err *e);
#include "engine/state.def"
#undef ON
