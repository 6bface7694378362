/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default filters with one refusal of box/syscalls.def less: linked with
 * tests/unit/kern_seccomp.c in place of kern/seccomp.c, by tools/mutate. The compiler of the
 * filters is the real one.
 *
 * CLEAVE_MUTANT=list prints the mutants and ends; CLEAVE_MUTANT=CALL lets a refused call run,
 * CALL#N takes the Nth clause of its arguments away when it refuses, its last test when it allows.
 */
#define main gen_main
#include "../../tools/gen-seccomp.c"
#undef main

#include "kern/seccomp.h"

static struct row rows[sizeof(workload_rows) / sizeof(workload_rows[0])];

static size_t tests_of(const struct clause *c)
{
	size_t n = 0;

	while (n < MAX_TESTS && c->tests[n].used)
		n++;
	return n;
}

/* Whether the clause narrows what may run, so that there is something to take away. */
static bool refuses(const struct clause *c)
{
	return c->verdict != V_ALLOW || tests_of(c) > 1;
}

static void weaken(struct row *r, size_t at)
{
	struct clause *c = &r->clauses[at];
	size_t n = tests_of(c);

	if (c->verdict == V_ALLOW)
		c->tests[n - 1] = (struct test){0};
	else if (!n) /* ELSE */
		c->verdict = V_ALLOW;
	else
		memmove(c, c + 1, (MAX_CLAUSES - at - 1) * sizeof(*c));
}

static void list(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].plain != V_ALLOW && rows[i].plain != V_ROW)
			printf("%s\n", rows[i].name);
		for (size_t k = 0; rows[i].plain == V_ROW && k < MAX_CLAUSES; k++)
			if (rows[i].clauses[k].verdict != V_NONE && refuses(&rows[i].clauses[k]))
				printf("%s#%zu\n", rows[i].name, k);
	}
}

static __attribute__((constructor)) void mutate(void)
{
	const char *want = getenv("CLEAVE_MUTANT");
	size_t len = want ? strcspn(want, "#") : 0;

	memcpy(rows, workload_rows, sizeof(rows));
	if (want && strcmp(want, "list") == 0) {
		list();
		exit(0);
	}
	for (size_t i = 0; want && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strlen(rows[i].name) != len || memcmp(rows[i].name, want, len))
			continue;
		if (want[len])
			weaken(&rows[i], strtoul(want + len + 1, NULL, 10));
		else
			rows[i].plain = rows[i].with_ptrace = rows[i].with_nest = V_ALLOW;
		return;
	}
	if (want)
		fail("no such mutant", want);
}

static struct seccomp_program program(unsigned at, struct table t, unsigned variant)
{
	static struct program made;
	static struct sock_filter insns[VARIANT_N + 1][MAX_INSNS];
	static unsigned short len[VARIANT_N + 1];

	if (!len[at]) {
		compile(&made, t, variant);
		len[at] = (unsigned short)made.n;
		for (size_t i = 0; i < made.n; i++)
			insns[at][i] = made.insns[made.n - 1 - i];
	}
	return (struct seccomp_program){insns[at], len[at]};
}

struct seccomp_program seccomp_default(unsigned flags)
{
	return program(flags & 7, TABLE(rows), flags & 7);
}

struct seccomp_program seccomp_keeper(void)
{
	return program(VARIANT_N, TABLE(keeper_rows), 0);
}
