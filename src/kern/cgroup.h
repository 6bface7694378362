/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: one interface over cgroup v1, v2 and hybrid hosts, without systemd or D-Bus.
 *
 *   probe (reads only) -> paths (pure) -> [caller journals every path] -> create (makes them)
 *     -> limit_* -> join (descriptors for the launch) -> stats, oom, freeze, thaw, kill -> remove
 *
 * A sandbox is one directory `cleave/ID` in each hierarchy that carries a controller it needs: one
 * directory on v2, up to five on v1. `cleave` itself is shared by all sandboxes below the same
 * place; it is made when missing and left behind (making it costs more than keeping it).
 *
 * What this room must not do: decide which limits to ask for, touch a cgroup or a process that
 * cleave did not make, mount anything, wait without a bound. The only processes it ever moves are
 * the caller and those of the same program that sit beside it (see keeper_path).
 *
 * Unknown numbers are CGROUP_UNKNOWN, never 0. All waits take a bound in nanoseconds.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a sandbox may need. CPUACCT and FREEZER are controllers on v1 and built in on v2. */
enum cgroup_ctl {
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_CPU,
	CGROUP_CPUACCT,
	CGROUP_FREEZER,
	CGROUP_CPUSET, /* only for who asks for processors of its own: a hierarchy more on v1 */
	CGROUP_IO,     /* v2 only: v1's blkio does not see what is written back later */
	CGROUP_CTL_N
};
#define CGROUP_BIT(c) (1u << (c))
#define CGROUP_ALL ((1u << CGROUP_CPUSET) - 1) /* all that every sandbox has a use for */
#define CGROUP_KNOWN ((1u << CGROUP_CTL_N) - 1)

#define CGROUP_UNKNOWN UINT64_MAX
#define CGROUP_ID_LEN 12
#define CGROUP_PATH_SIZE 512 /* longer paths are refused by name, not cut */
#define CGROUP_DIR_MAX 7     /* six v1 hierarchies and v2 */

/* One hierarchy that can be used. */
struct cgroup_place {
	int version;   /* 1 or 2 */
	uint32_t ctls; /* controllers it offers here, CGROUP_BIT() */
	/* v2: must be enabled in base's cgroup.subtree_control before a child can have them */
	uint32_t enable;
	/* v2: only the caller, and perhaps others of its program (the client that waits for it),
	 * sit in base and have to leave it (no-internal-process rule)
	 */
	bool move_self;
	char base[CGROUP_PATH_SIZE]; /* existing directory; `cleave` is made below it */
};

struct cgroup_ctl_state {
	int version;       /* 0: can't be used, 1, 2 */
	int place;         /* index in cgroup_host.place, -1 when version is 0 */
	char why_not[192]; /* version 0: the reason, one clause */
	char hint[256];    /* version 0: the exact command that mends it, or empty */
};

struct cgroup_host {
	int place_n;
	struct cgroup_place place[CGROUP_DIR_MAX];
	struct cgroup_ctl_state ctl[CGROUP_CTL_N];
	char layout[16]; /* "v1", "v2", "hybrid" or "none": what is mounted, usable or not */
};

/* Asks the kernel what this process can use of the controllers in `want`, CGROUP_BIT()s; what is
 * said of others may be nothing. Changes nothing. Always fills *ret; returns 0, or -errno when
 * /proc itself can't be read (then every controller says so). */
int cgroup_probe(uint32_t want, struct cgroup_host *ret);
/* The controllers that can be used, as CGROUP_BIT()s. */
uint32_t cgroup_usable(const struct cgroup_host *host);
/* True when a directory that `want` needs anyway carries ctl too. */
bool cgroup_comes_along(const struct cgroup_host *host, uint32_t want, enum cgroup_ctl ctl);
const char *cgroup_ctl_name(enum cgroup_ctl ctl);

struct cgroup_dir {
	int version;
	uint32_t ctls; /* what is wanted from this one */
	uint32_t enable;
	char path[CGROUP_PATH_SIZE]; /* BASE/cleave/ID */
	int fd;                      /* O_PATH-free directory descriptor, -EBADF until created */
};

struct cgroup {
	int dir_n;
	struct cgroup_dir dir[CGROUP_DIR_MAX]; /* the v2 one, if any, is first */
	/* v2 where the caller sits in BASE: BASE/cleave/keepers, which it moves into with all of
	 * its program that are in BASE. Shared by them and left behind; else empty. */
	char keeper_path[CGROUP_PATH_SIZE];
};

