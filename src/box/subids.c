/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --ids range of an ordinary user: the two rows in which newuidmap and newgidmap, which are set-uid
 * root, write the maps of init. They are asked for by their fixed path, with nothing of ours: an
 * environment of our own, no descriptor but 0 to 2, signals as a shell would have them.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "box/keeper.h"
#include "kern/probe.h"
#include "kern/subid.h"
#include "raw/signals.h"

#define ASKER_STACK 16384
#define WORDS 16 /* program, pid, three ranges of three, NULL */

struct asker {
	char text[WORDS][16];
	const char *argv[WORDS];
	int said_fd; /* where it writes what it has to say */
	long err;    /* of exec */
};

static void add_word(struct asker *a, size_t *n, uint32_t v)
{
	snprintf(a->text[*n], sizeof(a->text[*n]), "%u", v);
	a->argv[*n] = a->text[*n];
	++*n;
}

static void add_range(struct asker *a, size_t *n, uint32_t inside, uint32_t outside, uint32_t count)
{
	if (!count)
		return;
	add_word(a, n, inside);
	add_word(a, n, outside);
	add_word(a, n, count);
}

/* The caller's one id where the plan has it, the subordinate ones around it. */
static void add_words(struct asker *a, const char *program, pid_t pid, const struct plan_idmap *own,
		      const struct plan_idmap *sub)
{
	size_t n = 1;

	a->argv[0] = program;
	add_word(a, &n, (uint32_t)pid);
	add_range(a, &n, 0, sub->outside, own->inside);
	add_range(a, &n, own->inside, own->outside, 1);
	add_range(a, &n, own->inside + 1, sub->outside + own->inside, PLAN_IDS - 1 - own->inside);
	a->argv[n] = NULL;
}

/* In our memory, on a stack of its own, nothing but system calls. */
static __attribute__((no_sanitize("address", "undefined"), noreturn)) void ask(void *arg)
{
	static const char *const env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
	static const char null[] = "/dev/null";
	uint64_t none = 0;
	struct asker *a = arg;

	a->err = raw_default_signals();
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	if (a->err >= 0)
		a->err = SYS3(SYS_dup3, a->said_fd, 2, 0);
	for (int fd = 0; fd < 2 && a->err >= 0; fd++) {
		SYS1(SYS_close, fd);
		a->err = SYS4(SYS_openat, AT_FDCWD, null, O_RDWR, 0); /* the lowest: fd */
	}
	if (a->err >= 0)
		a->err = SYS3(SYS_close_range, 3, ~0u, 0);
	if (a->err >= 0)
		a->err = SYS3(SYS_execve, a->argv[0], a->argv, env);
	raw_exit(127);
}

/* Its first line, or nothing. */
static void take_word(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t got = 1;

	while (n + 1 < size && got > 0) {
		got = read(fd, buf + n, size - 1 - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			n += (size_t)got;
	}
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
}

/* Waits for its end. 0, or its exit status, or 128 + the signal that killed it. */
static int wait_end(int pidfd)
{
	siginfo_t info = {0};

	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0)
		if (errno != EINTR)
			return 127;
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int refused(struct keeper_side *k, const char *program, const char *said, int status)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		err_hint(k->e, "no_new_privs is set where cleave was started, so no set-uid "
			       "program works: start it elsewhere");
	else if (probe_inside_user_ns())
		err_hint(k->e, "inside a user namespace it has no power: start cleave outside, or "
			       "go without --ids range");
	else
		err_hint(k->e, "as root: apt-get install --reinstall uidmap, and see that "
			       "/etc/subuid and /etc/subgid give the ids to this user alone");
	if (*said)
		return err_set(k->e, ERR_LAYER, EPERM, "--ids range: %s said: %s", program, said);
	return err_set(k->e, ERR_LAYER, EPERM, "--ids range: %s ended with status %d", program,
		       status);
}

static int run_asker(struct keeper_side *k, struct asker *a, int *ret_pidfd)
{
	struct clone_args args = {
		/* an exit signal of none: a caller that ignores SIGCHLD must not reap it */
		.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
		.pidfd = (uintptr_t)ret_pidfd,
		.stack_size = ASKER_STACK,
	};
	void *stack =
		mmap(NULL, ASKER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t every = ~UINT64_C(0), old;
	long pid;

	if (stack == MAP_FAILED)
		return err_set(k->e, ERR_INTERNAL, errno, "get a stack");
	args.stack = (uintptr_t)stack;
	/* no handler of ours may run in the child, which shares our memory */
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &every, &old, sizeof(every));
	pid = raw_clone_call(&args, sizeof(args), ask, a);
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, sizeof(old));
	munmap(stack, ASKER_STACK);
	return pid < 0 ? err_set(k->e, ERR_HOST, (int)-pid, "start %s", a->argv[0]) : 0;
}

static int ask_map(struct keeper_side *k, const char *program, const struct plan_idmap *own,
		   const struct plan_idmap *sub)
{
	struct asker a = {.said_fd = -EBADF};
	AUTO_FD int pidfd = -EBADF, from_fd = -EBADF;
	char said[256];
	int pipe_fd[2], r, status;

	if (sub->count < PLAN_IDS - 1)
		return err_set(k->e, ERR_INTERNAL, 0, "the plan has no subordinate ids");
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return err_set(k->e, ERR_HOST, errno, "make a pipe");
	from_fd = pipe_fd[0];
	a.said_fd = pipe_fd[1];
	add_words(&a, program, k->box->init_pid, own, sub);
	r = run_asker(k, &a, &pidfd);
	close_fd(&a.said_fd);
	if (r < 0)
		return r;
	take_word(from_fd, said, sizeof(said));
	close_fd(&from_fd);
	status = wait_end(pidfd);
	if (a.err < 0)
		return err_set(k->e, ERR_HOST, (int)-a.err, "execute %s", program);
	return status ? refused(k, program, said, status) : 0;
}

int keeper_ask_uid_map(struct keeper_side *k)
{
	return ask_map(k, SUBID_UID_PROGRAM, &k->plan->uid_map, &k->plan->sub_uid);
}

int keeper_ask_gid_map(struct keeper_side *k)
{
	return ask_map(k, SUBID_GID_PROGRAM, &k->plan->gid_map, &k->plan->sub_gid);
}
