/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one system call instruction of x86-64 and the entry stub of a freestanding program.
 * Everything else in raw/ is architecture neutral. Another architecture adds a file like this one.
 */
#pragma once

#ifdef __clang_analyzer__ /* does not see what an instruction writes */
long raw_syscall(long nr, long a, long b, long c, long d, long e, long f);
#else
static inline long raw_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#endif

/* _start of a freestanding program: the kernel leaves argc, argv, envp on the stack. */
#define RAW_START(entry)                          \
	__asm__(".text\n.globl _start\n_start:\n" \
		"xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call " #entry "\n ud2\n")

/*
 * clone3 for a child that shares our memory: it runs fn(arg) on the stack named in args and never
 * returns. In the parent returns the pid or a negative errno.
 */
static inline long raw_clone_call(const void *args, unsigned long size, void (*fn)(void *),
				  void *arg)
{
	long ret;
	register void *r12 __asm__("r12") = (void *)fn;
	register void *r13 __asm__("r13") = arg;

	__asm__ volatile("syscall\n\t"
			 "test %%rax,%%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp,%%ebp\n\t"
			 "mov %%r13,%%rdi\n\t"
			 "call *%%r12\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(435L), "D"(args), "S"(size), "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory");
	return ret;
}
