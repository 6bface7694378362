/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox that lives: start it, run two commands in it, look at a result, remove it.
 *
 *	cc -o api api.c $(pkg-config --cflags --libs libcleave) && ./api
 */
#include <cleave/cleave.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *what)
{
	fprintf(stderr, "api: %s: %s\n", what, cleave_error());
	return 1;
}

/* Runs a shell line in the sandbox; what it prints goes to our stdout. */
static int sh(const char *sandbox, const char *line)
{
	const char *const argv[] = {"/bin/sh", "-c", line, NULL};
	struct cleave_io io = {sizeof(io), -1, 1, 2, 0};
	cleave_spec *spec = cleave_spec_new();
	cleave_result *result = NULL;
	int r = -1;

	if (spec && cleave_spec_set(spec, "timeout", "10s") == 0 &&
	    cleave_spec_argv(spec, argv) == 0 && cleave_exec(sandbox, spec, &io, &result) == 0) {
		printf("%s: %s, status %d\n", line, cleave_result_status(result),
		       cleave_result_exit(result));
		r = 0;
	}
	cleave_result_free(result);
	cleave_spec_free(spec);
	return r;
}

int main(void)
{
	cleave_spec *spec = cleave_spec_new();
	char *id = NULL;
	int r;

	if (!spec || cleave_spec_set(spec, "disk", "64M") < 0 || cleave_start(spec, &id) < 0)
		return failed("start");
	cleave_spec_free(spec);
	r = sh(id, "echo 6 > number; echo written");
	if (r == 0)
		r = sh(id, "echo $(($(cat number) * 7))");
	if (r < 0)
		r = failed("exec");
	if (cleave_rm(id, 1) < 0)
		r = failed("rm");
	free(id);
	return r;
}