#define CGROUP_INIT ((struct cgroup){0})

/* Removes the directories that all sandboxes share (BASE/cleave, BASE/cleave/keepers) where nothing
 * is in them any more. Who makes a sandbox meanwhile makes them again. */
void cgroup_tidy(const struct cgroup_host *host);

/* Pure: where the directories of sandbox `id` (12 hex digits) go. `want` is a mask; a controller
 * that can't be used is ERR_LIMIT with its reason and hint. want 0 gives dir_n 0, on which every
 * other call is a harmless success. */
MUST_CHECK int cgroup_paths(const struct cgroup_host *host, const char *id, uint32_t want,
			    struct cgroup *ret, struct err *e);
/* Makes the directories of *cg (and enables v2 controllers, and empties BASE into keeper_path).
 * -EEXIST when a directory exists already: it is not ours. On failure what was made is removed. */
MUST_CHECK int cgroup_create(struct cgroup *cg, struct err *e);
/* Makes the directories NAME below those of *parent that carry a controller of `want`, for one
 * exec: limited, joined and removed like any other *ret. They need no journal: whatever removes the
 * parent's removes them. forker: who will fork into them with clone_fd (as the host counts). May
 * wait shortly for the sandbox's processes to be moved (v2). */
MUST_CHECK int cgroup_sub_create(const struct cgroup *parent, const char *name, uint32_t want,
				 uid_t forker, struct cgroup *ret, struct err *e);
/* Closes the descriptors; the directories stay. */
void cgroup_close(struct cgroup *cg);

/* Limits: to be set before anything joins. Each needs its controller in `want`, else -EINVAL. */

/* swap_bytes on top of bytes; 0: no swap. Returns 0, or 1 when swap can't be limited on this host
 * although it has swap (v1 with swapaccount=0): RAM is limited exactly, swap is only discouraged,
 * and the caller must treat that as degraded. */
MUST_CHECK int cgroup_limit_memory(struct cgroup *cg, uint64_t bytes, uint64_t swap_bytes,
				   struct err *e);
/* When one task is killed for memory, kill all of them. v2 only; -EOPNOTSUPP without a text on v1,
 * where the caller must kill on the oom event. */
MUST_CHECK int cgroup_limit_oom_group(struct cgroup *cg, struct err *e);
/* Tasks (processes and threads), at least 1. */
MUST_CHECK int cgroup_limit_pids(struct cgroup *cg, uint64_t max, struct err *e);
/* 1000 = one processor; at least 10 (the kernel's smallest quota in our period of 100 ms). */
MUST_CHECK int cgroup_limit_cpu(struct cgroup *cg, uint64_t millicpus, struct err *e);

/* The processors that it may run on, as in "0-2,5". Refused by name when one of them can't be had.
 */
MUST_CHECK int cgroup_limit_cpuset(struct cgroup *cg, const char *list, struct err *e);

/* Bytes a second, read from and, apart from that, written to each disk that there is now. Refused
 * by name when one of them takes no limit. Asks for CGROUP_MEMORY in the same directory, too: whose
 * page it was that is written back is known by its memory cgroup. */
MUST_CHECK int cgroup_limit_io(struct cgroup *cg, uint64_t bytes, struct err *e);

/* How a child gets in. The child itself writes "0\n" to each tasks_fd (v1: the kernel then needs no
 * grace period; permission is the opener's, so a new user namespace does not matter); clone_fd is
 * for CLONE_INTO_CGROUP (v2), -EBADF when there is no v2 directory. All are O_CLOEXEC and owned by
 * *ret; clone_fd is borrowed from *cg. */
struct cgroup_join {
	int clone_fd;
	int tasks_n;
	int tasks_fd[CGROUP_DIR_MAX];
};
MUST_CHECK int cgroup_join_open(const struct cgroup *cg, struct cgroup_join *ret, struct err *e);
void cgroup_join_close(struct cgroup_join *j);
/* Moves another process (0: the caller) in by cgroup.procs: pays a grace period on v1 when the
 * machine was idle. For exec into a running sandbox and for tests, not for the hot path. */
MUST_CHECK int cgroup_attach(const struct cgroup *cg, int pid, struct err *e);

