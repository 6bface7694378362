/* SPDX-License-Identifier: Apache-2.0 */
/* The tables as JSON. Their texts are ours and ASCII, so quoting means quotes and backslashes. */
#include <stdio.h>

#include "base/err.h"
#include "cli/help.h"
#include "cli/options.h"

static void quote(FILE *f, const char *s)
{
	if (!s) {
		fputs("null", f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

static void field(FILE *f, const char *name, const char *value, const char *end)
{
	fprintf(f, "\"%s\": ", name);
	quote(f, value);
	fputs(end, f);
}

static void dump_verb(FILE *f, const struct verb *v)
{
	const char *sep = "";

	fputs("    {", f);
	field(f, "name", v->name, ", ");
	field(f, "operands", v->operands, ", ");
	field(f, "line", v->line, ", ");
	field(f, "text", v->text, ", ");
	fprintf(f, "\"stops\": %s, \"examples\": [", v->flags & VERB_STOPS ? "true" : "false");
	for (size_t i = 0; i < examples_n; i++) {
		if (examples[i].verb != v->id)
			continue;
		fprintf(f, "%s{", sep);
		field(f, "command", examples[i].command, ", ");
		field(f, "text", examples[i].text, "}");
		sep = ", ";
	}
	fputs("]}", f);
}

static void dump_option(FILE *f, enum opt_id id, const char *group)
{
	const struct opt *o = &opts[id];
	char letter[2] = {o->letter, 0};
	const char *sep = "";

	fputs("    {", f);
	field(f, "name", o->name, ", ");
	field(f, "letter", o->letter ? letter : NULL, ", ");
	field(f, "alias", opt_alias(id), ", ");
	field(f, "operand", o->operand, ", ");
	field(f, "group", group, ", ");
	field(f, "help", o->help, ", ");
	fprintf(f, "\"many\": %s, \"verbs\": [", o->many ? "true" : "false");
	for (int v = 0; v < VERB_N; v++)
		if (o->verbs & (1u << v) && !(verbs[v].flags & VERB_HIDDEN)) {
			fputs(sep, f);
			quote(f, verbs[v].name);
			sep = ", ";
		}
	fputs("]}", f);
}

char *help_dump(void)
{
	const char *group = NULL, *sep = "";
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fprintf(f, "{\n  \"version\": \"%s\",\n  \"verbs\": [\n", cleave_version());
	for (int v = 0; v < VERB_N; v++)
		if (!(verbs[v].flags & VERB_HIDDEN)) {
			fputs(sep, f);
			dump_verb(f, &verbs[v]);
			sep = ",\n";
		}
	fputs("\n  ],\n  \"options\": [\n", f);
	sep = "";
	for (size_t i = 0; i < opt_lines_n; i++) {
		if (opt_lines[i].id == OPT_N) {
			group = opt_lines[i].heading;
			continue;
		}
		fputs(sep, f);
		dump_option(f, opt_lines[i].id, group);
		sep = ",\n";
	}
	fputs("\n  ],\n  \"session\": [", f);
	for (size_t i = 0; i < examples_n; i++) {
		fputs(i ? ",\n    " : "\n    ", f);
		quote(f, examples[i].command);
	}
	fputs("\n  ],\n  \"errors\": [\n", f);
	for (int e = ERR_NONE + 1; e < ERR_N; e++) {
		fprintf(f, "    {\"id\": \"%s\", \"status\": %d, ", err_name((enum err_id)e),
			err_status((enum err_id)e));
		field(f, "help", err_help((enum err_id)e), e + 1 < ERR_N ? "},\n" : "}\n");
	}
	fputs("  ]\n}\n", f);
	return fclose(f) ? NULL : text;
}
