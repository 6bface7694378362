/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

/* Puts FILE on a standard descriptor. The sandbox never gets the file itself, only what is relayed.
 */
static int redirect(struct args *a, enum opt_id id, int to, int flags)
{
	AUTO_FD int fd = -EBADF;
	struct stat st, out;

	if (!a->seen[id])
		return 0;
	fd = open(a->value[id], flags | O_CLOEXEC | O_NOCTTY, 0666);
	/* both outputs into one file: one offset, or each would overwrite what the other wrote */
	if (fd >= 0 && id == OPT_STDERR && a->seen[OPT_STDOUT] && fstat(fd, &st) == 0 &&
	    fstat(1, &out) == 0 && st.st_dev == out.st_dev && st.st_ino == out.st_ino) {
		close_fd(&fd);
		fd = fcntl(1, F_DUPFD_CLOEXEC, 3);
	}
	if (fd < 0 || dup2(fd, to) < 0) {
		out_error(a->verb->name, "--%s %s: %s", opts[id].name, a->value[id],
			  strerror(errno));
		return 125;
	}
	if (to == 0)
		return 0;
	/* what goes into a file is not captured */
	return args_spec_set(a, "pass", to == 1 ? "stdout" : "stderr");
}

int command_redirect(struct args *a)
{
	int status = redirect(a, OPT_STDIN, 0, O_RDONLY);

	if (!status)
		status = redirect(a, OPT_STDOUT, 1, O_WRONLY | O_CREAT | O_TRUNC);
	if (!status && a->seen[OPT_STDERR]) {
		int ours = fcntl(2, F_DUPFD_CLOEXEC, 3);

		if (ours >= 0)
			out_error_to(ours);
		status = redirect(a, OPT_STDERR, 2, O_WRONLY | O_CREAT | O_TRUNC);
	}
	return status;
}

int command_json_open(struct args *a, struct out_json *json)
{
	int status;

	if (!a->seen[OPT_JSON])
		return 0;
	status = out_json_open(json, a->verb->name, a->value[OPT_JSON]);
	if (!status && !a->value[OPT_JSON])
		status = args_spec_set(a, "capture", NULL);
	return status;
}

int command_report(struct args *a, const cleave_result *result, struct out_json *json)
{
	const char *message = cleave_result_message(result);
	int status = cleave_result_exit(result);
	bool failed = strcmp(cleave_result_status(result), "setup_error") == 0;

	if (a->seen[OPT_JSON]) {
		AUTO_FREE char *text = cleave_result_json(result);

		if (!text) {
			out_error(a->verb->name, "--json: %s", strerror(ENOMEM));
			status = 125;
		} else if (out_json_write(json, a->verb->name, text)) {
			status = 125;
		}
	}
	if (message && (failed || !a->seen[OPT_QUIET]))
		out_error(a->verb->name, "%s", message);
	return status;
}

int operands_check(struct args *a, int min, int max)
{
	if (a->n_operands > max) {
		out_error(a->verb->name, "%s: one operand too many (cleave %s %s)",
			  a->operands[max], a->verb->name, a->verb->operands);
		return 125;
	}
	if (a->n_operands < min) {
		out_error(a->verb->name, "an operand is missing (cleave %s %s)", a->verb->name,
			  a->verb->operands);
		return 125;
	}
	return 0;
}

int operands_each(struct args *a, int (*fn)(struct args *a, const char *name))
{
	int status = operands_check(a, 1, INT_MAX);

	if (status)
		return status;
	for (int i = 0; i < a->n_operands; i++) {
		int one = fn(a, a->operands[i]);

		if (one)
			status = one;
	}
	return status;
}

int args_time(struct args *a, enum opt_id id, uint64_t other, uint64_t *ret_ns)
{
	*ret_ns = other;
	if (!a->seen[id] || text_parse_time(a->value[id], ret_ns) == 0)
		return 0;
	out_error(a->verb->name, "--%s '%s': a time like 10, 1.5s, 200ms or 2m is expected",
		  opts[id].name, a->value[id]);
	return 125;
}
