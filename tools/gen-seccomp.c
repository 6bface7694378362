/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Build tool: compiles box/syscalls.def into classic BPF, one program for each combination of
 * variants, and engine/keeper_calls.def into one more; prints a C header with them (kern/seccomp.c
 * includes it).
 *
 * Shape of a program: architecture, x32 bit, then a binary search over ranges of numbers that share
 * an action, each leaf a return or the clauses of one row; returns and equal rows are shared.
 *
 * Loading a filter is on the path of every start: the kernel translates it (about 0.2 us an
 * instruction) and runs it once for every number. This shape has 160 instructions and loads in 60
 * us; libseccomp's binary tree has a node for each number instead of each range (about 400, 80 us),
 * a linear list costs 280 us. libseccomp also can't say "all but this value of the low 32 bits",
 * which half of the argument rows need.
 *
 * Runs on the building machine and uses its system call numbers, hence native builds only. Needs no
 * system call but write. tests/unit/kern_seccomp.c checks the result with an interpreter of its
 * own.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "no system call policy for this architecture"
#endif

enum verdict { V_NONE, V_ALLOW, V_EPERM, V_ENOSYS, V_NOPROTO, V_PRETEND, V_KILL, V_ROW };
enum variant { SHARED = 1, PTRACE_OK = 2, NEST_OK = 4, VARIANT_N = 8 };

#define MAX_TESTS 4
#define MAX_CLAUSES 12
#define MAX_NR 1024
#define MAX_INSNS 4096

struct test {
	uint8_t used, arg, high;
	uint32_t mask, value;
};

struct clause {
	enum verdict verdict; /* V_NONE ends the list */
	unsigned only;        /* the clause is there in these variants alone; 0: in all */
	struct test tests[MAX_TESTS];
};

struct row {
	const char *name;
	int nr;
	enum verdict plain, with_ptrace, with_nest; /* V_ROW: the clauses decide */
	struct clause clauses[MAX_CLAUSES];
};

#define BITS(arg, mask, value)         \
	{                              \
		1, arg, 0, mask, value \
	}
#define HIGH(arg, value)              \
	{                             \
		1, arg, 1, ~0u, value \
	}
