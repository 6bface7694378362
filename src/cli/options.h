/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L7: the table of options and the parser that reads a command line by it.
 *
 * The parser knows no option by name: options.def says what each one is, options.c what becomes of
 * it. It resolves no path and checks no value; the library does, and its sentence is printed as it
 * is.
 */
#pragma once

#include <cleave/cleave.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/verbs.h"

enum opt_id {
#define GROUP(text)
#define O(id, name, letter, operand, verbs, repeat, take, help) OPT_##id,
#define ALIAS(name, id)
#include "cli/options.def"
#undef GROUP
#undef O
#undef ALIAS
	OPT_N
};

struct opt {
	const char *name;
	char letter;
	const char *operand; /* as in help; NULL: a flag */
	unsigned verbs;      /* bits 1 << VERB_... */
	bool many;
	int (*take)(struct args *a, enum opt_id id, char *const *operands);
	const char *help;
};

extern const struct opt opts[OPT_N];

/* The table in the order of help: headings (id OPT_N) and the options under them. */
struct opt_line {
	enum opt_id id;
	const char *heading;
};
extern const struct opt_line opt_lines[];
extern const size_t opt_lines_n;

enum { FILTERS_MAX = 32 };

/* A command line that was read. Strings belong to argv. */
struct args {
	const struct verb *verb;
	cleave_spec *spec;        /* NULL for verbs that make none */
	bool seen[OPT_N];         /* what the take function OWN was given */
	const char *value[OPT_N]; /* NULL: no operand */
	char **operands;          /* NULL terminated */
	int n_operands;
	const char *filters[FILTERS_MAX];
	int n_filters;
};

/* How many operands an option has: 0, 1, 2; optional ones are counted. */
int opt_operands(const struct opt *o);
bool opt_is_optional(const struct opt *o);
/* Its other long name, NULL if it has none. */
const char *opt_alias(enum opt_id id);

/* The option of that long name or alias that the verb knows, OPT_N if none. */
enum opt_id opt_find(const struct verb *v, const char *name, size_t len);
enum opt_id opt_find_letter(const struct verb *v, char letter);
/* Why there is no option of that name which other tools have; NULL: not one of those. */
const char *opt_refused(const char *name);
/* The long name nearest to a wrong one, NULL when nothing is near. */
const char *opt_nearest(const struct verb *v, const char *name);

/*
 * Reads argv (after the verb) by the table, in place: operands are moved to the front of argv.
 * a->verb and, for verbs that make one, a->spec are set by the caller. Returns 0 or the exit status
 * for a command line that is wrong; the sentence is on stderr then.
 */
int args_parse(struct args *a, int argc, char **argv);

/* What the take column names. They return 0 or an exit status after a sentence on stderr. */
int opt_take_SPEC(struct args *a, enum opt_id id, char *const *operands);
int opt_take_OWN(struct args *a, enum opt_id id, char *const *operands);
int opt_take_BOTH(struct args *a, enum opt_id id, char *const *operands);
int opt_take_FILTER(struct args *a, enum opt_id id, char *const *operands);
int opt_take_ENV(struct args *a, enum opt_id id, char *const *operands);
int opt_take_ENV_FILE(struct args *a, enum opt_id id, char *const *operands);
int opt_take_VOLUME(struct args *a, enum opt_id id, char *const *operands);
int opt_take_BIND_RO(struct args *a, enum opt_id id, char *const *operands);
int opt_take_BIND_RW(struct args *a, enum opt_id id, char *const *operands);

/* cleave_spec_set, and its sentence on stderr when it fails. Returns 0 or an exit status. */
int args_spec_set(struct args *a, const char *option, const char *value);
