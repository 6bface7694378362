/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sigpipe.h"

#include <time.h>

static sigset_t only_pipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	return set;
}

void sigpipe_hold(struct sigpipe *s)
{
	sigset_t set = only_pipe(), pending;

	sigpending(&pending);
	s->was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &set, &s->old);
}

void sigpipe_release(const struct sigpipe *s)
{
	sigset_t set = only_pipe();
	struct timespec none = {0};

	while (!s->was_pending && sigtimedwait(&set, NULL, &none) == SIGPIPE)
		;
	pthread_sigmask(SIG_SETMASK, &s->old, NULL);
}
