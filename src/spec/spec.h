/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: what the user asked for, as plain data. Pure: no system call, no global, no log.
 *
 * Ownership: every char * inside is owned by the spec (malloc), freed by spec_done. Paths of the
 * host are absolute already (the front end resolves them against its working directory); paths
 * inside are absolute and free of "." and ".." after spec_check. Times are nanoseconds, sizes
 * bytes. SPEC_UNSET means "not asked".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SPEC_UNSET UINT64_MAX
#define SPEC_VERSION 1

/* Of --bin only: SPEC_LINK, a symlink that says `source`; SPEC_PROGRAM, a regular file, read-only,
 * at a path on which no symlink lies. */
enum spec_mount_kind { SPEC_RO, SPEC_RW, SPEC_TMPFS, SPEC_FILE, SPEC_LINK, SPEC_PROGRAM };

struct spec_mount {
	enum spec_mount_kind kind;
	char *source;  /* host path; NULL for a tmpfs */
	char *target;  /* path inside */
	uint64_t size; /* of a tmpfs; SPEC_UNSET: half of --disk's default */
	uint32_t mode; /* of a file, 0644 unless told */
};

struct spec_strv {
	char **v; /* NULL terminated, never NULL itself after spec_init */
	size_t n;
};

enum spec_user { SPEC_USER_NORMAL, SPEC_USER_ROOT };
/* OWN: as RELAY, and our 0 and 1 are the sandbox's alone: each is closed as soon as its side is. */
enum spec_stdio { SPEC_STDIO_RELAY, SPEC_STDIO_INHERIT, SPEC_STDIO_OWN };

struct spec_limits {
	uint64_t timeout_ns;   /* wall time of the main command */
	uint64_t memory_bytes; /* with swap */
	uint64_t pids;
	uint64_t cpus_milli;   /* 1500: one and a half processors */
	uint64_t disk_bytes;   /* home, /tmp, /dev/shm together; default 1 GiB */
	uint64_t disk_inodes;  /* default 262144 */
	uint64_t cpu_time_ns;  /* of the whole tree */
	uint64_t output_bytes; /* stdout and stderr together */
	uint64_t nofile;       /* RLIMIT_NOFILE, default 1024 soft and hard */
	uint64_t fsize_bytes;  /* RLIMIT_FSIZE */
	uint64_t stack_bytes;  /* RLIMIT_STACK */
	uint64_t stdout_bytes, stderr_bytes;
	uint64_t swap_bytes;    /* on top of memory_bytes */
	uint64_t io_bytes;      /* a second from, and to, each disk */
	uint64_t extra_time_ns; /* how much later timeout and cpu_time kill */
};

/* When a time that was asked for is enforced: what is over it is told of in any case. */
static inline uint64_t spec_kill_ns(const struct spec_limits *l, uint64_t asked)
{
	return asked == SPEC_UNSET || l->extra_time_ns == SPEC_UNSET ? asked
								     : asked + l->extra_time_ns;
}

/* What one command is: the main one, or an exec into a living sandbox. */
struct spec_command {
	struct spec_strv argv;
	struct spec_strv env; /* K=V, added to or replacing the default environment */
	char *workdir;        /* inside; NULL: /home/user, or the first --rw . */
	enum spec_user user;
	bool tty;
	bool stdin_open;        /* forward our standard input */
	bool capture;           /* keep stdout and stderr for the result */
	uint64_t capture_bytes; /* a stream, 8 MiB unless told */
	/* With capture: these are passed on instead, and with tee kept as well. */
	bool pass_stdout, pass_stderr, tee;
	bool no_aslr;
	enum spec_stdio stdio;
};

struct spec {
	char *name;     /* NULL: none */
	char *hostname; /* NULL: name, else "sandbox" */
	/* NULL: `host`. An absolute path: that directory of the host. "programs": those below are
	 * among the mounts. */
	char *root;
	bool root_rw;              /* what is written goes into the directory itself */
	struct spec_strv programs; /* --bin */
	struct spec_mount *mounts;
	size_t n_mounts;
	struct spec_limits limits;
	struct spec_command command;
	struct spec_strv labels; /* K=V */
	struct spec_strv outs;   /* --out INSIDE:HOST, both absolute */
	char *cpuset;            /* "0-2,5"; NULL: not asked */
	uint64_t out_bytes;      /* what they may copy together */
	uint64_t ttl_ns, idle_timeout_ns;
	uint64_t fork_signal; /* sent to the main command of every clone when it goes on; 0: none */
	bool degrade;         /* go on without a limit that can't be enforced */
	bool remove;          /* --rm: forget the sandbox when it ended */
	bool oom_group;       /* start: an OOM kill ends the sandbox */
	bool allow_ptrace;
	bool nest;     /* user namespaces and mounts inside */
	char *seccomp; /* a profile of the user's: its absolute host path; NULL: none */
	/* What it was compiled to when the sandbox was asked for (kern/profile.h): the file may be
	 * gone when an exec or a clone needs it. NULL: not yet. */
	char *seccomp_program;
	bool ids_range; /* 65536 ids, and for root inside what it takes to use them */
};

static inline bool spec_root_is_dir(const struct spec *s)
{
	return s->root && s->root[0] == '/';
}

void spec_init(struct spec *s);
void spec_done(struct spec *s);

/* Appends a copy. Returns 0 or -ENOMEM. */
int spec_strv_add(struct spec_strv *v, const char *s);
int spec_mount_add(struct spec *s, enum spec_mount_kind kind, const char *source,
		   const char *target, uint64_t size, uint32_t mode);

/* Makes room for n mounts before all others, which the caller fills. NULL: out of memory. */
struct spec_mount *spec_mounts_before(struct spec *s, size_t n);

/* Normalises inside paths and checks the whole; the text names the option that is wrong. */
int spec_check(struct spec *s, struct err *e);

/* JSON <-> spec. encode returns malloc'd text, spec_json a new value; secrets are never part of a
 * spec. Both ways back fill *ret, which on failure has nothing to be freed. */
struct json_t *spec_json(const struct spec *s);
int spec_from_json(const struct json_t *o, struct spec *ret, struct err *e);
char *spec_encode(const struct spec *s);
int spec_decode(const char *json, size_t len, struct spec *ret, struct err *e);
