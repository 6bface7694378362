/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of command lines, against a library that only writes down what it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/out.h"

/* ---- the library, as far as the parser knows it ---- */

static char told[4096];
static const char *refuse; /* the option that the library finds unusable */

struct cleave_spec {
	int unused;
};

int cleave_spec_set(cleave_spec *spec, const char *option, const char *value)
{
	size_t n = strlen(told);

	(void)spec;
	if (refuse && strcmp(refuse, option) == 0)
		return -22;
	snprintf(told + n, sizeof(told) - n, "%s=%s;", option, value ? value : "(none)");
	return 0;
}

const char *cleave_error(void)
{
	return "--memory 12q: not a size (64M)";
}

int cleave_error_status(void)
{
	return 125;
}

const char *cleave_version(void)
{
	return "0";
}

#define V(id, name, flags, operands, line, text) \
	int cmd_##name(struct args *a)           \
	{                                        \
		(void)a;                         \
		return 0;                        \
	}
#include "cli/verbs.def"
#undef V

/* ---- a command line and what came of it ---- */

static struct cleave_spec spec;
static struct args a;
static char said[4096];
static char line[1024], *words[64];

/* Parses `text`, cut at spaces, for a verb. Returns the status; stderr is in said. */
static int parse(enum verb_id verb, const char *text)
{
	int n = 0, status, pipes[2];
	ssize_t len;

	snprintf(line, sizeof(line), "%s", text);
	for (char *save, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	words[n] = NULL;
	told[0] = 0;
	a = (struct args){.verb = &verbs[verb], .spec = &spec};
	assert_int_equal(pipe(pipes), 0);
	out_error_to(pipes[1]);
	status = args_parse(&a, n, words);
	close(pipes[1]);
	len = read(pipes[0], said, sizeof(said) - 1);
	close(pipes[0]);
	said[len > 0 ? len : 0] = 0;
	return status;
}

static void assert_says(const char *text, const char *sentence)
{
	assert_int_equal(parse(VERB_RUN, text), 125);
	assert_string_equal(said, sentence);
}

static void forwards_by_name(void **state)
{
	(void)state;
	assert_int_equal(parse(VERB_RUN, "--memory 64M --pids=7 --degrade ls -l --pids 9"), 0);
	assert_string_equal(told, "memory=64M;pids=7;degrade=(none);");
	assert_int_equal(a.n_operands, 3 + 1);
	assert_string_equal(a.operands[0], "ls");
	assert_string_equal(a.operands[1], "-l");
	assert_string_equal(said, "");
}

static void letters(void **state)
{
	(void)state;
	assert_int_equal(parse(VERB_RUN, "-itq -m64M -w /x -u root -eA=1 sh"), 0);
	assert_string_equal(told, "interactive=(none);tty=(none);memory=64M;workdir=/x;user=root;"
				  "env=A=1;");
	assert_true(a.seen[OPT_QUIET]);
	assert_string_equal(a.operands[0], "sh");
}

static void habits(void **state)
{
	(void)state;
	assert_int_equal(parse(VERB_RUN, "-v /a:/b -v /c:/d:ro -v /e:/f:rw --ro-bind /g /h "
					 "--bind /i /j --network none --pids-limit 5 --rm true"),
			 0);
	assert_string_equal(told, "rw=/a:/b;ro=/c:/d;rw=/e:/f;ro=/g:/h;rw=/i:/j;net=none;pids=5;"
				  "rm=(none);");
}

static void environment(void **state)
{
	(void)state;
	setenv("CLEAVE_UNIT", "from outside", 1);
	unsetenv("CLEAVE_ABSENT");
	assert_int_equal(parse(VERB_RUN, "-e CLEAVE_UNIT -e CLEAVE_ABSENT -e X= true"), 0);
	assert_string_equal(told, "env=CLEAVE_UNIT=from outside;env=X=;");
	assert_says("-e =x true", "cleave run: --env =x: it needs NAME or NAME=VALUE\n");
}

static void environment_file(void **state)
{
	static const char text[] = "# a comment\n\nA=1\nCLEAVE_UNIT\nB=x y=z";
	char path[] = "/tmp/cleave-unit-XXXXXX", text_line[128];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	setenv("CLEAVE_UNIT", "v", 1);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	snprintf(text_line, sizeof(text_line), "--env-file %s true", path);
	assert_int_equal(parse(VERB_RUN, text_line), 0);
	assert_string_equal(told, "env=A=1;env=CLEAVE_UNIT=v;env=B=x y=z;");
	assert_int_equal(pwrite(fd, "A\0B", 3, 0), 3);
	assert_int_equal(parse(VERB_RUN, text_line), 125);
	assert_non_null(strstr(said, "line 1 is not NAME=VALUE"));
	close(fd);
	unlink(path);
	assert_int_equal(parse(VERB_RUN, text_line), 125);
	assert_non_null(strstr(said, "No such file or directory"));
}

static void optional_value(void **state)
{
	(void)state;
	assert_int_equal(parse(VERB_RUN, "--json --capture true"), 0);
	assert_true(a.seen[OPT_JSON]);
	assert_null(a.value[OPT_JSON]);
	assert_string_equal(told, "capture=(none);");
	assert_string_equal(a.operands[0], "true");
	assert_int_equal(parse(VERB_RUN, "--json=fd:7 --capture=1k true"), 0);
	assert_string_equal(a.value[OPT_JSON], "fd:7");
	assert_string_equal(told, "capture=1k;");
}

static void operands(void **state)
{
	(void)state;
	assert_int_equal(parse(VERB_RUN, "--rm -- --memory 5"), 0);
	assert_int_equal(a.n_operands, 2);
	assert_string_equal(a.operands[0], "--memory");
	assert_int_equal(parse(VERB_RUN, "- --memory"), 0);
	assert_string_equal(a.operands[0], "-");
	/* help takes options after its operand, run does not */
	assert_int_equal(parse(VERB_HELP, "run --dump"), 0);
	assert_true(a.seen[OPT_DUMP]);
	assert_int_equal(a.n_operands, 1);
	assert_null(a.operands[1]);
}

static void unknown(void **state)
{
	(void)state;
	assert_says("--memroy 5 true",
		    "cleave run: --memroy: unknown option (did you mean --memory?)\n");
	assert_says("--mem=5 true", "cleave run: --mem: unknown option (did you mean --memory?)\n");
	assert_says("--zzzzzzzzzz true",
		    "cleave run: --zzzzzzzzzz: unknown option (`cleave help run` lists them)\n");
	assert_says("-itZ true", "cleave run: -Z: unknown option (`cleave help run` lists them)\n");
	assert_says(
		"--\x1b[2Jx\n true",
		"cleave run: --\\x1b[2Jx\\x0a: unknown option (`cleave help run` lists them)\n");
	assert_int_equal(parse(VERB_DOCTOR, "--memory 5"), 125);
	assert_int_equal(parse(VERB_EXPLAIN, "--count --memory 5"), 0);
	assert_int_equal(parse(VERB_RUN, "--count true"), 125);
}

static void missing_or_extra_value(void **state)
{
	(void)state;
	assert_says("--memory", "cleave run: --memory: it needs SIZE\n");
	assert_says("-m", "cleave run: --memory: it needs SIZE\n");
	assert_says("--bind /a", "cleave run: --bind: it needs HOST INSIDE, two words\n");
	assert_says("--bind=/a /b",
		    "cleave run: --bind: it takes two words (--bind HOST INSIDE)\n");
	assert_says("--bind /a:b /c",
		    "cleave run: --bind /a:b /c: a path with a colon can't be given here\n");
	assert_says("--degrade=yes true", "cleave run: --degrade: it takes no value\n");
	assert_says("-v /a true", "cleave run: --volume /a: it needs HOST:INSIDE[:ro]\n");
	assert_says("-v /a:ro true", "cleave run: --volume /a:ro: it needs HOST:INSIDE[:ro]\n");
}

static void refusal_of_the_library(void **state)
{
	(void)state;
	refuse = "memory";
	assert_says("-m 12q true", "cleave run: --memory 12q: not a size (64M)\n");
	refuse = NULL;
}

static void check_columns(char *text)
{
	assert_non_null(text);
	for (char *save, *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strlen(l) > 80)
			fail_msg("%zu columns: %s", strlen(l), l);
	free(text);
}

static void help_fits_80_columns(void **state)
{
	(void)state;
	check_columns(help_overview());
	for (int v = 0; v < VERB_N; v++)
		check_columns(help_verb(&verbs[v]));
}

/* The rows themselves: one letter and one name mean one thing for each verb, texts are plain. */
static void table_is_sound(void **state)
{
	(void)state;
	for (int i = 0; i < OPT_N; i++) {
		assert_true(text_is_utf8(opts[i].help, strlen(opts[i].help)));
		assert_null(strpbrk(opts[i].help, "\t\n"));
		for (int v = 0; v < VERB_N; v++) {
			if (!(opts[i].verbs & (1u << v)))
				continue;
			assert_int_equal(opt_find(&verbs[v], opts[i].name, strlen(opts[i].name)),
					 i);
			if (opts[i].letter)
				assert_int_equal(opt_find_letter(&verbs[v], opts[i].letter), i);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forwards_by_name),
		cmocka_unit_test(letters),
		cmocka_unit_test(habits),
		cmocka_unit_test(environment),
		cmocka_unit_test(environment_file),
		cmocka_unit_test(optional_value),
		cmocka_unit_test(operands),
		cmocka_unit_test(unknown),
		cmocka_unit_test(missing_or_extra_value),
		cmocka_unit_test(refusal_of_the_library),
		cmocka_unit_test(help_fits_80_columns),
		cmocka_unit_test(table_is_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
