/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L3: the plan: spec + what this host can do, as flat bytes that init can execute. Made before any
 * clone.
 *
 * No pointers: offsets are counted from the start of the plan, strings are NUL terminated inside
 * `pool`. The keeper writes it once into a sealed memfd; init maps it read-only and trusts it (it
 * comes from the keeper, never from inside). This header is included by freestanding code: plain
 * data only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raw/without.h"

#define PLAN_MAGIC 0x31706c63u /* "clp1" */
/* Where an overlay's upper directory is shown: what the sandbox wrote to its root. */
#define PLAN_WRITTEN_PLACE "/run/cleave/written"
#define PLAN_IDS 65536 /* of a range: inside 0 to 65535 */
#define PLAN_SEARCH_PATH "/usr/local/bin:/usr/bin:/bin"
/* Of root with capabilities: dpkg refuses to work without its helpers. */
#define PLAN_ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What is true of this launch. A row of box/launch.def runs when all facts of its `needs` column
 * hold. */
enum plan_fact {
	PLAN_ROOT = 1 << 0,      /* the keeper may map a range of ids: a slot is taken */
	PLAN_USER = 1 << 1,      /* one id: inside 1000 (or 0) is the caller */
	PLAN_CGROUP = 1 << 2,    /* cgroups are made before the clone */
	PLAN_CGROUP_V1 = 1 << 3, /* init joins by writing to `tasks` */
	PLAN_MEMORY = 1 << 4,    /* limits that a cgroup enforces */
	PLAN_PIDS = 1 << 5,
	PLAN_CPUS = 1 << 6,
	PLAN_SOURCES = 1 << 7, /* --ro, --rw, --file: host objects enter */
	PLAN_TMPFS = 1 << 8,   /* --tmpfs */
	PLAN_LANDLOCK = 1 << 9,
	PLAN_FILES = 1 << 10, /* --file */
	PLAN_RESTORE =
		1 << 11, /* a clone: init rebuilds a process tree before it gives up its rights */
	PLAN_CPU_TIME = 1 << 12,         /* a cgroup counts the processor time of the whole tree */
	PLAN_CGROUP_BESIDE = 1 << 13,    /* in place of PLAN_CGROUP: all of v1, made beside init */
	PLAN_AHEAD = 1 << 14,            /* the first command is handed over before READY */
	PLAN_LINGER = 1 << 15,           /* --out: init holds the files until the keeper has them */
	PLAN_SKELETON_IS_ROOT = 1 << 16, /* `host`, --bin: the root is what we make ourselves */
	PLAN_DIR = 1 << 17,              /* --root DIR */
	PLAN_OVERLAY = 1 << 18,          /* of it: what is written lies on the disk */
	PLAN_DIR_ITSELF = 1 << 19,       /* --root-rw: it is written to DIR */
	PLAN_NEST = 1 << 20,             /* --nest: namespaces and mounts inside */
	PLAN_CPUSET = 1 << 21,           /* a cgroup names the processors */
	PLAN_CGROUP_NS = 1 << 22,        /* unless a sandbox around us forbids it */
	PLAN_IO = 1 << 23,               /* a cgroup bounds what goes to and from disks */
	PLAN_SUBIDS = 1 << 24,     /* --ids range of an ordinary user: newuidmap writes the maps */
	PLAN_OWN_MAPS = 1 << 25,   /* in place of it: the keeper does */
	PLAN_INIT_APART = 1 << 26, /* there are ids enough for init to have one of its own */
};

/* What init does to build the root, in the order of the list; each group is one row of the launch
 * table. */
enum plan_group {
	PLAN_SKELETON, /* directories and links of the root tmpfs */
	PLAN_HOST,     /* read-only binds of the host's programs */
	PLAN_ETC,      /* files of /etc, written or bound */
	PLAN_DISK,     /* writable places, all on one tmpfs */
	PLAN_DEV,      /* nodes of /dev */
	PLAN_PROC_HIDE,
	PLAN_PROC_RO,
	PLAN_EXTRA_TMPFS, /* --tmpfs */
	PLAN_BINDS,       /* --ro, --rw */
	PLAN_COPIES,      /* --file */
	PLAN_DIRECTORY,   /* --root DIR: one entry, the directory */
	PLAN_ACCOUNTS,    /* DIR's passwd and group get the workload's line */
	PLAN_OURS,        /* from the skeleton into a root that is a directory */
	PLAN_NAMES,       /* files of the skeleton over those of --root-rw */
	PLAN_GROUP_N
};

enum plan_kind {
	PLAN_MKDIR,
	PLAN_SYMLINK,  /* source = text of the link */
	PLAN_WRITE,    /* source = content, `size` bytes */
	PLAN_BIND,     /* source = host path, looked up by init */
	PLAN_BIND_FD,  /* fd = a detached mount made by the keeper */
	PLAN_DISK_DIR, /* a directory of the disk, bound to target */
	PLAN_NODE,     /* source = host device path, `size` = expected st_rdev */
	PLAN_COVER,    /* hide target: an empty file or directory over it, if it exists */
	PLAN_SELF_RO,  /* target becomes read-only in place, if it exists */
	PLAN_TMPFS_AT, /* size bytes */
	PLAN_COPY_FD,  /* content of fd, mode */
	PLAN_ACCOUNT,  /* source = a line, `size` the id it is for, mode; see init_accounts */
	PLAN_MOVE,     /* the mount at target in the skeleton moves to the root */
	PLAN_SHOW,     /* what lies at target in the skeleton is bound there, read-only */
	PLAN_WRITTEN,  /* the overlay's upper directory, read-only */
	PLAN_OWN_DIR,  /* a directory of the workload's, unless something is there */
};

