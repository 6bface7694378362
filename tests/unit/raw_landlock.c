/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw/landlock.h on this kernel, in children: what rules grant and what they refuse, for each ABI
 * up to the kernel's own. Needs no privilege.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "child.h"
#include "raw/landlock.h"

static char dir[64]; /* holds ro/, rw/, and file */
static int abi;      /* under test */

static int path_fd(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	close(fd);
}

static void enter(void)
{
	const struct raw_landlock_rule rules[] = {
		{path_fd("/usr"), RAW_LANDLOCK_READ | RAW_LANDLOCK_EXEC},
		{path_fd("ro"), RAW_LANDLOCK_READ},
		{path_fd("rw"), RAW_LANDLOCK_READ | RAW_LANDLOCK_WRITE | RAW_LANDLOCK_IOCTL},
		{path_fd("file"), RAW_LANDLOCK_WRITE | RAW_LANDLOCK_FILE},
		{path_fd("/dev/null"), RAW_LANDLOCK_READ | RAW_LANDLOCK_FILE},
		{path_fd("/"), 0},
	};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(raw_landlock_enter(rules, ARRAY_LEN(rules), abi) == 0);
}

static void files(void)
{
	CHECK(chdir(dir) == 0);
	enter();
	CHECK(close(open("ro/x", O_RDONLY)) == 0);
	FAILS(EACCES, open("ro/x", O_WRONLY));
	FAILS(EACCES, open("ro/new", O_CREAT | O_WRONLY, 0644));
	FAILS(EACCES, unlink("ro/x"));
	make_file("rw/a");
	CHECK(mkdir("rw/d", 0755) == 0);
	CHECK(rename("rw/a", "rw/d/b") == 0); /* ABI 1 could not allow it */
	FAILS(EXDEV, link("ro/x", "rw/d/c")); /* how it refuses to add rights */
	FAILS(EACCES, mknod("rw/c", S_IFCHR | 0600, makedev(1, 3)));
	CHECK(mkfifo("rw/p", 0600) == 0 && unlink("rw/p") == 0);
	CHECK(unlink("rw/d/b") == 0 && rmdir("rw/d") == 0);
	CHECK(close(open("file", O_WRONLY)) == 0);
	FAILS(EACCES, open("file", O_RDONLY));
	FAILS(EACCES, open("/", O_RDONLY | O_DIRECTORY));
	FAILS(EACCES, open("/etc/passwd", O_RDONLY));
	CHECK(access("/usr/bin/true", X_OK) == 0);
	CHECK(close(open("/dev/null", O_RDONLY)) == 0);
	FAILS(EACCES, open("/dev/null", O_WRONLY));
	if (abi >= 3)
		FAILS(EACCES, truncate("ro/x", 0));
	execl("/usr/bin/true", "true", NULL);
	CHECK(!"execute");
}

/* An abstract socket and a process that the parent has, out of the child's reach from ABI 6. */
static void scopes(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 +
			(socklen_t)snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1,
					    "cleave-test-%d", getpid());
	int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, status;
	pid_t pid;

	CHECK(chdir(dir) == 0);
	CHECK(bind(listen_fd, (struct sockaddr *)&addr, len) == 0 && listen(listen_fd, 4) == 0);
	CHECK((pid = fork()) >= 0);
	if (pid) {
		CHECK(waitpid(pid, &status, 0) == pid);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	enter();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (abi < 6) {
		CHECK(connect(fd, (struct sockaddr *)&addr, len) == 0);
		CHECK(kill(getppid(), 0) == 0);
	} else {
		FAILS(EPERM, connect(fd, (struct sockaddr *)&addr, len));
		FAILS(EPERM, kill(getppid(), 0));
	}
	CHECK(kill(getpid(), 0) == 0);
}

static void each_abi_grants_and_refuses(void **state)
{
	int top = (int)raw_landlock_abi();

	(void)state;
	if (top < RAW_LANDLOCK_ABI_MIN) {
		print_message("this kernel has no Landlock of ABI %d\n", RAW_LANDLOCK_ABI_MIN);
		skip();
	}
	for (abi = RAW_LANDLOCK_ABI_MIN; abi <= (top > 7 ? 7 : top); abi++) {
		assert_int_equal(in_child(files), 0);
		assert_int_equal(in_child(scopes), 0);
	}
}

static void old_abis_are_refused(void **state)
{
	(void)state;
	assert_int_equal(raw_landlock_enter(NULL, 0, 1), -EOPNOTSUPP);
	assert_int_equal(raw_landlock_enter(NULL, 0, 0), -EOPNOTSUPP);
	assert_int_equal(raw_landlock_enter(NULL, 0, -ENOSYS), -EOPNOTSUPP);
}

/* The kernel refuses a rule with rights that the ruleset does not handle, or that a file can't
 * have; then nothing may have changed. */
static void bad_rule(void)
{
	const struct raw_landlock_rule not_a_dir = {path_fd("/dev/null"), RAW_LANDLOCK_READ};
	const struct raw_landlock_rule closed = {1000, RAW_LANDLOCK_READ};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(raw_landlock_enter(&not_a_dir, 1, abi) == -EINVAL);
	CHECK(raw_landlock_enter(&closed, 1, abi) == -EBADF);
	CHECK(close(open("/etc/passwd", O_RDONLY)) == 0);
}

static void a_bad_rule_changes_nothing(void **state)
{
	(void)state;
	abi = (int)raw_landlock_abi();
	if (abi < RAW_LANDLOCK_ABI_MIN)
		skip();
	assert_int_equal(in_child(bad_rule), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/var/tmp/cleave-landlock-XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) || mkdir("ro", 0755) || mkdir("rw", 0755))
		return -1;
	make_file("ro/x");
	make_file("file");
	return chdir("/");
}

static int teardown(void **state)
{
	(void)state;
	return chdir(dir) || unlink("ro/x") || unlink("file") || rmdir("ro") || rmdir("rw") ||
	       chdir("/") || rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_abi_grants_and_refuses),
		cmocka_unit_test(old_abis_are_refused),
		cmocka_unit_test(a_bad_rule_changes_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
