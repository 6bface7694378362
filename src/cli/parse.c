/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a command line by the table of options. It accepts what people's fingers know: --opt value
 * and
 * --opt=value, -x value and -xvalue, clusters of flags (-it), `--` before operands.
 */
#include <string.h>

#include "cli/options.h"
#include "cli/out.h"

struct reader {
	struct args *a;
	char **argv; /* NULL terminated */
	int at;
};

static int complain_unknown(const struct verb *v, const char *name)
{
	const char *near = opt_nearest(v, name);
	const char *why = v->flags & VERB_MAKES_SPEC ? opt_refused(name) : NULL;

	if (why)
		out_error(v->name, "--%s: %s", name, why);
	else if (near)
		out_error(v->name, "--%s: unknown option (did you mean --%s?)", name, near);
	else
		out_error(v->name, "--%s: unknown option (`cleave help %s` lists them)", name,
			  v->name);
	return 125;
}

/* Takes what the option needs from the words that follow. first: an operand that is attached, or
 * NULL. */
static int take(struct reader *r, enum opt_id id, char *first)
{
	const struct opt *o = &opts[id];
	char *operands[2] = {first, NULL};
	int need = opt_is_optional(o) ? 0 : opt_operands(o);

	for (int i = first ? 1 : 0; i < need; i++) {
		if (!r->argv[r->at]) {
			out_error(r->a->verb->name, "--%s: it needs %s%s", o->name, o->operand,
				  need == 2 ? ", two words" : "");
			return 125;
		}
		operands[i] = r->argv[r->at++];
	}
	return o->take(r->a, id, operands);
}

static int read_long(struct reader *r, char *word)
{
	const struct verb *v = r->a->verb;
	char *value = strchr(word, '=');
	enum opt_id id = opt_find(v, word, value ? (size_t)(value - word) : strlen(word));

	if (value)
		*value++ = 0;
	if (id == OPT_N)
		return complain_unknown(v, word);
	if (value && !opts[id].operand) {
		out_error(v->name, "--%s: it takes no value", word);
		return 125;
	}
	if (value && opt_operands(&opts[id]) == 2) {
		out_error(v->name, "--%s: it takes two words (--%s %s)", word, word,
			  opts[id].operand);
		return 125;
	}
	return take(r, id, value);
}

static int read_letters(struct reader *r, char *letters)
{
	for (; *letters; letters++) {
		enum opt_id id = opt_find_letter(r->a->verb, *letters);
		int status;

		if (id == OPT_N) {
			out_error(r->a->verb->name,
				  "-%c: unknown option (`cleave help %s` lists them)", *letters,
				  r->a->verb->name);
			return 125;
		}
		if (opts[id].operand && letters[1])
			return take(r, id, letters + 1 + (letters[1] == '='));
		status = take(r, id, NULL);
		if (status)
			return status;
	}
	return 0;
}

int args_parse(struct args *a, int argc, char **argv)
{
	struct reader r = {a, argv, 0};
	int n = 0;

	while (r.at < argc) {
		char *word = argv[r.at];
		int status;

		if (strcmp(word, "--") == 0) {
			r.at++;
			break;
		}
		if (word[0] != '-' || !word[1]) {
			if (a->verb->flags & VERB_STOPS)
				break;
			argv[n++] = word;
			r.at++;
			continue;
		}
		r.at++;
		status = word[1] == '-' ? read_long(&r, word + 2) : read_letters(&r, word + 1);
		if (status)
			return status;
	}
	while (r.at < argc)
		argv[n++] = argv[r.at++];
	argv[n] = NULL;
	a->operands = argv;
	a->n_operands = n;
	return 0;
}