#define PLAN_OPTIONAL 1u    /* a missing source is no error */
#define PLAN_READ_ONLY 2u   /* mount read-only */
#define PLAN_MAKE_TARGET 4u /* make the mount point, in the root, if it is missing */
#define PLAN_PROGRAM 8u     /* BINDS: a regular file at a path without symlinks */
#define PLAN_OWNED 16u      /* belongs to the workload */
#define PLAN_CHECK_ID 32u   /* BIND: dev and ino of the looked up source must equal those here */

struct plan_entry {
	uint16_t group; /* enum plan_group */
	uint16_t kind;  /* enum plan_kind */
	uint32_t flags;
	uint32_t target; /* offset of an absolute path inside */
	uint32_t source; /* offset */
	int32_t fd;      /* of the keeper's table, filled in by the launch; -1 */
	uint32_t mode;
	uint64_t size;
	uint64_t dev, ino;
	uint32_t option; /* offset of the option's text as the user gave it, for messages; 0 */
	uint32_t pad;
};

struct plan_idmap {
	uint32_t inside, outside, count;
};

struct plan {
	uint32_t magic;
	uint32_t total_bytes;
	uint64_t facts; /* enum plan_fact */

	/* ids */
	uint32_t uid, gid;           /* of the workload, inside */
	uint32_t init_uid, init_gid; /* of init once it is built, inside */
	struct plan_idmap uid_map, gid_map;
	/* PLAN_SUBIDS: all other ids inside, in their order; `inside` means nothing */
	struct plan_idmap sub_uid, sub_gid;
	uint64_t caps; /* that commands of root keep, 1 << CAP_...; the bounding set of all */

	/* descriptors that init inherits, by number; -1: none. The launch fills them in. */
	int32_t sock_fd;
	uint32_t pad0;

	uint32_t hostname;           /* offset */
	uint32_t n_entries, entries; /* struct plan_entry [], offset */
	uint64_t root_bytes;         /* of the skeleton's tmpfs */
	uint64_t disk_bytes, disk_inodes;

	uint32_t landlock_abi;
	uint32_t filter, filter_len;   /* offset of struct sock_filter[], count of instructions */
	uint32_t profile, profile_len; /* the same of the user's; 0: none */

	uint32_t affinity_bytes; /* the caller's processors; 0: not known */
	uint8_t affinity[128];

	/* Development builds only: the row that shall fail or stop, and the errno. */
	char test_fail[32], test_stop[32];
	int32_t test_errno;
	uint32_t pad;
#ifdef CLEAVE_DEV
	char test_without[WITHOUT_BYTES];
#endif
};

/* One command, as flat bytes in a memfd of its own; the first one as well as every exec. */
enum cmd_fact {
	CMD_TTY = 1 << 0,
	CMD_NOFILE = 1 << 1,
	CMD_FSIZE = 1 << 2,
	CMD_STACK = 1 << 3,
	CMD_CPU = 1 << 4,
	CMD_PINNED = 1 << 5, /* the launch ran on one processor: give the others back */
	CMD_DROP_GROUPS = 1 << 7,
	CMD_MAIN = 1 << 6,      /* its end is the sandbox's end; its deadline kills all */
	CMD_TAG = 1 << 9,       /* init finds its tree by `tag` and ends it with the command */
	CMD_CGROUP_V1 = 1 << 8, /* has cgroups of its own that it enters by writing to `tasks` */
	CMD_PROFILE = 1 << 10,  /* of the sandbox: what its plan has counts, whoever wrote this */
};

#define CMD_MAGIC 0x31637863u /* "cxc1" */

struct cmd {
	uint32_t magic;
	uint32_t total_bytes;
	uint64_t facts;
	uint32_t uid, gid;
	uint64_t caps;       /* that it keeps: none, or the plan's */
	uint32_t argc, argv; /* uint32_t offsets [argc] */
	uint32_t envc, env;
	uint32_t cwd, path; /* offsets */
	uint64_t nofile_soft, nofile_hard, fsize, stack, cpu_seconds;
	uint64_t timeout_ns; /* 0: none */
	/* Processor time of its whole tree that init counts itself, where no cgroup can; 0: none.
	 */
	uint64_t cpu_time_ns;
	uint64_t
		tag; /* random; inherited by all that it starts, and nothing inside can change it */
	uint16_t rows, cols; /* of the terminal */
	uint32_t affinity_bytes;
	uint8_t affinity[128];
	char test_fail[32], test_stop[32];
	int32_t test_errno;
	uint32_t processors; /* of this machine, at least 1 */
	uint32_t personality, pad;
#ifdef CLEAVE_DEV
	char test_without[WITHOUT_BYTES];
#endif
};

static inline const char *plan_text(const void *base, uint32_t offset)
{
	return (const char *)base + offset;
}

static inline const struct plan_entry *plan_entries(const struct plan *p)
{
	return (const struct plan_entry *)((const char *)p + p->entries);
}
