/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row AHEAD: pages of the image, made by another processor while this one stops the tasks and looks
 * at them. To write into a page that exists costs half. How many are needed is a guess, from what
 * the processes hold; what is left over goes in row SEAL. Nothing here can fail a capture.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

#define STEP_BYTES (256ull << 10) /* writers wait for one step */
#define LEAST_BYTES (4ull << 20)
#define MOST_BYTES (64ull << 20) /* more is not made before the copy begins */
#define MOST_PROCESSES 64
#define DEEPEST 8

struct ahead {
	pthread_t thread;
	int fd;
	uint64_t bytes;
	bool stop;
};

static uint64_t anonymous_bytes(struct harvest *h, pid_t pid)
{
	const char *line =
		proc_read(&h->text, pid, "status") ? NULL : strstr(h->text.p, "\nRssAnon:");

	return line ? strtoull(line + 9, NULL, 10) << 10 : 0;
}

/* Of everything below pid, as far as it can be seen quickly. */
static uint64_t below(struct harvest *h, pid_t pid, int depth, int *left)
{
	struct proc_text children = {0};
	uint64_t sum = 0;
	char name[48], *at, *end;

	snprintf(name, sizeof(name), "task/%d/children", pid);
	if (depth < DEEPEST && proc_read(&children, pid, name) == 0)
		for (at = children.p; *left > 0; at = end) {
			pid_t child = (pid_t)strtol(at, &end, 10);

			if (end == at)
				break;
			(*left)--;
			sum += anonymous_bytes(h, child) + below(h, child, depth + 1, left);
		}
	proc_text_done(&children);
	return sum;
}

static void *make(void *arg)
{
	struct ahead *a = arg;

	for (uint64_t at = 0; at < a->bytes && !__atomic_load_n(&a->stop, __ATOMIC_RELAXED);
	     at += STEP_BYTES)
		if (fallocate(a->fd, 0, (off_t)at, STEP_BYTES) < 0)
			break;
	return NULL;
}

int row_ahead(struct harvest *h, struct err *e)
{
	int left = MOST_PROCESSES, own = sched_getcpu();
	cpu_set_t others = h->cpus;
	uint64_t bytes;
	struct ahead *a;

	h->image_fd = memfd_create("cleave-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (h->image_fd < 0)
		return err_set(e, ERR_HOST, errno, "make the image's memory file");
	if (own >= 0)
		CPU_CLR(own, &others);
	if (!CPU_COUNT(&others))
		return 0;
	bytes = below(h, h->src->init_pid, 0, &left);
	a = bytes < LEAST_BYTES ? NULL : calloc(1, sizeof(*a));
	if (!a)
		return 0;
	a->fd = h->image_fd;
	a->bytes = bytes < MOST_BYTES ? bytes : MOST_BYTES;
	if (pthread_create(&a->thread, NULL, make, a)) {
		free(a);
		return 0;
	}
	pthread_setaffinity_np(a->thread, sizeof(others), &others);
	h->ahead = a;
	return 0;
}

int ahead_stop(struct harvest *h, struct err *e)
{
	ignore_err(e, "nothing can fail");
	if (!h->ahead)
		return 0;
	__atomic_store_n(&h->ahead->stop, true, __ATOMIC_RELAXED);
	pthread_join(h->ahead->thread, NULL);
	free(h->ahead);
	h->ahead = NULL;
	return 0;
}
