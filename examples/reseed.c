/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same for a C program: `cleave start --fork-signal USR1 ...`. The handler only notes that this
 * is a clone; the generator is seeded anew before its next use, where it is safe to do so.
 * /run/cleave/generation tells it too.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static volatile sig_atomic_t is_clone;

static void note(int signo)
{
	(void)signo;
	is_clone = 1;
}

static long next_random(void)
{
	unsigned seed;

	if (is_clone && getrandom(&seed, sizeof(seed), 0) == sizeof(seed)) {
		srandom(seed);
		is_clone = 0;
	}
	return random();
}

int main(void)
{
	signal(SIGUSR1, note);
	srandom(1);
	for (;;) {
		printf("%ld\n", next_random());
		fflush(stdout);
		usleep(200000);
	}
}
