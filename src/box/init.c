/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of init and the walker of its rows. Started as `init FD`: FD is the sealed plan.
 * The keeper's socket takes the places of descriptors 0 to 2, so that nothing of the host stays
 * open; row DISK takes the last of them.
 */
#include "box/init.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/socket.h>

#define ENOTRECOVERABLE_ 131
#define EPIPE_ 32

static const struct {
	const char *name;
	uint8_t side;
	init_step *fn;
	uint64_t needs;
} rows[STEP_N] = {
#define KEEPER(fn) SIDE_KEEPER, 0
#define MEET(fn) SIDE_MEET, 0
#define INIT(fn) SIDE_INIT, fn
#define COMMAND(fn) SIDE_COMMAND, 0
#define S(id, who, fn, after, needs, why) [STEP_##id] = {#id, who(fn), needs},
#include "box/launch.def"
#undef S
#undef KEEPER
#undef MEET
#undef INIT
#undef COMMAND
};

#ifdef CLEAVE_DEV
long init_test_row(const char *name, const char *fail, const char *stop, int32_t code)
{
	if (stop[0] && raw_streq(name, stop))
		for (;;)
			SYS0(SYS_pause);
	return fail[0] && raw_streq(name, fail) ? -(long)code : 0;
}
#endif

struct msg_iovec {
	void *base;
	unsigned long len;
};

struct msg_header {
	void *name;
	int namelen;
	struct msg_iovec *iov;
	unsigned long iovlen;
	void *control;
	unsigned long controllen;
	unsigned flags;
};

long init_send(const struct init *s, const struct wire_reply *r, int fd)
{
	size_t size = offsetof(struct wire_reply, trace) + r->n_trace * sizeof(r->trace[0]);
	struct msg_iovec iov = {(void *)r, size};
	struct {
		unsigned long len;
		int level, type;
		int fd, pad;
	} control = {sizeof(control) - 4, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, fd, 0};
	struct msg_header m = {.iov = &iov, .iovlen = 1};
	long n;

	if (fd >= 0) {
		m.control = &control;
		m.controllen = sizeof(control);
	}
	n = SYS3(SYS_sendmsg, s->sock_fd, &m, 0x4000 /* MSG_NOSIGNAL */);
	return n < 0 ? n : 0;
}

long init_take(const struct init *s, struct wire_request *q, int fd[WIRE_FD_MAX], bool wait)
{
	struct {
		unsigned long len;
		int level, type;
		int fd[WIRE_FD_MAX];
	} control = {0};
	struct msg_iovec iov = {q, sizeof(*q)};
	struct msg_header m = {
		.iov = &iov, .iovlen = 1, .control = &control, .controllen = sizeof(control)};
	long n = 0, r = SYS3(SYS_recvmsg, s->sock_fd, &m,
			     0x40000000 /* MSG_CMSG_CLOEXEC */ | (wait ? 0 : 0x40));

	if (r < 0)
		return r;
	if (r != (long)sizeof(*q))
		return -EPIPE_;
	if (control.len > 16)
		n = (long)((control.len - 16) / sizeof(int));
	for (long i = 0; i < n; i++)
		fd[i] = control.fd[i];
	return n;
}

/* Nobody is left; what they wrote stands until the keeper has taken it out and hangs up. */
void init_linger(const struct init *s)
{
	struct wire_request q;
	int fd[WIRE_FD_MAX];
	long n;

	while ((n = init_take(s, &q, fd, true)) >= 0 || n == -EINTR_)
		while (n > 0)
			(void)raw_close(fd[--n]);
}

/* Waits for GO. The keeper closing its end means that it gave up. */
static long wait_go(struct init *s)
{
	struct wire_request q = {0};
	int fd[WIRE_FD_MAX];
	long n = init_take(s, &q, fd, true);

	return n == 0 && q.op == WIRE_GO ? 0 : n < 0 ? n : -EPIPE_;
}

static void fault(struct init *s, int step, long err)
{
	struct wire_reply r = {.op = WIRE_FAULT,
			       .fault = {.step = step, .err = (int32_t)err, .object = s->object},
			       .restore = s->restored};

	(void)init_send(s, &r, -1);
	raw_exit(1);
}

/* The keeper opens what it needs inside (cp, forks) below this, never by a path of its own. */
static long send_with_root(const struct init *s, const struct wire_reply *r)
{
	long root = SYS3(SYS_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC), err;

	if (root < 0)
		return root;
	err = init_send(s, r, (int)root);
	(void)raw_close((int)root);
	return err;
}

long init_hand_root(struct init *s)
{
	return send_with_root(s, &(struct wire_reply){.op = WIRE_ROOT});
}

static long meet(struct init *s, unsigned step)
{
	struct wire_reply r = {.op = WIRE_READY, .restore = s->restored};

	if (step == STEP_IDS_READY)
		return wait_go(s);
	r.n_trace = s->n_trace;
	memcpy(r.trace, s->trace, s->n_trace * sizeof(s->trace[0]));
	return send_with_root(s, &r);
}

static void walk(struct init *s)
{
	const struct plan *p = s->plan;

	for (unsigned i = 0; i < STEP_N; i++) {
		uint64_t began;
		long r;

		if (rows[i].side != SIDE_INIT && rows[i].side != SIDE_MEET)
			continue;
		if ((p->facts & rows[i].needs) != rows[i].needs)
			continue;
		if (raw_without(p->test_without, "row", rows[i].name))
			continue;
		began = raw_now_ns();
		s->object = -1;
		r = init_test_row(rows[i].name, p->test_fail, p->test_stop, p->test_errno);
		if (!r)
			r = rows[i].side == SIDE_MEET ? meet(s, i) : rows[i].fn(s);
		if (r < 0)
			fault(s, (int)i, r);
		s->trace[s->n_trace++] = (struct step_trace){(uint16_t)i, SIDE_INIT,
							     (uint32_t)(raw_now_ns() - began)};
	}
}

static const struct plan *map_plan(const char *fd_text)
{
	struct plan head;
	long fd = 0, at;

	for (; *fd_text >= '0' && *fd_text <= '9'; fd_text++)
		fd = fd * 10 + (*fd_text - '0');
	if (SYS4(SYS_pread64, fd, &head, sizeof(head), 0) != (long)sizeof(head) ||
	    head.magic != PLAN_MAGIC)
		raw_exit(2);
	at = SYS6(SYS_mmap, 0, head.total_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at < 0 && at > -4096)
		raw_exit(2);
	(void)raw_close((int)fd);
	return (const struct plan *)at;
}

_Noreturn void init_entry(long *stack);

__attribute__((used)) _Noreturn void init_entry(long *stack)
{
	static struct init state;
	const char *const *argv = (const char *const *)(stack + 1);

	if (stack[0] < 2)
		raw_exit(2);
	state.stack = stack;
	state.plan = map_plan(argv[1]);
	state.sock_fd = 0;
	state.root_fd = state.disk_fd = state.proc_fd = -1;
	state.dir_fd = state.skeleton_fd = -1;
	state.cover_fd[0] = state.cover_fd[1] = -1;
	for (int fd = 0; fd < 3; fd++)
		if (SYS3(SYS_dup3, state.plan->sock_fd, fd, O_CLOEXEC) < 0)
			raw_exit(2);
	(void)raw_close(state.plan->sock_fd);
	(void)SYS1(SYS_umask, 0);
	/* only for those who look at a list of processes */
	(void)raw_prctl(PR_SET_NAME, (unsigned long)"cleave-init", 0, 0, 0);
	walk(&state);
	init_serve(&state);
	raw_exit(0);
}

RAW_START(init_entry);
