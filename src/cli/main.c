/* SPDX-License-Identifier: Apache-2.0 */
/* The `cleave` program: finds the verb, reads its options, calls its function. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/out.h"

static const struct verb *find_verb(const char *word)
{
	const struct verb *v;
	const char *near;

	if (strcmp(word, "--version") == 0)
		return &verbs[VERB_VERSION];
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return &verbs[VERB_HELP];
	v = verb_find(word);
	if (v)
		return v;
	near = verb_nearest(word);
	if (near)
		out_error(NULL, "%s: there is no such verb (did you mean `%s`?)", word, near);
	else
		out_error(NULL, "%s: there is no such verb (`cleave help` lists them)", word);
	return NULL;
}

static int show_help(const struct verb *v)
{
	AUTO_FREE char *text = help_verb(v);

	if (!text) {
		out_error(v->name, "--help: %s", strerror(ENOMEM));
		return 125;
	}
	return out_text(v->name, text);
}

int main(int argc, char **argv)
{
	struct args a = {0};
	int status;

	whole_json_watch();
	if (out_init() < 0)
		return 125;
	/* A reader that went away is an error that we report, not a death. Commands start with
	 * SIG_DFL. */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		out_error(NULL, "what shall it do? (`cleave help` lists the verbs)");
		return 125;
	}
	a.verb = find_verb(argv[1]);
	if (!a.verb)
		return 125;
	if (a.verb->flags & VERB_MAKES_SPEC) {
		a.spec = cleave_spec_new();
		if (!a.spec) {
			out_error(a.verb->name, "%s", strerror(ENOMEM));
			return 125;
		}
	}
	if (a.verb->flags & VERB_RAW) {
		a.operands = argv + 1;
		a.n_operands = argc - 1;
		return a.verb->run(&a);
	}
	status = args_parse(&a, argc - 2, argv + 2);
	if (!status)
		status = a.seen[OPT_HELP] ? show_help(a.verb) : a.verb->run(&a);
	cleave_spec_free(a.spec);
	if (!status && whole_json_lost()) {
		out_error(a.verb->name, "%s", strerror(ENOMEM));
		return 125;
	}
	return status;
}
