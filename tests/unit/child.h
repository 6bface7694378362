/* SPDX-License-Identifier: Apache-2.0 */
/* Tests whose body confines the process that runs it: in a child. Included after cmocka.h. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child a failed check ends it after its sentence; the parent sees the status. */
#define CHECK(x)                                                                          \
	do {                                                                              \
		if (!(x)) {                                                               \
			fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #x, errno); \
			_exit(1);                                                         \
		}                                                                         \
	} while (0)
#define FAILS(code, x) CHECK((errno = 0, (long)(x) == -1 && errno == (code)))

/* Runs body in a child and returns its wait status. */
static inline int in_child(void (*body)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}
