/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a thread is scheduled, as far as it chose that itself: what its sandbox was started with is
 * the clone's forker's to say. init, of whom nobody inside can change it, has what that was; the
 * processors are this process's, since the launch pins init to one of them, but for those that a
 * cpuset takes away.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fork/harvest.h"

#define RESET_ON_FORK 0x40000000 /* SCHED_RESET_ON_FORK of sched_getscheduler */
#define IO_CLASS(priority) ((priority) >> 13)
#define IO_CLASS_REAL_TIME 1
#define WHO_PROCESS 1 /* of ioprio_get, with a thread's id */

static long io_priority(pid_t tid)
{
	long priority = syscall(SYS_ioprio_get, WHO_PROCESS, tid);

	/* without a class it follows nice; before 5.19 the kernel gives it a level all the same */
	return priority > 0 && IO_CLASS(priority) == 0 ? 0 : priority;
}

/* "0-2,5" as a set. */
static cpu_set_t listed(const char *list)
{
	cpu_set_t set;
	char *end;

	CPU_ZERO(&set);
	for (; *list; list = end + (*end == ',')) {
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < CPU_SETSIZE; first++)
			CPU_SET(first, &set);
		if (*end && *end != ',')
			break;
	}
	return set;
}

/* What a thread has that chose nothing. */
static void sandbox_processors(const struct harvest *h, cpu_set_t *ret)
{
	cpu_set_t set;

	*ret = h->cpus;
	if (!h->src->cpuset)
		return;
	set = listed(h->src->cpuset);
	CPU_AND(ret, &set, &h->cpus);
	if (!CPU_COUNT(ret))
		*ret = set;
}

static int affinity(struct harvest *h, pid_t tid, struct image_ref *ret)
{
	cpu_set_t set = {0}, all;
	/* not the library's call, which says nothing of how much there is; EINVAL: more than fit */
	long n = syscall(SYS_sched_getaffinity, tid, sizeof(set), &set);

	if (n < 0)
		return errno == EINVAL ? 0 : -errno;
	sandbox_processors(h, &all);
	if (!CPU_COUNT(&all) || CPU_EQUAL(&set, &all))
		return 0;
	return image_builder_bytes(&h->b, &set, (uint64_t)n, ret);
}

int scheduling_record(struct harvest *h, const struct tracee *t, struct image_thread *x,
		      struct err *e)
{
	pid_t init = h->src->init_pid;
	long policy = syscall(SYS_sched_getscheduler, t->tid), io = io_priority(t->tid);
	struct image_ref own = {0};
	int r = affinity(h, t->tid, &own);

	if (r < 0 || policy < 0 || io < 0)
		REFUSE(e, r < 0 ? r : errno, "ask how thread %d of process %d is scheduled",
		       t->status.ns_pid, t->status.ns_tgid);
	x->affinity = own;
	x->flags = policy & RESET_ON_FORK ? IMAGE_THREAD_RESET_ON_FORK : 0;
	policy &= ~RESET_ON_FORK;
	if (policy != (syscall(SYS_sched_getscheduler, init) & ~RESET_ON_FORK))
		x->flags |= IMAGE_THREAD_POLICY;
	if (io != io_priority(init))
		x->flags |= IMAGE_THREAD_IO_PRIORITY;
	if ((x->flags & (IMAGE_THREAD_POLICY | IMAGE_THREAD_RESET_ON_FORK) &&
	     policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE) ||
	    (x->flags & IMAGE_THREAD_IO_PRIORITY && IO_CLASS(io) == IO_CLASS_REAL_TIME))
		REFUSE(e, ENOTSUP, "process %d: thread %d has a real-time priority of its own",
		       t->status.ns_tgid, t->status.ns_pid);
	if (x->flags & (IMAGE_THREAD_POLICY | IMAGE_THREAD_RESET_ON_FORK))
		x->policy = (uint8_t)policy;
	x->io_priority = x->flags & IMAGE_THREAD_IO_PRIORITY ? (uint16_t)io : 0;
	return 0;
}
