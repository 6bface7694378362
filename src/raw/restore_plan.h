/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner (hosted, in the keeper) writes and the restorer (freestanding, in the clone)
 * carries out: flat bytes in a sealed memfd, no choice left to make. All pointers are absolute
 * addresses inside one region that the planner found free in every process of the tree:
 *
 *   region                                                                    + region_bytes
 *   | keep: restorer code, frames | stacks | sync | park: the vdso on its way | data: this, ops |
 *     read+execute, from memfd      anon     shared  a hole                     read, from memfd
 *                                   private  anon
 *
 * In the memfd the data come first, then keep.
 *
 * The last thread of a process that leaves unmaps all but `keep`, which holds nothing but code and
 * the frames that the kernel is reading; it is not writable, and a checkpoint of the clone drops
 * it.
 *
 * The plan is trusted (the keeper made it), the image it was made from is not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RESTORE_MAGIC 0x314e414c50434c43ULL
#define RESTORE_NAME "cleave-plan" /* of the memfd: how a later checkpoint knows `keep` */
#define RESTORE_STACK_BYTES 8192u
#define RESTORE_STDIO 3

/* The task number that stands for the opener. */
#define RESTORE_OPENER UINT64_MAX

enum restore_step {
#define ROW(id, side, why) RESTORE_##id,
#include "raw/restore.def"
#undef ROW
	RESTORE_STEP_N
};

/* An operation: a system call by its number, or one of these. */
enum restore_opcode {
	RESTORE_OP_FIRST = 0x10000,
	RESTORE_OP_PROCESS = RESTORE_OP_FIRST, /* task, clone flags: start a child process */
	RESTORE_OP_THREAD,                     /* task */
	RESTORE_OP_BARRIER,                    /* wait until every process of the tree came here */
	RESTORE_OP_VDSO,     /* offset from init's vdso, bytes, to: move a mapping */
	RESTORE_OP_OPEN,     /* path, struct open_how, slot, struct restore_stat */
	RESTORE_OP_PIPE,     /* slot, slot (or -1), capacity, content, bytes */
	RESTORE_OP_READY,    /* process: a thread has dropped its privileges */
	RESTORE_OP_TOGETHER, /* process, threads: wait for them */
	RESTORE_OP_ARRIVE,   /* confined; wait for init to open the gate */
	RESTORE_OP_LEAVE,    /* process: become the workload */
	RESTORE_OP_DIE,      /* exit code or signal as wait4 gives them: a zombie */
	RESTORE_OP_SOCKETS,  /* type, slot, slot: a pair of unix sockets */
	RESTORE_OP_FILL, /* slot, (u32 length, bytes)*, bytes: send what shall be queued at its peer
			  */
	RESTORE_OP_COPY, /* from, offset, to, offset, bytes: between two files */
	RESTORE_OP_TO_SLOT, /* slot; the system call is in the next operation */
	RESTORE_OP_END,     /* the opener is done */
};

enum restore_flag {
	RESTORE_MAY_FAIL = 1, /* go on whatever the answer */
	RESTORE_ZERO = 2,     /* a positive answer is a failure too */
};

struct restore_op {
	uint32_t nr;
	uint16_t step; /* enum restore_step, for the report */
	uint16_t flags;
	uint64_t a[6];
};

/* What an opened file must be. */
struct restore_stat {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode, rdev;
	uint32_t same;  /* device and inode must be equal */
	uint32_t sized; /* size must be equal */
	uint32_t timed; /* times of change must be equal */
	uint32_t pad;
};

/* One thread: the first of a process is the process. */
struct restore_task {
	uint64_t ops;
	uint32_t n_ops;
	int32_t tid;
	uint64_t stack_top;
	uint64_t frame; /* rsp for rt_sigreturn */
	uint32_t process;
	uint32_t own_affinity; /* it sets the processors that it has itself */
};

struct restore_plan {
	uint64_t magic;
	uint64_t region, region_bytes;
	uint64_t keep_bytes, stack_bytes, sync_bytes, park_bytes, data_bytes; /* in that order */
	uint64_t tasks; /* struct restore_task[n_tasks] */
	uint32_t n_tasks, n_processes;
	uint64_t roots; /* uint32_t[n_roots]: tasks that init starts */
	uint32_t n_roots;
	uint32_t n_alive; /* threads that arrive at the gate */
	uint64_t opener;  /* struct restore_op[n_opener]: runs with init's descriptor table */
	uint32_t n_opener;
	uint32_t slot_first, slot_end; /* descriptors [first, end) are the restore's own */
	uint32_t image_slot;           /* where init puts the image, */
	uint32_t stdio_slot;           /* and from here on the new descriptors 0-2 */
	uint32_t master_slot;          /* of the terminal that the caller gets; 0: none */
	uint32_t fail_step; /* dev builds: this row fails with fail_errno; else RESTORE_STEP_N */
	uint32_t fail_errno;
	uint32_t skip_step; /* dev builds: this row is not walked (raw/without.h) */
	uint32_t stop_step; /* dev builds: whoever comes to this row waits there forever */
};

/* Shared by all processes of a tree while it is built. */
struct restore_sync {
	uint32_t failed; /* futex of init together with arrived */
	int32_t error;   /* positive errno of the first failure */
	uint32_t step, task, op;
	uint32_t created; /* processes that stand at the barrier */
	uint32_t arrived;
	uint32_t gate;
	uint64_t vdso; /* init's, before it is moved */
	uint64_t first_ns, arrived_ns;
	struct {
		uint32_t ready, leaving;
	} process[];
};

/* The row's name, as errors, CLEAVE_TEST_FAIL and CLEAVE_TEST_STOP give it. */
static inline const char *restore_step_name(uint32_t step)
{
	static const char *const names[] = {
#define ROW(id, side, why) "restore." #id,
#include "raw/restore.def"
#undef ROW
	};

	return step < RESTORE_STEP_N ? names[step] : "restore.?";
}

/* What init tells the keeper. */
struct restore_report {
	int32_t error; /* 0: the tree stands */
	uint32_t step; /* enum restore_step at which it failed */
	int32_t pid;   /* of the task that failed, 0: init or the opener */
	uint32_t op;
	uint64_t object; /* first argument of the failed operation */
	uint64_t open_ns, spawn_ns,
		map_ns; /* spent until the files were open, the roots forked, all confined */
	uint32_t n_roots;
	uint32_t pad;
};