struct cgroup_stats {
	uint64_t memory_bytes;
	uint64_t memory_peak_bytes; /* v2: 5.19 and newer */
	uint64_t swap_bytes;
	uint64_t oom_kills;
	/* Allocations that met the limit and had to reclaim or kill. CGROUP_UNKNOWN on v1 without
	 * swap until a task is killed: to learn whether the limit ended something read oom_kills.
	 */
	uint64_t memory_hits;
	uint64_t pids;
	uint64_t pids_peak; /* 6.1 and newer */
	uint64_t pids_hits; /* forks refused for the limit */
	uint64_t cpu_user_ns;
	uint64_t cpu_system_ns;
	uint64_t cpu_throttled_ns;
};
/* Every field is set, CGROUP_UNKNOWN where the kernel does not tell. Never fails. */
void cgroup_stats_read(const struct cgroup *cg, struct cgroup_stats *ret);
/* At the end of a sandbox: only peaks, kills, refused forks and processor time; every file costs.
 */
void cgroup_stats_end(const struct cgroup *cg, struct cgroup_stats *ret);
/* The processor time of all tasks that are or were inside, to the kernel's own precision: what a
 * bound is held against. CGROUP_UNKNOWN without CGROUP_CPUACCT. */
uint64_t cgroup_cpu_ns(const struct cgroup *cg);

/* Out-of-memory events for an event loop. Poll fd for `events` (EPOLLIN on v1, EPOLLPRI on v2);
 * when it fires call cgroup_oom_take, which rearms it. */
struct cgroup_oom {
	int fd;
	uint32_t events;
	/*
	 * v1 alone, else -EBADF. It tells of an out-of-memory before it counts the kill, and not
	 * again afterwards: so fd becomes ready every few milliseconds until the count has risen.
	 */
	int memory_fd, event_fd, timer_fd;
	uint64_t seen;
	unsigned looks; /* how often we still look for a kill that never comes */
};
#define CGROUP_OOM_INIT       \
	((struct cgroup_oom){ \
		.fd = -EBADF, .memory_fd = -EBADF, .event_fd = -EBADF, .timer_fd = -EBADF})
/* -EINVAL when *cg has no memory controller. */
MUST_CHECK int cgroup_oom_open(const struct cgroup *cg, struct cgroup_oom *ret, struct err *e);
/* The number of tasks killed for memory so far, 0 as well (nothing was killed yet; fd tells when).
 * CGROUP_UNKNOWN when it can't be read. */
uint64_t cgroup_oom_take(struct cgroup_oom *oom);
void cgroup_oom_close(struct cgroup_oom *oom);

/* Stops or resumes every task. -ETIMEDOUT: not all stopped in time (what was asked stays asked;
 * thaw undoes it). -EINVAL without CGROUP_FREEZER. Nobody else may be freezing it. */
MUST_CHECK int cgroup_freeze(const struct cgroup *cg, uint64_t timeout_ns, struct err *e);
MUST_CHECK int cgroup_thaw(const struct cgroup *cg, uint64_t timeout_ns, struct err *e);

/* SIGKILLs every task, frozen ones too, and waits until none is left. -ETIMEDOUT: some are. The
 * caller reaps its own children afterwards or at the same time; zombies do not count. */
MUST_CHECK int cgroup_kill(const struct cgroup *cg, uint64_t timeout_ns, struct err *e);
/* 1: some task is inside, 0: none, or -errno. */
int cgroup_populated(const struct cgroup *cg);

/* Removes the directories (waits for the kernel to finish emptying them; kills nothing) and closes
 * the descriptors. Directories that are gone already are a success. */
MUST_CHECK int cgroup_remove(struct cgroup *cg, uint64_t timeout_ns, struct err *e);
/* The end of a sandbox whose init was reaped: removes, and kills first only if somebody is still
 * inside. Closes the descriptors. */
MUST_CHECK int cgroup_end(struct cgroup *cg, uint64_t timeout_ns, struct err *e);
/* For the journal and gc: the directories that still exist of those in `paths`, opened; what they
 * are for is told by their files. Refuses (-EINVAL) a path that is not .../cleave/ID on a cgroup
 * file system. Nothing is made or changed. */
MUST_CHECK int cgroup_reopen(const char *const *paths, int n, struct cgroup *ret, struct err *e);
/* For the journal and gc: cgroup_reopen, kill what is inside (thawing it), remove. Give all paths
 * of a sandbox at once: what is frozen by one of them can't leave the others. 0 when all are gone.
 */
MUST_CHECK int cgroup_remove_paths(const char *const *paths, int n, uint64_t timeout_ns,
				   struct err *e);
/* The same for a single one. */
MUST_CHECK int cgroup_remove_path(const char *path, uint64_t timeout_ns, struct err *e);
