/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the restorer must know of x86-64: starting a thread or a process on a stack of its own, and
 * the last instructions before the workload's. Freestanding. Another architecture brings a header
 * with the same functions. Context: blob.
 */
#pragma once

#include <stdint.h>

#include "raw/syscall.h"

#define ARCH_MAGIC_RETURN 15 /* rt_sigreturn */

/* Whether the calling process may use AMX tiles, which it has to ask for. */
static inline uint64_t arch_tiles_permitted(void)
{
	uint64_t mask = 0;

	/* ARCH_GET_XCOMP_PERM, which a kernel before 5.16 does not know: then nobody may */
	if (SYS2(SYS_arch_prctl, 0x1022, &mask) < 0)
		return 0;
	return mask >> 18 & 1; /* tile data */
}

struct arch_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/*
 * clone3, whose child calls entry(arg, task) on the stack that ends at `top` and never returns. In
 * the parent it returns the child's id or -errno. Works with and without CLONE_VM: the child
 * touches no stack before it has its own.
 */
static inline long arch_clone(const struct arch_clone_args *args, uint64_t top, uint64_t arg,
			      uint64_t task, void (*entry)(uint64_t, uint64_t))
{
	long ret;
	register uint64_t r8 __asm__("r8") = top;
	register uint64_t r9 __asm__("r9") = (uint64_t)entry;
	register uint64_t r12 __asm__("r12") = arg;
	register uint64_t r13 __asm__("r13") = task;

	__asm__ volatile("syscall\n"
			 "test %%rax, %%rax\n"
			 "jnz 1f\n"
			 "mov %%r8, %%rsp\n"
			 "xor %%ebp, %%ebp\n"
			 "mov %%r12, %%rdi\n"
			 "mov %%r13, %%rsi\n"
			 "call *%%r9\n"
			 "ud2\n"
			 "1:\n"
			 : "=a"(ret)
			 : "a"(435L), "D"(args), "S"(sizeof(*args)), "r"(r8), "r"(r9), "r"(r12),
			   "r"(r13)
			 : "rcx", "r11", "memory");
	return ret;
}

/*
 * The end: counts this thread out at *leaving; the one that reaches zero unmaps [from, from+bytes),
 * in which everybody's stack and *leaving itself lie; then all registers come from the frame. Uses
 * no memory after the count but the frame, which lies elsewhere.
 */
_Noreturn static inline void arch_leave(uint32_t *leaving, uint64_t from, uint64_t bytes,
					uint64_t frame)
{
	register uint64_t r8 __asm__("r8") = frame;

	__asm__ volatile("lock decl (%1)\n"
			 "jnz 1f\n"
			 "mov $11, %%eax\n" /* munmap */
			 "syscall\n"
			 "1:\n"
			 "mov %0, %%rsp\n"
			 "mov $15, %%eax\n"
			 "syscall\n"
			 "ud2\n"
			 :
			 : "r"(r8), "r"(leaving), "D"(from), "S"(bytes)
			 : "rax", "rcx", "r11", "memory");
	__builtin_unreachable();
}

/* First call of a forked child: leave the inherited stack. */
_Noreturn static inline void arch_enter(uint64_t top, uint64_t arg, uint64_t task, uint64_t entry)
{
	__asm__ volatile("mov %0, %%rsp\n"
			 "xor %%ebp, %%ebp\n"
			 "call *%3\n"
			 "ud2\n"
			 :
			 : "r"(top), "D"(arg), "S"(task), "r"(entry)
			 : "memory");
	__builtin_unreachable();
}
