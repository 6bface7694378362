/* SPDX-License-Identifier: Apache-2.0 */
/* cp and diff of living sandboxes: from operands to the two sides of a copy. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "engine/client.h"
#include "engine/copy.h"
#include "engine/diff.h"
#include "engine/registry.h"
#include "lib/lib.h"

#define NAME_SIZE 64

/* "NAME:/path" to its parts: 1; 0: a path of the host, or "-"; negative: neither. */
static int inside_path(const char *operand, char name[NAME_SIZE], const char **ret_path,
		       struct err *e)
{
	size_t n = strcspn(operand, ":/");

	if (operand[n] != ':')
		return 0;
	snprintf(name, NAME_SIZE, "%.*s", (int)n, operand);
	if (n >= NAME_SIZE || !text_is_name(name)) {
		err_hint(e, "write ./%s for a file of this host", operand);
		return err_set(e, ERR_USAGE, 0, "'%s' begins with no name of a sandbox", operand);
	}
	*ret_path = operand + n + 1;
	if (**ret_path == '/')
		return 1;
	err_hint(e, "NAME:/path for a sandbox, ./%s for a file of this host", operand);
	return err_set(e, ERR_USAGE, 0, "'%s': a path inside begins with a slash", operand);
}

static int open_inside(const char *name, int *ret_fd, struct side *ret, struct err *e)
{
	uint32_t uid, gid;
	int r = client_root(name, ret_fd, &uid, &gid, e);

	return r < 0 ? r : side_inside(ret, *ret_fd, uid, gid, e);
}

/* What was left out, as the call's result and the thread's error: a failure, or a count. */
static int settle_report(const struct tree_report *report, struct err *e)
{
	uint64_t more;

	if (report->failed) {
		*e = report->first_failed;
		more = report->failed - 1;
		if (more)
			err_hint(e, "and %llu more could not be copied", (unsigned long long)more);
		return e->code ? -(int)e->code : -EIO;
	}
	if (!report->skipped)
		return 0;
	*e = report->first_skipped;
	more = report->skipped - 1;
	if (more)
		err_hint(e, "it was skipped, and %llu more", (unsigned long long)more);
	else
		err_hint(e, "it was skipped");
	return report->skipped > INT_MAX ? INT_MAX : (int)report->skipped;
}

EXPORT int cleave_copy(const char *from, const char *to, unsigned flags)
{
	struct err *e = lib_error();
	struct tree_report report = {0};
	char from_name[NAME_SIZE], to_name[NAME_SIZE];
	const char *from_path = from, *to_path = to;
	AUTO_FD int root_fd = -EBADF;
	struct copy c = {.from = side_host(), .to = side_host()};
	int from_inside, to_inside, r;

	if (flags)
		return err_set(e, ERR_USAGE, EINVAL, "cleave_copy: flags %#x", flags);
	from_inside = inside_path(from, from_name, &from_path, e);
	if (from_inside < 0)
		return from_inside;
	to_inside = inside_path(to, to_name, &to_path, e);
	if (to_inside < 0)
		return to_inside;
	if (from_inside == to_inside) {
		err_hint(e, "NAME:/path");
		return err_set(e, ERR_USAGE, 0,
			       "exactly one of '%s' and '%s' has to be inside a sandbox", from, to);
	}
	r = from_inside ? open_inside(from_name, &root_fd, &c.from, e)
			: open_inside(to_name, &root_fd, &c.to, e);
	if (r < 0)
		return r;
	c.from_path = strcmp(from, "-") ? from_path : NULL;
	c.to_path = strcmp(to, "-") ? to_path : NULL;
	c.stream_fd = from_inside ? STDOUT_FILENO : STDIN_FILENO;
	r = copy_run(&c, &report, e);
	return r < 0 ? r : settle_report(&report, e);
}

/* What the sandbox was started with, for its --tmpfs. */
static int read_spec(const char *name, struct spec *ret, struct err *e)
{
	char id[REGISTRY_ID];
	AUTO_FREE char *text = NULL;
	AUTO_FD int dir_fd = registry_open_name(name, id, e);

	if (dir_fd < 0)
		return dir_fd;
	text = registry_read(dir_fd, "spec.json");
	if (!text)
		return err_set(e, ERR_STATE, errno, "read what '%s' was started with", name);
	return spec_decode(text, strlen(text), ret, e);
}

EXPORT int cleave_diff(const char *name, int fd)
{
	struct err *e = lib_error();
	struct tree_report report = {0};
	AUTO_FD int root_fd = -EBADF, our_fd = -EBADF;
	struct side inside;
	struct spec spec;
	FILE *out;
	int r = open_inside(name, &root_fd, &inside, e);

	if (r < 0)
		return r;
	our_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	out = our_fd < 0 ? NULL : fdopen(our_fd, "w");
	if (!out)
		return err_set(e, ERR_OUTPUT, errno, "write the list");
	take_fd(&our_fd);
	spec_init(&spec);
	r = read_spec(name, &spec, e);
	if (r == 0)
		r = diff_all(&inside, &spec, out, &report, e);
	spec_done(&spec);
	if (fclose(out) != 0 && r == 0)
		r = err_set(e, ERR_OUTPUT, errno, "write the list");
	return r < 0 ? r : settle_report(&report, e);
}
