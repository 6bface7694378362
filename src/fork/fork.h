/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L4: the fork engine: a running process tree becomes an image (fork_checkpoint), an image becomes
 * a plan that a fresh init carries out (fork_plan_make). Nothing here knows keepers or sockets.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "image/image.h"
#include "raw/restore_plan.h"

struct sock_filter;

enum fork_row {
#define ROW(id, function, undo, why) FORK_##id,
#include "fork/harvest.def"
#undef ROW
	FORK_ROW_N
};

/* A pipe or socket that leads to the keeper: the clone's leads to its own keeper. */
struct fork_endpoint {
	uint64_t dev, ino; /* of the object as fstat gives it */
	int which;         /* 0, 1, 2 */
};

struct fork_source {
	pid_t init_pid; /* host pid of the sandbox's init; its descendants are captured, it is not
			 */
	/* The freezer of the sandbox's cgroup, or NULL. Both return 0 or -errno. */
	int (*freeze)(void *arg);
	int (*thaw)(void *arg);
	/*
	 * Files. Before anything is stopped: copy what may be true later (called again when the
	 * capture begins anew). Everything is stopped: copy the rest; a failure ends the
	 * checkpoint. Everything was let go. All may be NULL.
	 */
	void (*before_freeze)(void *arg);
	int (*at_freeze)(void *arg, struct err *e);
	void (*after_freeze)(void *arg);
	void *arg;
	/*
	 * Inside: the process that the sandbox lives as long as. Without it the capture is refused
	 * (ERR_STATE). 0: there is none; then an image may hold no process at all.
	 */
	pid_t main_pid;
	const char *cpuset; /* the processors that its cgroup leaves it, "0-2,5"; NULL: all */
	bool terminal;      /* the keeper holds the master of the main process's terminal */
	bool paused;        /* the source was frozen before: freeze it again before letting go */
	const struct fork_endpoint *stdio; /* NULL: an outside pipe at 0-2 is taken by its number */
	size_t n_stdio;
	/* Seccomp filters that every task has beyond init's. -1: only all the same number. */
	int filters;
	uint64_t vfork_wait_ns; /* how long a vfork may finish; 0: 50 ms */
};

/* Text list of what was carried, re-created or broken: "class: object". */
struct fork_notes {
	char **line;
	size_t n;
};

struct fork_capture {
	int image_fd; /* sealed memfd */
	uint64_t image_bytes, pages, runs;
	uint32_t processes, threads, maps, descriptors;
	uint64_t row_ns[FORK_ROW_N];
	uint64_t paused_ns; /* first thread stopped .. last thread let go */
	uint64_t pages_ns;
	struct fork_notes carried, recreated, broken;
};

/*
 * Captures the tree below src->init_pid. Must run in a process of its own (single-threaded, not the
 * parent of anything it cares about: it waits for any child), with ptrace rights over the sandbox.
 * It may be killed at any time: the source then goes on, but for the < 1 ms of row INFECT, where it
 * is killed rather than left running on our registers.
 *
 * Returns 0 and an image, or -errno: ERR_UNFORKABLE names process, object and reason. Either way
 * the source runs on as if nothing had happened.
 */
int fork_checkpoint(const struct fork_source *src, struct fork_capture *ret, struct err *e);
/*
 * The same in a child process: the tracer. start() returns at once; *ret_fd becomes readable when
 * the capture is over (or the tracer died), finish() then takes the result and reaps the child.
 * The callbacks of *src run in the tracer. Both return 0 or -errno.
 */
struct fork_tracer {
	pid_t pid;
	int fd;
};
int fork_tracer_start(const struct fork_source *src, struct fork_tracer *ret, struct err *e);
int fork_tracer_finish(struct fork_tracer *t, struct fork_capture *ret, struct err *e);

void fork_capture_done(struct fork_capture *c);

const char *fork_row_name(enum fork_row row);

/* Where images made here can run. */
int fork_host(struct image_host *ret, struct err *e);

/* How a clone's tasks are confined: the forker's spec, in no case the image's word. */
struct fork_confine {
	uint32_t uid, gid; /* inside the clone's user namespace */
	bool keep_ids;     /* rootless with one id: init has it already, setgroups is denied */
	uint64_t bounding; /* capabilities that stay in the bounding set */
	uint64_t rlimit[16][2];
	uint32_t rlimit_mask; /* which of them to set, by RLIMIT_* number */
	/* Those that the source had by its own spec: a process that left one as it was has the
	 * clone's, also where that is larger. */
	uint64_t source_rlimit[16][2];
	uint32_t source_rlimit_mask;
	const struct sock_filter *filter;
	uint16_t filter_n;  /* 0: no seccomp (tests) */
	uint16_t profile_n; /* the user's, on top; 0: none */
	const struct sock_filter *profile;
	uint32_t dumpable;       /* PR_SET_DUMPABLE at the end */
	uint8_t affinity[128];   /* processors that the tasks get at the end; */
	uint32_t affinity_bytes; /* 0: those that init had */
};

/* An image that was opened, checked and mapped. */
struct fork_image {
	int fd; /* not owned */
	void *map;
	size_t map_bytes;
	struct image_header header;
	struct image image;
};

/* Checks seals, decodes. The descriptor must outlive *ret. */
int fork_image_open(int fd, struct fork_image *ret, struct err *e);
void fork_image_close(struct fork_image *im);

struct fork_plan {
	int fd; /* sealed memfd for init */
	uint32_t ops, bytes;
	uint64_t build_ns;
};

/*
 * Makes the plan for clones of an image: one plan serves any number of clones with the same
 * confinement. fail: "ROW[:ERRNO]" in development builds, else NULL.
 */
int fork_plan_make(const struct fork_image *im, const struct fork_confine *c, const char *fail,
		   struct fork_plan *ret, struct err *e);
void fork_plan_done(struct fork_plan *p);

/* Turns init's report into an error. */
int fork_report_error(const struct restore_report *r, const struct fork_image *im, struct err *e);
