/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two calls that a capture interrupts: the main thread reads its input, the other waits for an
 * event. A line is answered by the errors that they have seen.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static volatile int waited, rounds;
static int set, bell;

static void *waits(void *arg)
{
	struct epoll_event event;
	uint64_t n;

	for (;;) {
		if (epoll_wait(set, &event, 1, -1) < 0)
			waited = errno;
		else if (read(bell, &n, sizeof(n)) == sizeof(n))
			rounds++;
	}
	return arg;
}

/* When the other thread has come round, it has seen whatever its call had to say. */
static int come_round(void)
{
	uint64_t one = 1;
	int before = rounds;

	if (write(bell, &one, sizeof(one)) != sizeof(one))
		return -1;
	for (int i = 0; rounds == before && i < 20000; i++)
		usleep(1000);
	return rounds == before ? -1 : waited;
}

int main(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	char line[200];
	int seen = 0;
	pthread_t t;

	set = epoll_create1(0);
	bell = eventfd(0, 0);
	epoll_ctl(set, EPOLL_CTL_ADD, bell, &event);
	pthread_create(&t, 0, waits, 0);
	for (;;) {
		ssize_t n = read(0, line, sizeof(line));

		if (n == 0)
			return 0;
		if (n < 0)
			seen = errno;
		else
			dprintf(1, "read %d wait %d\n", seen, come_round());
		if (n < 0 && seen != 512)
			return 77;
	}
}
