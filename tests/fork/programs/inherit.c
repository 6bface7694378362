/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread holds two locks with priority inheritance, and one thread waits for each in the kernel.
 * The first line is answered by what became of them: the owner gives one away and ends with the
 * other, which is robust.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define WAITERS 0x80000000u /* of the word that the kernel and the owner share */

static pthread_mutex_t given, kept;
static volatile int held, go, unlocked = -1;

static void *owns(void *arg)
{
	pthread_mutex_lock(&given);
	pthread_mutex_lock(&kept);
	held = 1;
	while (!go)
		usleep(1000);
	unlocked = pthread_mutex_unlock(&given);
	return arg;
}

static void *waits(void *arg)
{
	return (void *)(long)pthread_mutex_lock(arg);
}

static int awaited(const pthread_mutex_t *m)
{
	return (*(volatile unsigned *)&m->__data.__lock & WAITERS) != 0;
}

int main(void)
{
	pthread_t owner, waiter[2];
	pthread_mutexattr_t a;
	void *result[2];
	char line[80];

	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&given, &a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&kept, &a);
	pthread_create(&owner, NULL, owns, NULL);
	while (!held)
		usleep(1000);
	pthread_create(&waiter[0], NULL, waits, &given);
	pthread_create(&waiter[1], NULL, waits, &kept);
	while (!awaited(&given) || !awaited(&kept))
		usleep(1000);
	puts("ready");
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	go = 1;
	pthread_join(owner, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(waiter[i], &result[i]);
	printf("unlock %d lock %ld lock %ld\n", unlocked, (long)result[0], (long)result[1]);
	while (fgets(line, sizeof(line), stdin))
		puts("over");
	return 0;
}
