/* SPDX-License-Identifier: Apache-2.0 */
/* What a process can and can't do once it has taken a keeper's walls; as root also without rights.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "engine/keeper.h"

static void confine(void)
{
	struct err e = ERR_INIT;

	CHECK(keeper_confine(&e) == 0);
}

static void no_reach(void)
{
	char *argv[] = {"/bin/true", NULL};
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	confine();
	FAILS(EPERM, execv(argv[0], argv));
	FAILS(EPERM, socket(AF_INET, SOCK_STREAM, 0));
	FAILS(EPERM, socket(AF_UNIX, SOCK_STREAM, 0));
	FAILS(EPERM, socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	FAILS(EPERM, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	FAILS(EPERM, mprotect(page, 4096, PROT_READ | PROT_EXEC));
	FAILS(EPERM, mount("none", "/", "tmpfs", 0, NULL));
	FAILS(EPERM, unshare(CLONE_NEWUSER));
	FAILS(EPERM, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	FAILS(ENOSYS, syscall(SYS_clone3, NULL, 0));
	FAILS(EPERM, syscall(SYS_setns, 0, CLONE_NEWNS));
	FAILS(EPERM, setuid(1));
	FAILS(EPERM, ioctl(0, TIOCSTI, "x"));
	FAILS(ENOSYS, syscall(SYS_swapoff, "/"));
}

/* Tracing, memory, files, sockets, the kernel's socket monitor. */
static void still_works(void)
{
	int status, pair[2], fd;
	pid_t pid;

	confine();
	CHECK((pid = fork()) >= 0);
	if (pid == 0)
		for (;;)
			pause(); /* ENOSYS: it spins until it is stopped */
	CHECK(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
	CHECK(ptrace(PTRACE_DETACH, pid, 0, 0) == 0 && kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHECK(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG) >= 0);
	CHECK((fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING)) >= 0);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	CHECK(open("/dev/null", O_RDWR | O_CLOEXEC) >= 0);
}

static void walls_stand(void **state)
{
	(void)state;
	assert_int_equal(in_child(no_reach), 0);
}

static void a_capture_still_works(void **state)
{
	(void)state;
	assert_int_equal(in_child(still_works), 0);
}

/* Rights of root: only those that are kept, and no way back. */
static void no_rights(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2], all[2] = {{~0u, ~0u, 0}, {~0u, ~0u, 0}};
	uint64_t keep = 1 << CAP_CHOWN | 1 << CAP_DAC_READ_SEARCH | 1 << CAP_LEASE |
			UINT64_C(1) << CAP_CHECKPOINT_RESTORE;
	bool root = geteuid() == 0;

	CHECK(syscall(SYS_capget, &head, caps) == 0);
	keep &= caps[0].permitted | (uint64_t)caps[1].permitted << 32;
	confine();
	CHECK(syscall(SYS_capget, &head, caps) == 0);
	CHECK(caps[0].permitted == (uint32_t)keep && caps[1].permitted == keep >> 32);
	CHECK(caps[0].effective == (uint32_t)keep && caps[0].inheritable == 0);
	FAILS(EPERM, syscall(SYS_capset, &head, all));
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	for (int cap = 0; root && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		CHECK(prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == (int)(keep >> cap & 1));
}

static void rights_are_gone(void **state)
{
	(void)state;
	assert_int_equal(in_child(no_rights), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walls_stand),
		cmocka_unit_test(a_capture_still_works),
		cmocka_unit_test(rights_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
