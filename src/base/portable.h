/* SPDX-License-Identifier: Apache-2.0 */
/* Linux calls that musl 1.2.3 has no wrapper for, under glibc's names. */
#pragma once

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __GLIBC__
#ifndef STATX_BASIC_STATS
#include <linux/stat.h>
static inline int statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret)
{
	return (int)syscall(SYS_statx, dir, path, flags, mask, ret);
}
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
static inline int renameat2(int from_dir, const char *from, int to_dir, const char *to,
			    unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
#endif
static inline int tgkill(pid_t pid, pid_t tid, int signo)
{
	return (int)syscall(SYS_tgkill, pid, tid, signo);
}
#endif
