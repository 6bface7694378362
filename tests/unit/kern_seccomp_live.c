/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel takes the default filters and answers as meant: a few calls of each kind, in a child
 * that has loaded one. Needs no privilege.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "child.h"
#include "kern/seccomp.h"

static void load(unsigned flags)
{
	struct seccomp_program p = seccomp_default(flags);
	struct sock_fprog prog = {p.len, (struct sock_filter *)p.insns};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

static void *thread_main(void *arg)
{
	cpu_set_t set;

	/* by the thread's number, as libraries do */
	if (pthread_getaffinity_np(pthread_self(), sizeof(set), &set) ||
	    pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		return NULL;
	return arg;
}

static void ordinary_life(unsigned flags)
{
	struct rlimit old, none = {0, 0};
	void *ret = NULL;
	pthread_t thread;
	int status, pair[2];
	pid_t pid;

	CHECK(getrlimit(RLIMIT_CORE, &old) == 0);
	load(flags);
	CHECK(pthread_create(&thread, NULL, thread_main, &old) == 0); /* clone3 -> clone */
	CHECK(pthread_join(thread, &ret) == 0 && ret == &old);
	CHECK((pid = fork()) >= 0);
	if (pid == 0)
		_exit(7);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(close(socket(AF_INET6, SOCK_STREAM, 0)) == 0);
	FAILS(EPERM, socket(AF_PACKET, SOCK_RAW, 0));
	FAILS(EPERM, socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0));
	FAILS(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, 132));
	FAILS(EPERM, unshare(CLONE_NEWUSER));
	FAILS(EPERM, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	FAILS(ENOSYS, syscall(SYS_clone3, NULL, 0));
	FAILS(ENOSYS, syscall(SYS_landlock_create_ruleset, NULL, 0, 1));
	FAILS(ENOSYS, syscall(600));
	FAILS(ENOSYS, syscall(-1));
	FAILS(EPERM, ioctl(0, TIOCSTI, "x"));
	FAILS(EPERM, syscall(SYS_ioctl, 0, 0x100000000ul | TIOCSTI, "x"));
	CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
	CHECK(getrlimit(RLIMIT_CORE, &none) == 0);
	CHECK(none.rlim_cur == old.rlim_cur && none.rlim_max == old.rlim_max);
	if (flags & SECCOMP_ALLOW_PTRACE)
		CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	else
		FAILS(EPERM, ptrace(PTRACE_TRACEME, 0, 0, 0));
	if (flags & SECCOMP_SHARED_ID)
		FAILS(EPERM, setpriority(PRIO_USER, 0, 19));
}

static void life_plain(void)
{
	ordinary_life(0);
}

static void life_shared(void)
{
	ordinary_life(SECCOMP_SHARED_ID);
}

static void life_ptrace(void)
{
	ordinary_life(SECCOMP_ALLOW_PTRACE);
}

static void life_shared_ptrace(void)
{
	ordinary_life(SECCOMP_SHARED_ID | SECCOMP_ALLOW_PTRACE);
}

static void ordinary_programs_live(void **state)
{
	(void)state;
	assert_int_equal(in_child(life_plain), 0);
	assert_int_equal(in_child(life_shared), 0);
	assert_int_equal(in_child(life_ptrace), 0);
	assert_int_equal(in_child(life_shared_ptrace), 0);
}

static void x32_getpid(void)
{
	load(0);
	syscall(0x40000000 | SYS_getpid);
}

#ifdef __x86_64__
static void i386_getpid(void)
{
	long nr = 20;

	load(0);
	__asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
}
#endif

/* A kernel without these tables ends the process by itself (SIGSEGV) or answers ENOSYS before any
 * filter is asked; it must never return a process number. */
static void other_tables_kill(void **state)
{
	int status;

	(void)state;
	status = in_child(x32_getpid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
#ifdef __x86_64__
	status = in_child(i386_getpid);
	assert_true(WIFSIGNALED(status) &&
		    (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
#endif
}

static void widen(void)
{
	struct sock_filter all = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
	struct sock_fprog prog = {1, &all};

	load(0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
	FAILS(EPERM, unshare(CLONE_NEWUSER));
	FAILS(ENOSYS, syscall(600));
}

static void a_second_filter_widens_nothing(void **state)
{
	(void)state;
	assert_int_equal(in_child(widen), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_programs_live),
		cmocka_unit_test(other_tables_kill),
		cmocka_unit_test(a_second_filter_widens_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
