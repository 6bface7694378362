/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hosted half of the fork engine must know of the architecture: registers of a stopped
 * thread, signal frames. One file a machine implements it (x86_64.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#include "image/image.h"

/*
 * The extended state that a signal frame of this process holds: features and bytes. Learned from a
 * real frame (it raises SIGUSR2 and puts the action back), the kernel has no other answer.
 * Context: a single-threaded process.
 */
int arch_xstate_probe(uint64_t *ret_features, uint32_t *ret_bytes);

/* Does this state hold something that a plain frame can't carry (AMX tiles)? */
bool arch_xstate_is_plain(const void *xstate, uint64_t bytes);

/*
 * The registers with which a clone of a stopped thread goes on: a system call that the stop
 * interrupted is entered again, or answers EINTR where the kernel's memory of it is lost (sleeps;
 * the remaining time was written for the caller). *ret_source is set when the source must be
 * rewound as well: a call that a bare interruption made fail with EINTR.
 */
void arch_regs_settle(const struct user_regs_struct *at, struct image_regs *ret, bool *ret_source);
/* The same rewinding for the source. */
void arch_regs_rewind(struct user_regs_struct *regs);

/* Size of a frame that arch_frame_write makes, with room for its alignment. */
uint64_t arch_frame_bytes(const struct image_host *host);
/*
 * Writes a signal frame to buf, which will lie at `address` (64-byte aligned) when the thread
 * returns through it. Returns the stack pointer for the return.
 */
uint64_t arch_frame_write(void *buf, uint64_t address, const struct image_host *host,
			  const struct image_thread *t, const void *xstate);

/* Finds a system call instruction in code. Returns its offset or -1. */
long arch_syscall_find(const uint8_t *code, uint64_t bytes);

/* 64-bit code of this architecture? A 32-bit task is not carried. */
bool arch_regs_are_native(const struct user_regs_struct *regs);
