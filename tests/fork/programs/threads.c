/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is answered by number and name of each thread, and whether those that count go on; then
 * the line "end" by what the kernel does when one of them ends: join, and a robust lock of its.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N 3

static volatile unsigned count[N];
static volatile int go, held, gone;
static pthread_mutex_t lock;

static void *counts(void *arg)
{
	long i = (long)arg;
	char name[16];

	snprintf(name, sizeof(name), "count%ld", i);
	pthread_setname_np(pthread_self(), name);
	__atomic_add_fetch(&held, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		count[i]++;
		usleep(1000);
	}
	return arg;
}

static void *owns(void *arg)
{
	pthread_setname_np(pthread_self(), "owner");
	pthread_mutex_lock(&lock);
	gone = gettid();
	__atomic_add_fetch(&held, 1, __ATOMIC_SEQ_CST);
	while (!go)
		usleep(1000);
	return arg;
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

static int number(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void tell(void)
{
	struct dirent **list;
	int n = scandir("/proc/self/task", &list, number, by_number), moving = 0;
	unsigned before[N];

	memcpy(before, (void *)count, sizeof(before));
	for (int i = 0; i < n; i++) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", list[i]->d_name);
		f = fopen(path, "r");
		if (f && fgets(name, sizeof(name), f))
			name[strcspn(name, "\n")] = 0;
		if (f)
			fclose(f);
		printf("%s:%s ", list[i]->d_name, name);
	}
	for (int wait = 0; n > 1 && moving < N && wait < 20000; wait++) {
		moving = 0;
		for (int i = 0; i < N; i++)
			moving += count[i] != before[i];
		usleep(1000);
	}
	printf("moving %d\n", moving);
}

/* After the thread is out of /proc the kernel has done all that it does. */
static void end(pthread_t owner)
{
	char path[64];

	go = 1;
	snprintf(path, sizeof(path), "/proc/self/task/%d", gone);
	for (int wait = 0; !access(path, F_OK) && wait < 20000; wait++)
		usleep(1000);
	printf("join %d", pthread_tryjoin_np(owner, 0));
	printf(" lock %d\n", pthread_mutex_trylock(&lock));
}

int main(void)
{
	pthread_mutexattr_t a;
	pthread_t t, owner;
	char line[80];

	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&lock, &a);
	for (long i = 0; i < N; i++)
		pthread_create(&t, 0, counts, (void *)i);
	pthread_create(&owner, 0, owns, 0);
	while (held < N + 1)
		usleep(1000);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "end\n"))
			end(owner);
		else
			tell();
	}
	return 0;
}
