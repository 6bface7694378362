/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/out.h"

#include <cleave/cleave.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

static int error_fd = 2;
static bool stdout_was_closed;

int out_init(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (fd == 1)
			stdout_was_closed = true;
		/* The lowest free number is this one: all below are open by now. */
		if (open("/dev/null", O_RDWR) < 0) /* check-allow: open, commands inherit it */
			return -errno;
	}
	return 0;
}

/* All or an errno. A descriptor that somebody else made non-blocking is waited for by its short
 * writes. */
static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

void out_error_to(int fd)
{
	error_fd = fd;
}

void out_error(const char *verb, const char *fmt, ...)
{
	char raw[2048], line[4096];
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	n = (size_t)snprintf(line, sizeof(line), "cleave%s%s: ", verb ? " " : "", verb ? verb : "");
	text_escape(raw, strlen(raw), line + n, sizeof(line) - n - 1);
	n = strlen(line);
	line[n++] = '\n';
	ignore_err(write_all(error_fd, line, n), "there is no further place to say it");
}

int out_cleave_error(const char *verb)
{
	int status = cleave_error_status();

	out_error(verb, "%s", cleave_error());
	return status ? status : 125;
}

static int complain(const char *verb, const char *name, int code)
{
	out_error(verb, "%s: the output can't be written: %s", name, strerror(code));
	return 125;
}

int out_text(const char *verb, const char *text)
{
	int r = stdout_was_closed ? -EBADF : write_all(1, text, strlen(text));

	return r < 0 ? complain(verb, "stdout", -r) : 0;
}

/* Also when --stdout or --stderr puts a file on that descriptor: the place stays what it was. */
static int json_keep(struct out_json *j, const char *verb, int fd)
{
	j->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	j->owned = j->fd >= 0;
	return j->fd < 0 ? complain(verb, j->name, errno) : 0;
}

static int json_open_fd(struct out_json *j, const char *verb, const char *operand)
{
	uint64_t fd;
	int flags;

	if (text_parse_uint(operand + 3, 0, INT32_MAX, &fd) < 0) {
		out_error(verb, "--json=%s: not a descriptor (--json=fd:N with a number)", operand);
		return 125;
	}
	flags = fcntl((int)fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
		out_error(verb, "--json=%s: %s", operand,
			  flags < 0 ? "no such descriptor is open" : "it is not open for writing");
		return 125;
	}
	if (fd <= 2)
		return json_keep(j, verb, (int)fd);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC); /* the caller's, not the sandbox's */
	j->fd = (int)fd;
	return 0;
}

int out_json_open(struct out_json *j, const char *verb, const char *operand)
{
	*j = (struct out_json){.fd = 1, .name = operand ? operand : "stdout"};
	if (!operand)
		return stdout_was_closed ? complain(verb, "stdout", EBADF) : json_keep(j, verb, 1);
	if (strncmp(operand, "fd:", 3) == 0)
		return json_open_fd(j, verb, operand);
	j->fd = open(operand, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	j->owned = true;
	return j->fd < 0 ? complain(verb, operand, errno) : 0;
}

int out_json_write(struct out_json *j, const char *verb, const char *text)
{
	int r = write_all(j->fd, text, strlen(text));

	if (r == 0)
		r = write_all(j->fd, "\n", 1);
	/* Network file systems tell of a full disk only here. */
	if (j->owned && close(j->fd) < 0 && r == 0)
		r = -errno;
	j->owned = false;
	return r < 0 ? complain(verb, j->name, -r) : 0;
}
