/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "cli/options.h"

enum { WIDTH = 79, COLUMN = 30 };

/* Prints words filled to the width; `at` is where the cursor is, `indent` where further lines
 * begin. */
static void fill(FILE *f, const char *text, int at, int indent)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (at > indent && at + 1 + len > WIDTH) {
			fprintf(f, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			fputc(' ', f);
			at++;
		}
		fprintf(f, "%.*s", len, text);
		at += len;
		text += len;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

static void print_option(FILE *f, enum opt_id id)
{
	const struct opt *o = &opts[id];
	const char *alias = opt_alias(id);
	char left[80], text[512];
	int n;

	n = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
		     o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
		     o->operand ? (opt_is_optional(o) ? "[=" : " ") : "",
		     o->operand ? o->operand + opt_is_optional(o) : "");
	snprintf(text, sizeof(text), "%s%s%s%s%s", o->help, alias ? " (also --" : "",
		 alias ? alias : "", alias ? ")" : "", o->many ? " (repeatable)" : "");
	fputs(left, f);
	if (n >= COLUMN)
		fprintf(f, "\n%*s", COLUMN, "");
	else
		fprintf(f, "%*s", COLUMN - n, "");
	fill(f, text, COLUMN, COLUMN);
}

char *help_overview(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("Usage: cleave VERB [OPTION...] [OPERAND...]\n\n", f);
	for (int i = 0; i < VERB_N; i++)
		if (!(verbs[i].flags & VERB_HIDDEN)) {
			fprintf(f, "  %-10s", verbs[i].name);
			fill(f, verbs[i].line, 12, 12);
		}
	fputs("\n`cleave help VERB` shows the options of a verb.\n", f);
	return fclose(f) ? NULL : text;
}

/* A command is never broken, for it is there to be copied. */
static void print_examples(FILE *f, const struct verb *v)
{
	const char *heading = "\nExamples:\n";

	for (size_t i = 0; i < examples_n; i++) {
		if (examples[i].verb != v->id)
			continue;
		fprintf(f, "%s  %s\n%*s", heading, examples[i].command, 8, "");
		fill(f, examples[i].text, 8, 8);
		heading = "";
	}
}

char *help_verb(const struct verb *v)
{
	const char *heading = NULL;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fprintf(f, "Usage: cleave %s [OPTION...]%s%s\n\n", v->name, *v->operands ? " " : "",
		v->operands);
	fill(f, v->text, 0, 0);
	for (size_t i = 0; i < opt_lines_n; i++) {
		enum opt_id id = opt_lines[i].id;

		if (id == OPT_N) {
			heading = opt_lines[i].heading;
			continue;
		}
		if (!(opts[id].verbs & (1u << v->id)))
			continue;
		if (heading)
			fprintf(f, "\n%s:\n", heading);
		heading = NULL;
		print_option(f, id);
	}
	if (v->flags & VERB_MAKES_SPEC)
		fputs("\nSIZE: bytes, or k m g t (powers of 1024). TIME: seconds, or ms s m h.\n",
		      f);
	print_examples(f, v);
	return fclose(f) ? NULL : text;
}
