/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Development builds: CLEAVE_TEST_WITHOUT=KIND:NAME,... takes single walls down, so that tests can
 * show that an attack works without them and that the loss of each is noticed. A release has no
 * trace of it: there raw_without() is false whatever it is asked.
 *
 *   row:NAME     a row of box/launch.def is not walked
 *   restore:NAME a row of raw/restore.def is not walked, in no task of a clone
 *   ns:NAME      a namespace is not made (pid mnt uts ipc)
 *   deny:CALL    a system call runs that box/syscalls.def refuses
 *   mask:PATH    a part of /proc is neither hidden nor read-only
 *   flag:M.FLAG  mounts of kind M lack a flag (nosuid nodev noexec ro private)
 *   count:FILE   a number below /proc/sys/user is not lowered
 *   limit:NAME   a limit is not held (disk inodes output; timeout: by init, clock: by the keeper;
 *                swap: as on a kernel that does not account it)
 *   wall:NAME    a check inside of a row: fds cwd
 *   carrier:NAME a clone lacks what a row of fork/carriers.def would have brought
 *
 * What a sandbox is without it is decided where the wall stands; this file only reads the list.
 */
#pragma once

#include <stdbool.h>

#ifdef CLEAVE_DEV
#define WITHOUT_BYTES 512

/* Does `list` hold KIND:NAME? */
static inline bool raw_without(const char *list, const char *kind, const char *name)
{
	while (*list) {
		const char *k = kind, *n = name;

		while (*k && *list == *k) {
			list++;
			k++;
		}
		if (!*k && *list == ':') {
			list++;
			while (*n && *list == *n) {
				list++;
				n++;
			}
			if (!*n && (!*list || *list == ','))
				return true;
		}
		while (*list && *list != ',')
			list++;
		if (*list)
			list++;
	}
	return false;
}
#else
#define raw_without(list, kind, name) false
#endif