#define ON(v, ...)                  \
	{                           \
		V_##v, 0,           \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define ON_SHARED(v, ...)           \
	{                           \
		V_##v, SHARED,      \
		{                   \
			__VA_ARGS__ \
		}                   \
	}
#define ELSE_NEST(v)              \
	{                         \
		V_##v, NEST_OK,   \
		{                 \
			{         \
				0 \
			}         \
		}                 \
	}
#define ELSE(v)                   \
	{                         \
		V_##v, 0,         \
		{                 \
			{         \
				0 \
			}         \
		}                 \
	}
#define ALLOW(n) {#n, __NR_##n, V_ALLOW, V_ALLOW, V_ALLOW, {{0}}},
#define DENY(n, why) {#n, __NR_##n, V_EPERM, V_EPERM, V_EPERM, {{0}}},
#define ABSENT(n, why) {#n, __NR_##n, V_ENOSYS, V_ENOSYS, V_ENOSYS, {{0}}},
#define PTRACE(n, why) {#n, __NR_##n, V_EPERM, V_ALLOW, V_EPERM, {{0}}},
#define NEST(n, why) {#n, __NR_##n, V_EPERM, V_EPERM, V_ALLOW, {{0}}},
#define NEST_ABSENT(n, why) {#n, __NR_##n, V_ENOSYS, V_ENOSYS, V_ALLOW, {{0}}},
#define ARGS(n, why, ...) {#n, __NR_##n, V_ROW, V_ROW, V_ROW, {__VA_ARGS__}},

static const struct row workload_rows[] = {
#include "box/syscalls.def"
};

static const struct row keeper_rows[] = {
#include "engine/keeper_calls.def"
};

/* One policy. */
struct table {
	const struct row *rows;
	size_t n;
};
#define TABLE(rows) ((struct table){rows, sizeof(rows) / sizeof(rows[0])})

/* A run of numbers [from, next range's from) with one action. */
struct range {
	uint32_t from;
	enum verdict verdict;
	const struct row *row;
};

/*
 * Programs are built from the last instruction to the first, since classic BPF jumps forward only:
 * whoever is jumped to exists already. A label is a place counted from the end.
 */
struct program {
	struct sock_filter insns[MAX_INSNS]; /* last one first */
	size_t n;
	size_t returns[V_ROW + 1]; /* label + 1 of the nearest return of each verdict; 0: none */
	const struct row *row[MAX_NR]; /* rows that have code already, and where */
	size_t row_label[MAX_NR], n_rows;
};

_Noreturn static void fail(const char *what, const char *name)
{
	fprintf(stderr, "gen-seccomp: %s: %s\n", what, name);
	exit(1);
}

static size_t emit(struct program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (p->n == MAX_INSNS)
		fail("program", "too long");
	p->insns[p->n] = (struct sock_filter){code, jt, jf, k};
	return p->n++;
}

static size_t emit_load(struct program *p, size_t offset)
{
	return emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Distance from the instruction that is emitted next. */
static size_t distance(const struct program *p, size_t label)
{
	return p->n - label - 1;
}

static uint32_t return_value(enum verdict v)
{
	switch (v) {
	case V_ALLOW:
		return SECCOMP_RET_ALLOW;
	case V_EPERM:
		return SECCOMP_RET_ERRNO | EPERM;
	case V_ENOSYS:
		return SECCOMP_RET_ERRNO | ENOSYS;
	case V_NOPROTO:
		return SECCOMP_RET_ERRNO | EPROTONOSUPPORT;
	case V_PRETEND:
		return SECCOMP_RET_ERRNO | 0;
	case V_KILL:
		return SECCOMP_RET_KILL_PROCESS;
	case V_NONE:
	case V_ROW:
		break;
	}
	fail("verdict", "none");
}

/* A return within reach of the next two instructions (a test and a step before it). */
static size_t emit_return(struct program *p, enum verdict v)
{
	if (!p->returns[v] || distance(p, p->returns[v] - 1) > 250)
		p->returns[v] = 1 + emit(p, BPF_RET | BPF_K, return_value(v), 0, 0);
	return p->returns[v] - 1;
}

/* A label that an 8-bit jump of the next instructions reaches. */
static size_t within_reach(struct program *p, size_t label)
{
	if (distance(p, label) <= 250)
		return label;
	return emit(p, BPF_JMP | BPF_JA, (uint32_t)distance(p, label), 0, 0);
}

static size_t emit_test(struct program *p, uint16_t how, uint32_t k, size_t yes, size_t no)
{
	yes = within_reach(p, yes);
	no = within_reach(p, no);
	return emit(p, BPF_JMP | how | BPF_K, k, (uint8_t)distance(p, yes),
		    (uint8_t)distance(p, no));
}

/* Low half first on every architecture that is accepted above. */
static size_t arg_offset(const struct test *t)
{
	return offsetof(struct seccomp_data, args) + 8u * t->arg + (t->high ? 4u : 0u);
}

/* True when the accumulator still holds what the first test of `c` wants after `before` failed. */
static bool still_held(const struct clause *before, const struct clause *c)
{
	return before && !before->tests[1].used && before->tests[0].mask == ~0u &&
	       arg_offset(&before->tests[0]) == arg_offset(&c->tests[0]);
}

/* One clause; every test that fails goes on to `next`. */
static size_t emit_clause(struct program *p, const struct clause *c, const struct clause *before,
			  size_t next)
{
	size_t label = emit_return(p, c->verdict), i = 0;

	while (i < MAX_TESTS && c->tests[i].used)
		i++;
	while (i--) {
		const struct test *t = &c->tests[i];

		label = emit_test(p, BPF_JEQ, t->value, label, next);
		if (t->mask != ~0u)
			label = emit(p, BPF_ALU | BPF_AND | BPF_K, t->mask, 0, 0);
		if (i || !still_held(before, c))
			label = emit_load(p, arg_offset(t));
	}
	return label;
}

/* The clauses of a row that hold in this variant, up to the one without a test. */
static size_t emit_clauses(struct program *p, const struct row *r, unsigned variant)
{
	const struct clause *live[MAX_CLAUSES], *c;
	size_t n = 0, label;

	for (c = r->clauses; c < r->clauses + MAX_CLAUSES && c->verdict != V_NONE; c++) {
		if (c->only & ~variant)
			continue;
		live[n++] = c;
		if (!c->tests[0].used && c->only)
			break; /* it decides in this variant, whatever follows */
	}
	if (!n || live[n - 1]->tests[0].used)
		fail("row does not end with ELSE", r->name);
	label = emit_return(p, live[--n]->verdict);
	while (n--) {
		if (!live[n]->tests[0].used)
			fail("ELSE is not the last clause", r->name);
		label = emit_clause(p, live[n], n ? live[n - 1] : NULL, label);
	}
	return label;
}

/* Rows with the same clauses share their code. */
static size_t emit_row(struct program *p, const struct row *r, unsigned variant)
{
	size_t i;

	for (i = 0; i < p->n_rows; i++)
		if (memcmp(p->row[i]->clauses, r->clauses, sizeof(r->clauses)) == 0)
			return p->row_label[i];
	p->row[i] = r;
	p->row_label[i] = emit_clauses(p, r, variant);
	p->n_rows++;
	return p->row_label[i];
}

/* A row whose first clause in this variant asks nothing is a plain verdict: the kernel can then
 * remember the answer and skips the program. */
static enum verdict row_verdict(const struct row *r, unsigned variant)
{
	enum verdict v = variant & PTRACE_OK && r->with_ptrace != r->plain ? r->with_ptrace
			 : variant & NEST_OK                               ? r->with_nest
									   : r->plain;
	const struct clause *c = r->clauses;

	if (v != V_ROW)
		return v;
	while (c < r->clauses + MAX_CLAUSES && c->verdict != V_NONE && c->only & ~variant)
		c++;
	return c->verdict != V_NONE && !c->tests[0].used ? c->verdict : V_ROW;
}

static size_t make_ranges(struct range *out, struct table t, unsigned variant)
{
	const struct row *by_nr[MAX_NR] = {0};
	size_t n = 0, i;

	for (i = 0; i < t.n; i++) {
		const struct row *r = &t.rows[i];

		if (r->nr < 0 || r->nr >= MAX_NR)
			fail("number out of bounds", r->name);
		if (by_nr[r->nr])
			fail("two rows", r->name);
		by_nr[r->nr] = r;
	}
	for (i = 0; i < MAX_NR; i++) {
		enum verdict v = by_nr[i] ? row_verdict(by_nr[i], variant) : V_ENOSYS;

		if (n && v != V_ROW && out[n - 1].verdict == v)
			continue;
		out[n++] = (struct range){(uint32_t)i, v, by_nr[i]};
	}
	return n;
}

static size_t emit_search(struct program *p, const struct range *r, size_t n, unsigned variant)
{
	size_t half = n / 2, left, right;

	if (n == 1)
		return r->verdict == V_ROW ? emit_row(p, r->row, variant)
					   : emit_return(p, r->verdict);
	right = emit_search(p, r + half, n - half, variant);
	left = emit_search(p, r, half, variant);
	return emit_test(p, BPF_JGE, r[half].from, right, left);
}

static void compile(struct program *p, struct table t, unsigned variant)
{
	struct range ranges[MAX_NR];
	size_t n = make_ranges(ranges, t, variant), label;

	memset(p, 0, sizeof(*p));
	label = emit_search(p, ranges, n, variant);
#ifdef X32_BIT
	/* -1 is no x32 number: a tracer writes it to skip a call. */
	size_t odd = emit_test(p, BPF_JEQ, ~0u, emit_return(p, V_ENOSYS), emit_return(p, V_KILL));

	label = emit_test(p, BPF_JGE, X32_BIT, odd, label);
#endif
	label = emit_load(p, offsetof(struct seccomp_data, nr));
	emit_test(p, BPF_JEQ, NATIVE_ARCH, label, emit_return(p, V_KILL));
	emit_load(p, offsetof(struct seccomp_data, arch));
}

static void print_program(const struct program *p, const char *name)
{
	size_t i = p->n;

	printf("\nstatic const struct sock_filter seccomp_program_%s[] = {", name);
	while (i--) {
		const struct sock_filter *f = &p->insns[i];

		printf("\n\t{0x%02x, %u, %u, 0x%x},", f->code, f->jt, f->jf, f->k);
	}
	printf("\n};\n");
}

/* For profiles of the user's, and for CLEAVE_TEST_WITHOUT=deny:CALL. */
static void print_numbers(void)
{
	printf("\nstatic const struct {\n\tconst char *name;\n"
	       "\tunsigned nr;\n} seccomp_numbers[] = {\n");
	for (size_t i = 0; i < TABLE(workload_rows).n; i++)
		printf("\t{\"%s\", %d},\n", workload_rows[i].name, workload_rows[i].nr);
	printf("};\n");
}

int main(void)
{
	static struct program p;
	char name[] = "0";
	unsigned v;

	printf("/* Made by tools/gen-seccomp from syscalls.def and keeper_calls.def. */\n"
	       "#pragma once\n\n#include <linux/filter.h>\n");
	for (v = 0; v < VARIANT_N; v++) {
		name[0] = (char)('0' + v);
		compile(&p, TABLE(workload_rows), v);
		print_program(&p, name);
	}
	compile(&p, TABLE(keeper_rows), 0);
	print_program(&p, "keeper");
	print_numbers();
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
