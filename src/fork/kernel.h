/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to fork/: kernel interfaces newer than the oldest headers we build with (6.1). */
#pragma once

#include <linux/ioctl.h>
#include <stdint.h>

#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#endif
#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG /* 6.4 */
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif

struct kernel_dispatch_configuration {
	uint64_t mode, selector, offset, bytes;
};

struct kernel_rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/* The commands by which a process registers for membarrier(), in the order of IMAGE_PROC_*:
 * global, private, private with core serialisation, private with rseq. */
#define KERNEL_MEMBARRIER_N 4u
#define KERNEL_MEMBARRIER_REGISTER(k) (4u << 2 * (k))

/* Linux 6.7 */
struct kernel_page_region {
	uint64_t start, end, categories;
};

struct kernel_pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};

#define KERNEL_PAGEMAP_SCAN _IOWR('f', 16, struct kernel_pagemap_scan)
#define KERNEL_PAGE_IS_FILE (1u << 2)
#define KERNEL_PAGE_IS_PRESENT (1u << 3)
#define KERNEL_PAGE_IS_SWAPPED (1u << 4)
#define KERNEL_PAGE_IS_PFNZERO (1u << 5)
#define KERNEL_PAGE_IS_GUARD (1u << 8) /* 6.15 */

/* /proc/PID/pagemap before that: one word a page. */
#define KERNEL_PAGEMAP_PRESENT (1ull << 63)
#define KERNEL_PAGEMAP_SWAPPED (1ull << 62)
#define KERNEL_PAGEMAP_FILE (1ull << 61)
#define KERNEL_PAGEMAP_GUARD (1ull << 58) /* 6.15 */
#define KERNEL_MADV_GUARD_INSTALL 102     /* 6.13 */
