/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of init that make the network. Freestanding.
 *
 * A network namespace is the longest single piece of a launch and depends on nothing, so a helper
 * makes it on another processor while init makes the mounts. The helper shares memory and
 * descriptors with init and leaves a socket that belongs to the new namespace, with its loopback
 * interface up (a tenth of a millisecond by itself). Whoever is first takes the work: on a busy
 * machine, where the helper does not get a processor in time, init does it itself.
 */
#include "box/init.h"

#include <linux/fcntl.h>
#include <linux/if.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <linux/wait.h>

#define AF_INET_ 2
#define SOCK_DGRAM_ 2
#define SOCK_CLOEXEC_ 02000000
#define SIGCHLD_ 17
#define HELPER_STACK 4096
#define HELPER_PID 300 /* out of the way of the command, which is 2 */

/* 0 once somebody took the work. */
static int untaken;
static int helper_pid;
static long sock_fd;     /* of the new namespace, or a negative errno */
static long up;          /* what its loopback interface said when it was switched on */
static uint8_t own[128]; /* our own processor, as an affinity */
static long own_bytes;
static char helper_stack[HELPER_STACK] __attribute__((aligned(16)));

static bool take_work(void)
{
	return __atomic_exchange_n(&untaken, 0, __ATOMIC_ACQ_REL) != 0;
}

static long loopback_up(long fd)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	return SYS3(SYS_ioctl, fd, SIOCSIFFLAGS, &ifr);
}

static void make_namespace(void)
{
	long r = SYS1(SYS_unshare, CLONE_NEWNET);

	sock_fd = r < 0 ? r : SYS3(SYS_socket, AF_INET_, SOCK_DGRAM_ | SOCK_CLOEXEC_, 0);
	if (sock_fd >= 0)
		up = loopback_up(sock_fd);
}

static void helper(void *unused)
{
	(void)unused;
	if (take_work())
		make_namespace();
	raw_exit(0);
}

static unsigned count_processors(const struct plan *p)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < p->affinity_bytes; i++)
		for (uint8_t bits = p->affinity[i]; bits; bits &= (uint8_t)(bits - 1))
			n++;
	return n;
}

/* Starts the helper where a processor is free, and comes back to our own. */
static long start_helper(const struct plan *p)
{
	int32_t pid = HELPER_PID;
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FILES,
		.exit_signal = SIGCHLD_,
		.stack = (uintptr_t)helper_stack,
		.stack_size = sizeof(helper_stack),
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};
	long r;

	own_bytes = SYS3(SYS_sched_getaffinity, 0, sizeof(own), own);
	if (own_bytes < 0)
		return own_bytes;
	r = SYS3(SYS_sched_setaffinity, 0, p->affinity_bytes, p->affinity);
	if (r == 0)
		r = raw_clone_call(&args, sizeof(args), helper, 0);
	/* what it had a moment ago; the command's own comes in UNPIN */
	(void)SYS3(SYS_sched_setaffinity, 0, own_bytes, own);
	return r;
}

long init_net_begin(struct init *s)
{
	long r;

	untaken = 1;
	/* a restore chooses process ids: none may be in use */
	if (s->plan->facts & PLAN_RESTORE || count_processors(s->plan) < 2)
		return 0;
	r = start_helper(s->plan);
	helper_pid = r > 0 ? (int)r : 0;
	return 0;
}

long init_net_ns(struct init *s)
{
	bool ours = take_work();
	long fd, r = 0;

	(void)s;
	if (ours) {
		make_namespace();
		/* a helper that waits for its processor finds nothing to do on ours at once */
		if (helper_pid)
			/* only sooner, or it has gone */
			(void)SYS3(SYS_sched_setaffinity, helper_pid, own_bytes, own);
	}
	if (helper_pid)
		r = SYS4(SYS_wait4, helper_pid, 0, __WALL, 0);
	if (r < 0)
		return r;
	if (sock_fd < 0 || ours)
		return sock_fd < 0 ? sock_fd : 0;
	fd = SYS2(SYS_ioctl, sock_fd, SIOCGSKNS);
	if (fd < 0)
		return fd;
	r = SYS2(SYS_setns, fd, CLONE_NEWNET);
	(void)raw_close((int)fd);
	return r;
}

long init_loopback(struct init *s)
{
	(void)s;
	(void)raw_close((int)sock_fd);
	return up;
}
