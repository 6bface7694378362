/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: system call filters as finished programs for the kernel. The default ones are compiled from
 * box/syscalls.def when cleave is built, the keeper's from engine/keeper_calls.def; asking for one
 * costs nothing.
 *
 * What this file must not do: install a filter (that is a row of the launch), decide which variant
 * a sandbox gets (that is the plan).
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>

/* The workload has the same user id as init: calls that act on other processes spare PID 1. */
#define SECCOMP_SHARED_ID 1u
/* ptrace and its relatives run. */
#define SECCOMP_ALLOW_PTRACE 2u
/* Namespaces and mounts are let through: what they do is up to the kernel. */
#define SECCOMP_NEST 4u

struct seccomp_program {
	const struct sock_filter *insns; /* static storage */
	unsigned short len;              /* instructions, as sock_fprog counts */
};

/* The default filter of a variant; `flags` is a combination of the above, other bits are ignored.
 * Never fails. Pure. */
struct seccomp_program seccomp_default(unsigned flags);
/* The number of a call that the default filters have a row for; -1: none. Pure. */
int seccomp_number(const char *name);
#ifdef CLEAVE_DEV
/*
 * Development builds: writes to insns, of room instructions, what lets every call of the list run
 * that says deny:CALL (raw/without.h) and goes on with whatever filter comes behind it. Returns
 * their number. Pure.
 */
unsigned short seccomp_without(const char *list, struct sock_filter *insns, size_t room);
#endif
/* What a living keeper takes for itself. */
struct seccomp_program seccomp_keeper(void);
