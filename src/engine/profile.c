/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/profile.h"

/* The text of the file, malloc'd, and a byte more than may be compiled at the most. */
static int read_file(const char *path, char **ret, size_t *ret_len, struct err *e)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_SOURCE, errno, "--seccomp: open '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_SOURCE, 0, "--seccomp: '%s' is no regular file", path);
	*ret = malloc(PROFILE_BYTES_MAX + 1);
	if (!*ret)
		return err_set(e, ERR_INTERNAL, ENOMEM, "--seccomp");
	*ret_len = 0;
	do {
		n = read(fd, *ret + *ret_len, PROFILE_BYTES_MAX + 1 - *ret_len);
		if (n < 0)
			return err_set(e, ERR_SOURCE, errno, "--seccomp: read '%s'", path);
		*ret_len += (size_t)n;
	} while (n > 0 && *ret_len <= PROFILE_BYTES_MAX);
	return 0;
}

int profile_enter(struct spec *s, struct err *e)
{
	AUTO_FREE char *text = NULL;
	char what[128];
	struct profile p;
	size_t len = 0;
	int r;

	if (!s->seccomp || s->seccomp_program)
		return 0;
	r = read_file(s->seccomp, &text, &len, e);
	if (r < 0)
		return r;
	snprintf(what, sizeof(what), "--seccomp '%.100s'", s->seccomp);
	r = profile_compile(what, text, len, &p, e);
	if (r < 0)
		return r;
	s->seccomp_program = profile_text(&p);
	profile_done(&p);
	return s->seccomp_program ? 0 : err_set(e, ERR_INTERNAL, ENOMEM, "--seccomp");
}

int profile_lets_fork(const struct plan *p, struct err *e)
{
	/* what runs in the source's processes, and in a clone's between its filters and its code */
	static const char *const calls[] = {
		"mmap",        "mprotect",   "munmap",     "brk",   "rt_sigaction",
		"sigaltstack", "prctl",      "getitimer",  "futex", "rt_sigreturn",
		"exit_group",  "arch_prctl", "membarrier", NULL};
	/* asked whether there are objects; where none can be asked for none can be made */
	static const char *const questions[] = {"semctl", "msgctl", "shmctl", NULL};
	const struct profile profile = {
		.insns = (struct sock_filter *)((char *)p + p->profile),
		.len = p->profile_len,
	};
	const char *name = profile.len ? profile_forbids(&profile, calls) : NULL;

	if (!name && profile.len)
		name = profile_harms(&profile, questions);
	if (!name)
		return 0;
	return err_set(e, ERR_UNFORKABLE, EPERM,
		       "the profile of --seccomp does not always let '%s' run, which a fork needs",
		       name);
}
