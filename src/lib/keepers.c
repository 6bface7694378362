/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/keepers.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/nursery.h"
#include "lib/lib.h"
#include "raw/syscall.h"

/* Where a keeper finds its descriptors: in this order from 3 on. */
#define FIRST_FD 3
#define MAX_FDS 2 /* spec and report of a fresh one; the nursery's socket */
#define CLEAR_OF 20

extern char **environ;

static char program[4096];

EXPORT void cleave_program(const char *path)
{
	snprintf(program, sizeof(program), "%s", path ? path : "");
}

/* The binary that becomes keepers: as told, as the environment says, ourselves, or PATH's. */
static const char *keeper_program(void)
{
	static char self[4096];
	const char *env = getenv("CLEAVE_PROGRAM");
	const char *base;
	ssize_t n;

	if (program[0])
		return program;
	if (env && env[0])
		return env;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = 0;
		base = strrchr(self, '/');
		if (base && strcmp(base, "/cleave") == 0)
			return self;
	}
	return "cleave";
}

static int spec_memfd(const struct spec *spec, struct err *e)
{
	AUTO_FREE char *text = spec_encode(spec);
	AUTO_FD int fd = memfd_create("cleave-spec", MFD_CLOEXEC);

	if (!text || fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return err_set(e, ERR_HOST, errno, "write the spec");
	return take_fd(&fd);
}

/* posix_spawn shares no memory with the caller's threads beyond its own care. */
static int spawn(char *operand, const int *from, int n, struct err *e)
{
	char *argv[] = {"cleave", "keeper", operand, NULL};
	int high[MAX_FDS], r = 0;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	for (int i = 0; i < n; i++) {
		/* clear of the targets, or one dup2 would overwrite the next one's source */
		high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, CLEAR_OF);
		if (high[i] < 0) /* EINVAL: the limit is below */
			r = errno == EINVAL ? EMFILE : errno;
		else if (!r)
			r = posix_spawn_file_actions_adddup2(&actions, high[i], FIRST_FD + i);
	}
	if (!r)
		r = posix_spawnp(&pid, keeper_program(), &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	for (int i = 0; i < n; i++)
		close_fd(&high[i]);
	if (r) {
		if (r == ENOENT || r == EACCES)
			err_hint(e, "the library needs the program: set CLEAVE_PROGRAM or call "
				    "cleave_program()");
		return err_set(e, ERR_HOST, r, "start '%s'", keeper_program());
	}
	/* it forks once and goes, so that the keeper is nobody's child */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int start_nursery(struct err *e)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, ERR_HOST, errno, "make a socket pair");
	r = spawn("c", &pair[1], 1, e);
	close(pair[1]);
	if (r < 0)
		close(pair[0]);
	return r < 0 ? r : pair[0];
}

int start_keeper(const struct spec *spec, bool hold, char *ret_id, struct err *e)
{
	int fds[2] = {spec_memfd(spec, e)}, pair[2], r;
	struct keeper_report report;
	ssize_t n;

	if (fds[0] < 0)
		return fds[0];
	if (pipe2(pair, O_CLOEXEC) < 0) {
		close(fds[0]);
		return err_set(e, ERR_HOST, errno, "make a pipe");
	}
	fds[1] = pair[1];
	r = spawn(hold ? "h" : "s", fds, 2, e);
	close(fds[0]);
	close(pair[1]);
	do
		n = r < 0 ? 0 : read(pair[0], &report, sizeof(report));
	while (n < 0 && errno == EINTR);
	close(pair[0]);
	if (r < 0)
		return r;
	if (n != (ssize_t)sizeof(report)) {
		err_set(e, ERR_KEEPER, 0, "the keeper died before it could tell why");
		return -EPIPE;
	}
	if (report.error.id) {
		*e = report.error;
		return e->code ? -e->code : -EINVAL;
	}
	memcpy(ret_id, report.id, sizeof(report.id));
	return 0;
}

/* What `cleave keeper WHAT` runs: not part of the public interface. s: a fresh sandbox, h: one that
 * is held until its client runs it, c: clones. */
EXPORT int cleave_keeper_main(int argc, char **argv)
{
	char what = argc > 0 ? argv[argc - 1][0] : 0;
	int n = what == 'c' ? 1 : 2;
	pid_t pid;

	if (what != 's' && what != 'h' && what != 'c')
		return 125;
	pid = fork();
	if (pid < 0)
		return 125;
	if (pid > 0)
		_exit(0);
	for (int i = 0; i < n; i++)
		fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
	/* the caller's locks and pipes must not live as long as the sandbox */
	ignore_err((int)SYS3(SYS_close_range, FIRST_FD + n, ~0u, 0),
		   "a kernel without it is refused by the launch");
	return what == 'c' ? nursery_main(FIRST_FD)
			   : keeper_main(FIRST_FD, FIRST_FD + 1, what == 'h');
}
