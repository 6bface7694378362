/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to fork/: a plan under construction. All addresses are those inside the clone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fork/fork.h"

struct planner {
	const struct image *im;
	const struct fork_confine *confine;
	struct restore_plan head;
	uint64_t data_at;  /* where data[0] will lie */
	uint64_t room_end; /* end of the hole that was found: the data end at most there */
	uint8_t *data;
	uint64_t bytes, room;
	struct restore_op *op; /* of the task in question */
	uint32_t n_ops, room_ops, total_ops;
	struct restore_task *task;
	uint32_t *file_slot;   /* by FILE: opened for mapping or as exe; 0 = not needed */
	uint32_t *dir_slot;    /* by FILE: working directories */
	uint32_t *ofd_slot;    /* by OFD */
	uint32_t *write_slot;  /* by FILE: mapped shared and writable */
	uint32_t *shared_slot; /* by SHARED */
	uint32_t pty_slot;     /* masters of all terminals up to the highest index, */
	uint32_t n_pty;        /* that many; */
	uint32_t tty_slot;     /* and the terminals, by PTY */
	bool *watched;         /* by WATCH: some process registers it */
	uint32_t next_slot, spare_slot;
	uint32_t cap_last;
	uint64_t capset_at, filter_at, profile_at, affinity_at;
	bool failed; /* no memory */
	bool moved;  /* the kernel's own pages are not where this kernel puts them */
};

/* Copies bytes into the data and returns their address (8-byte aligned); 0 without memory. */
uint64_t planner_put(struct planner *p, const void *bytes, uint64_t n);

/* Appends an operation to the current list. */
struct restore_op *planner_op(struct planner *p, enum restore_step step, uint32_t nr);
#define OP(p, step, nr, ...)                                                           \
	do {                                                                           \
		const uint64_t a_[6] = {__VA_ARGS__};                                  \
		struct restore_op *o_ = planner_op(p, RESTORE_##step, (uint32_t)(nr)); \
		for (unsigned i_ = 0; o_ && i_ < 6; i_++)                              \
			o_->a[i_] = a_[i_];                                            \
	} while (0)
/* The operation just appended. */
void planner_flag(struct planner *p, uint16_t flag);
/* Moves the current list into the data; returns its address and count. */
uint64_t planner_take_ops(struct planner *p, uint32_t *ret_n);

/* plan_hole.c: an address at which `bytes` are free in every process of the image; 0: there is
 * none. 0 or -ENOMEM. */
int planner_hole(const struct image *im, uint64_t bytes, uint64_t *ret);

/* plan_files.c: the opener's list. */
void plan_opener(struct planner *p);
/* plan_pty.c */
void plan_pty_slots(struct planner *p);
void plan_ptys(struct planner *p);
void plan_ptys_lock(struct planner *p);
void plan_terminal(struct planner *p, const struct image_proc *x);
void plan_foreground(struct planner *p, const struct image_proc *x);
void pty_open(struct planner *p, const struct image_ofd *o, uint32_t slot);
/* plan_memory.c: everything a process maps. */
void plan_memory(struct planner *p, const struct image_proc *proc);
/* plan_confine.c */
uint32_t plan_cap_last(void);
void plan_bounding(struct planner *p);
void plan_drop(struct planner *p, enum restore_step step);
void plan_filter(struct planner *p, uint32_t threads);
void plan_limits(struct planner *p, const struct image_proc *proc);
/* plan_task.c */
void plan_signals(struct planner *p, const struct image_proc *proc);
void plan_dead(struct planner *p, uint32_t proc);
void plan_descriptors(struct planner *p, const struct image_proc *proc);
void plan_thread(struct planner *p, const struct image_proc *proc, const struct image_thread *t);
void plan_membarrier(struct planner *p, const struct image_proc *proc);
void plan_timers(struct planner *p, const struct image_proc *proc);
void plan_queue(struct planner *p, int32_t pid, int32_t tid, struct image_span signals);
