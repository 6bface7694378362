/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "engine/run.h"
#include "engine/stream.h"
#include "lib/keepers.h"
#include "lib/lib.h"

/* Is the caller the only thread of its process? Without /proc we can't know and the launch will say
 * so. */
static bool single_threaded(void)
{
	struct stat st;

	/* a link for each thread, and two that every directory has */
	return stat("/proc/self/task", &st) < 0 || st.st_nlink <= 3;
}

void lib_result_message(struct cleave_result *res)
{
	const struct result *r = &res->r;
	enum limit_id which;
	char asked[32];

	switch (r->status) {
	case RESULT_SETUP_ERROR:
		err_format(&r->error, res->message, sizeof(res->message));
		break;
	case RESULT_TIMEOUT:
		snprintf(res->message, sizeof(res->message),
			 "stopped: the time limit of %g s is over",
			 (double)r->limits[LIMIT_TIMEOUT].asked / 1e9);
		break;
	case RESULT_MEMORY_LIMIT:
		text_format_size(r->limits[LIMIT_MEMORY].asked, asked, sizeof(asked));
		snprintf(res->message, sizeof(res->message),
			 "killed: the memory limit of %s was reached", asked);
		break;
	case RESULT_OUTPUT_LIMIT:
		which = r->limits[LIMIT_STDOUT].hit   ? LIMIT_STDOUT
			: r->limits[LIMIT_STDERR].hit ? LIMIT_STDERR
						      : LIMIT_OUTPUT;
		text_format_size(r->limits[which].asked, asked, sizeof(asked));
		snprintf(res->message, sizeof(res->message), "stopped: it wrote more than %s%s",
			 asked,
			 which == LIMIT_STDOUT   ? " to stdout"
			 : which == LIMIT_STDERR ? " to stderr"
						 : "");
		break;
	case RESULT_CPU_LIMIT:
		snprintf(res->message, sizeof(res->message),
			 "stopped: the processor time limit of %g s is over",
			 (double)r->limits[LIMIT_CPU_TIME].asked / 1e9);
		break;
	case RESULT_DISK_LIMIT:
		snprintf(
			res->message, sizeof(res->message),
			"the command failed and the sandbox's disk is full (--disk gives it more)");
		break;
	default:
		for (size_t i = 0; i < r->n_outs && !res->message[0]; i++)
			if (r->outs[i].error[0])
				snprintf(res->message, sizeof(res->message), "--out %.100s: %s",
					 r->outs[i].inside, r->outs[i].error);
		break;
	}
}

/*
 * With a name the sandbox has a keeper of its own, which others can talk to; we bring the streams,
 * and our end is its end.
 */
static void run_named(const struct spec *spec, struct result *res)
{
	struct stream_io io = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, true};
	struct spec own = *spec;
	char id[REGISTRY_ID];

	if (spec->outs.n) {
		err_set(&res->error, ERR_USAGE, 0,
			"--out can't be had with --name: what it names goes with the sandbox");
		err_hint(&res->error, "leave the name out, or `cleave start` and `cleave cp`");
		result_settle(res);
		return;
	}
	own.remove = true;
	own.command.stdin_open = true;
	if (start_keeper(&own, true, id, &res->error) < 0 ||
	    stream_run(id, &own, &io, res, &res->error) < 0)
		res->status = RESULT_SETUP_ERROR;
	result_settle(res);
}

EXPORT int cleave_run_here(const cleave_spec *spec, cleave_result **ret)
{
	struct err *e = lib_error();
	struct cleave_result *res;

	if (!single_threaded())
		return err_set(e, ERR_STATE, EBUSY,
			       "cleave_run_here: the calling process has several threads");
	res = calloc(1, sizeof(*res));
	if (!res)
		return err_set(e, ERR_INTERNAL, ENOMEM, "make a result");
	result_init(&res->r);
	/* the checked copy is ours: normalised paths must not change the caller's spec */
	if (lib_spec_ready(spec, &res->r.error) < 0)
		result_settle(&res->r);
	else if (spec->s.name)
		run_named(&spec->s, &res->r);
	else
		run_command(&spec->s, &res->r);
	lib_result_message(res);
	*ret = res;
	return 0;
}

EXPORT void cleave_result_free(cleave_result *r)
{
	if (!r)
		return;
	result_done(&r->r);
	free(r);
}

EXPORT char *cleave_result_json(const cleave_result *r)
{
	return result_encode(&r->r);
}

EXPORT const char *cleave_result_status(const cleave_result *r)
{
	return result_status_name(r->r.status);
}

EXPORT int cleave_result_exit(const cleave_result *r)
{
	return r->r.cleave_status;
}

EXPORT const char *cleave_result_message(const cleave_result *r)
{
	return r->message[0] ? r->message : NULL;
}
