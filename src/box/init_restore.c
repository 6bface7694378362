/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row RESTORE of a clone: takes the restore plan, the image and the new 0-2 from the keeper and
 * builds the tree up to its gate. init goes on to give up its rights; the gate opens when the
 * keeper says RESUME. Freestanding.
 */
#include "box/init.h"

#include <linux/fcntl.h>

#include "raw/restore_init.h"

#define AT_SYSINFO_EHDR_ 33
#define EPROTO_ 71
#define DEADLINE_NS UINT64_C(30000000000) /* a busy machine with a large tree */
#define DESCRIPTORS 5

/* Where a row is left out on purpose nobody shall wait for what never comes. */
static uint64_t deadline_ns(const struct plan *p)
{
#ifdef CLEAVE_DEV
	if (p->test_without[0])
		return raw_now_ns() + DEADLINE_NS / 6;
#endif
	(void)p;
	return raw_now_ns() + DEADLINE_NS;
}

static struct restore_tree tree = {.master_fd = -1};

static uint64_t vdso(const long *stack)
{
	const long *p = stack + 1 + stack[0] + 1; /* argc, argv, NULL */

	while (*p++)
		; /* the environment */
	for (; p[0]; p += 2)
		if (p[0] == AT_SYSINFO_EHDR_)
			return (uint64_t)p[1];
	return 0;
}

/* The message behind GO. Returns 0 or a negative errno; fd[] is complete after 0. */
static long receive(const struct init *s, int fd[WIRE_FD_MAX])
{
	struct wire_request q = {0};
	long n = init_take(s, &q, fd, true);

	if (n < 0)
		return n;
	return n == DESCRIPTORS && q.op == WIRE_RESTORE ? 0 : -EPROTO_;
}

long init_restore(struct init *s)
{
	struct restore_request q = {.vdso = vdso(s->stack),
				    .deadline_ns = deadline_ns(s->plan),
				    .affinity = s->plan->affinity,
				    .affinity_bytes = s->plan->affinity_bytes};
	int fd[WIRE_FD_MAX];
	long r = receive(s, fd);

	if (r < 0)
		return r;
	q.plan_fd = fd[0];
	q.image_fd = fd[1];
	for (int i = 0; i < RESTORE_STDIO; i++)
		q.stdio_fd[i] = fd[2 + i];
	r = restore_tree_build(&tree, &q, &s->restored);
	for (int i = 0; i < DESCRIPTORS; i++)
		(void)raw_close(fd[i]);
	return r;
}

void init_resume(void)
{
	if (tree.plan)
		restore_tree_go(&tree);
}

int init_take_master(void)
{
	int fd = tree.master_fd;

	tree.master_fd = -1;
	return fd;
}
