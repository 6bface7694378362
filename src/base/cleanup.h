/* SPDX-License-Identifier: Apache-2.0 */
/* L1: scope-bound release of process-local resources. Kernel objects that outlive us belong to the
 * journal. */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
	*fd = -EBADF;
}

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

/* AUTO_FD int fd = -EBADF;   AUTO_FREE char *s = NULL; */
#define AUTO_FD __attribute__((cleanup(cleanup_fd_)))
#define AUTO_FREE __attribute__((cleanup(cleanup_free_)))

/* Hands the descriptor to the caller's caller. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -EBADF;
	return v;
}

static inline void close_fd(int *fd)
{
	cleanup_fd_(fd);
}

/* A failure that is expected and harmless; the reason is for the reader. */
#define ignore_err(r, reason)                 \
	do {                                  \
		__typeof__(r) ignored_ = (r); \
		(void)ignored_;               \
	} while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MUST_CHECK __attribute__((warn_unused_result))
