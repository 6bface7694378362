/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: how a command ended, as plain data, and its JSON (schema 1). Pure. UINT64_MAX and -1 mean
 * unknown and are written as null. Strings are owned by the result.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RESULT_UNKNOWN UINT64_MAX

enum result_status {
	RESULT_EXITED,
	RESULT_SIGNALED,
	RESULT_TIMEOUT,
	RESULT_CPU_LIMIT,
	RESULT_MEMORY_LIMIT,
	RESULT_OUTPUT_LIMIT,
	RESULT_DISK_LIMIT,
	RESULT_SETUP_ERROR,
	RESULT_STATUS_N
};

enum layer_id {
#define L(id, name, help) LAYER_##id,
#include "spec/layers.def"
#undef L
	LAYER_N
};

enum layer_state { LAYER_OFF, LAYER_ON, LAYER_DEGRADED };

struct result_layer {
	enum layer_state state;
	char how[96];     /* "cgroup v1", "one id", ... */
	char remedy[256]; /* when not on */
};

enum limit_id {
	LIMIT_TIMEOUT,
	LIMIT_MEMORY,
	LIMIT_PIDS,
	LIMIT_CPUS,
	LIMIT_DISK,
	LIMIT_INODES,
	LIMIT_CPU_TIME,
	LIMIT_OUTPUT,
	LIMIT_NOFILE,
	LIMIT_FSIZE,
	LIMIT_STACK,
	LIMIT_STDOUT,
	LIMIT_STDERR,
	LIMIT_SWAP,
	LIMIT_CPUSET,
	LIMIT_IO,
	LIMIT_N
};

struct result_limit {
	uint64_t asked; /* RESULT_UNKNOWN: not asked */
	bool enforced;
	bool hit;
	char by[32]; /* "cgroup v2", "tmpfs", "rlimit", "timer" */
};

struct result_timing {
	char step[32];
	char side; /* 'K' keeper, 'I' init, 'C' command */
	uint64_t ns;
};

struct result_stream {
	char *data; /* NULL: not captured */
	size_t len;
	bool truncated;
};

/* One --out. */
struct result_out {
	char *inside, *host;
	uint64_t files, bytes;
	char error[400]; /* empty: all of it was copied */
};

struct result {
	enum result_status status;
	int exit_code;     /* -1: none */
	int signal;        /* 0: none */
	int cleave_status; /* what the process `cleave` exits with */
	uint64_t wall_ns;  /* exec to reap */
	uint64_t ended_ns; /* CLOCK_MONOTONIC */
	uint64_t cpu_user_ns, cpu_system_ns;
	uint64_t csw_voluntary, csw_forced; /* context switches */
	uint64_t memory_peak_bytes;
	uint64_t pids_peak;
	uint64_t oom_kills;
	struct result_stream out, err_out;
	struct result_out *outs;
	size_t n_outs;
	struct result_layer layers[LAYER_N];
	struct result_limit limits[LIMIT_N];
	struct result_timing *timing;
	size_t n_timing;
	struct err error;
};

void result_init(struct result *r);
void result_done(struct result *r);
const char *result_status_name(enum result_status s);
const char *layer_name(enum layer_id id);
const char *limit_name(enum limit_id id);
/* Sets cleave_status from status, exit_code, signal and error. */
void result_settle(struct result *r);
/* Parts of the record, new. */
struct json_t *result_layers(const struct result *r);
struct json_t *result_limits(const struct result *r);
/* The whole, new; and as one JSON object in one line without newline; malloc'd, NULL when out of
 * memory. */
struct json_t *result_json(const struct result *r);
char *result_encode(const struct result *r);
