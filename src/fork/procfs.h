/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Internal to fork/: /proc of a held task, as numbers. The texts come from the kernel, but names in
 * them come from the workload: every field is parsed by position and bounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* A growing buffer for whole files of /proc. Zero it before the first use. */
struct proc_text {
	char *p;
	size_t bytes, room;
};

/* Reads /proc/PID/NAME whole, NUL-terminated. Returns 0 or -errno. */
int proc_read(struct proc_text *t, pid_t pid, const char *name);
int proc_read_path(struct proc_text *t, const char *path);
void proc_text_done(struct proc_text *t);

struct proc_status {
	char state;
	int tracer;
	pid_t tgid, ppid;                         /* as the reader sees them */
	uint32_t groups;                          /* how many */
	int ns_depth;                             /* of the pid namespace */
	int32_t ns_pid, ns_tgid, ns_pgid, ns_sid; /* innermost */
	uint32_t uid[4], gid[4];
	uint32_t umask;
	uint64_t pending, shared_pending, ignored, caught;
	uint64_t cap_any; /* of the five sets without the bounding set */
	int no_new_privs, seccomp, filters;
};

/* Parses /proc/PID/task/TID/status. Returns 0 or -errno. */
int proc_status_parse(char *text, struct proc_status *ret);

struct proc_stat {
	uint64_t field[53]; /* by the number that proc(5) gives them; 3 is the state's letter */
	char comm[16];
};
int proc_stat_parse(const char *text, struct proc_stat *ret);

enum proc_map_flag {
	PROC_MAP_SHARED = 1,
	PROC_MAP_STACK = 2, /* VM_GROWSDOWN */
	PROC_MAP_DELETED = 4,
	PROC_MAP_SKIP = 8, /* the kernel's own, or a restorer's leftover */
};

struct proc_map {
	uint64_t start, end, offset, ino;
	uint32_t major, minor, prot, flags;
	char vmflags[40][3]; /* two letters each */
	uint32_t n_vmflags;
	uint32_t key;   /* of protection, 0: that of all memory */
	char *path;     /* into the text, escapes undone, "" = anonymous */
	uint32_t index; /* of its MAP record */
};

/* Parses /proc/PID/smaps in place. *ret is malloc'ed; the paths point into text. */
int proc_smaps_parse(char *text, struct proc_map **ret, size_t *ret_n);

/* Calls f for each number in /proc/PID/NAME (a directory). Stops at the first non-zero answer. */
int proc_each(pid_t pid, const char *name, int (*f)(void *arg, int number), void *arg);
