/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox that forks: three clones go on from what a program has in its memory, each by itself;
 * a snapshot brings the program back to where it was.
 *
 *	cc -o fork fork.c $(pkg-config --cflags --libs libcleave) && ./fork
 */
#include <cleave/cleave.h>
#include <stdio.h>

#define CLONES 3

/* Adds what it finds in a file to a sum in its memory, and tells that in another file. */
static const char *const worker[] = {"/bin/sh", "-c",
				     "while sleep 0.01; do [ -e add ] || continue;"
				     " sum=$((sum + $(cat add))); echo $sum > sum; rm add; done",
				     NULL};

/* Gives the worker of a sandbox a number; what it has by then goes to our stdout. */
static int add(const char *sandbox, const char *number)
{
	const char *const argv[] = {"/bin/sh", "-c",
				    "echo $0 > new; mv new add; while [ -e add ]; do sleep 0.01;"
				    " done; echo \"$(uname -n): $(cat sum)\"",
				    number, NULL};
	struct cleave_io io = {sizeof(io), -1, 1, 2, 0};
	cleave_spec *spec = cleave_spec_new();
	cleave_result *result = NULL;
	int r = -1;

	if (spec && cleave_spec_set(spec, "timeout", "10s") == 0 &&
	    cleave_spec_argv(spec, argv) == 0)
		r = cleave_exec(sandbox, spec, &io, &result);
	cleave_result_free(result);
	cleave_spec_free(spec);
	return r;
}

int main(void)
{
	const char *const clones[CLONES] = {"sum-a", "sum-b", "sum-c"};
	const char *const numbers[CLONES] = {"1", "2", "3"};
	cleave_spec *spec = cleave_spec_new();
	int bad = !spec || cleave_spec_set(spec, "name", "sum") < 0 ||
		  cleave_spec_argv(spec, worker) < 0 || cleave_start(spec, NULL) < 0;

	bad = bad || add("sum", "40") < 0 || cleave_snapshot("sum", "forty", 0) < 0 ||
	      cleave_fork("sum", clones, CLONES, NULL, NULL) < 0;
	for (int i = 0; i < CLONES; i++)
		bad = bad || add(clones[i], numbers[i]) < 0;              /* 41, 42, 43 */
	bad = bad || add("sum", "60") < 0 ||                              /* 100 */
	      cleave_rollback("sum", "forty") < 0 || add("sum", "4") < 0; /* 44 */
	if (bad)
		fprintf(stderr, "fork: %s\n", cleave_error());
	for (int i = 0; i < CLONES; i++)
		cleave_rm(clones[i], 1);
	cleave_rm("sum", 1);
	cleave_snapshot_rm("forty");
	cleave_spec_free(spec);
	return bad;
}
