/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L0: system calls without a C library. Every wrapper returns the kernel's answer: a value, or a
 * negative errno. No errno, no TLS, no malloc, no cancellation: usable after clone, in init and in
 * blobs.
 *
 * Only what more than one file needs has a wrapper; the rest uses SYS(). Context: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#include "raw/arch_x86_64.h"
#else
#error "cleave has no src/raw/arch_*.h for this architecture"
#endif

#define SYS_ARG_(a) ((long)(a))
#define SYS0(nr) raw_syscall((nr), 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) raw_syscall((nr), SYS_ARG_(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) raw_syscall((nr), SYS_ARG_(a), SYS_ARG_(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) raw_syscall((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) \
	raw_syscall((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) \
	raw_syscall((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), SYS_ARG_(e), 0)
#define SYS6(nr, a, b, c, d, e, f)                                                         \
	raw_syscall((nr), SYS_ARG_(a), SYS_ARG_(b), SYS_ARG_(c), SYS_ARG_(d), SYS_ARG_(e), \
		    SYS_ARG_(f))

/* Debian 12's headers are 6.1; numbers above are the same on every architecture since 5.x. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

struct raw_timespec {
	int64_t sec;
	int64_t nsec;
};

static inline long raw_close(int fd)
{
	return SYS1(SYS_close, fd);
}

static inline long raw_write(int fd, const void *p, size_t n)
{
	return SYS3(SYS_write, fd, p, n);
}

static inline long raw_read(int fd, void *p, size_t n)
{
	return SYS3(SYS_read, fd, p, n);
}

static inline long raw_prctl(int op, unsigned long a, unsigned long b, unsigned long c,
			     unsigned long d)
{
	return SYS5(SYS_prctl, op, a, b, c, d);
}

static inline uint64_t raw_now_ns(void)
{
	struct raw_timespec t = {0, 0};

	SYS2(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, &t);
	return (uint64_t)t.sec * 1000000000u + (uint64_t)t.nsec;
}

_Noreturn static inline void raw_exit(int status)
{
	for (;;)
		SYS1(SYS_exit_group, status);
}
