/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of an option that was read: forwarded to the library by name, kept for the verb, or
 * translated from the habit of another tool into an option that the library knows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/options.h"
#include "cli/out.h"

int args_spec_set(struct args *a, const char *option, const char *value)
{
	return cleave_spec_set(a->spec, option, value) < 0 ? out_cleave_error(a->verb->name) : 0;
}

int opt_take_SPEC(struct args *a, enum opt_id id, char *const *operands)
{
	return args_spec_set(a, opts[id].name, operands[0]);
}

int opt_take_OWN(struct args *a, enum opt_id id, char *const *operands)
{
	a->seen[id] = true;
	a->value[id] = operands[0];
	return 0;
}

int opt_take_BOTH(struct args *a, enum opt_id id, char *const *operands)
{
	opt_take_OWN(a, id, operands);
	return a->spec ? opt_take_SPEC(a, id, operands) : 0;
}

int opt_take_FILTER(struct args *a, enum opt_id id, char *const *operands)
{
	if (a->n_filters == FILTERS_MAX) {
		out_error(a->verb->name, "--%s: at most %d of them", opts[id].name, FILTERS_MAX);
		return 125;
	}
	a->filters[a->n_filters++] = operands[0];
	return 0;
}

/* "K=V" as it is; "K" with the caller's value, or nothing when the caller has none. */
static int set_env(struct args *a, const char *word)
{
	AUTO_FREE char *pair = NULL;
	const char *value = strchr(word, '=') ? NULL : getenv(word);

	if (!strchr(word, '=') && !value)
		return 0;
	if (value && asprintf(&pair, "%s=%s", word, value) < 0) {
		pair = NULL;
		out_error(a->verb->name, "--env: %s", strerror(ENOMEM));
		return 125;
	}
	return args_spec_set(a, "env", pair ? pair : word);
}

int opt_take_ENV(struct args *a, enum opt_id id, char *const *operands)
{
	(void)id;
	if (!*operands[0] || *operands[0] == '=') {
		out_error(a->verb->name, "--env %s: it needs NAME or NAME=VALUE", operands[0]);
		return 125;
	}
	return set_env(a, operands[0]);
}

static int read_env_file(struct args *a, const char *path, FILE *f)
{
	AUTO_FREE char *line = NULL;
	size_t size = 0;
	unsigned number = 0;
	ssize_t n;
	int status = 0;

	errno = 0;
	while (status == 0 && (n = getline(&line, &size, f)) >= 0) {
		number++;
		if (n && line[n - 1] == '\n')
			line[--n] = 0;
		if (strlen(line) != (size_t)n || line[0] == '=') {
			out_error(a->verb->name, "--env-file %s: line %u is not NAME=VALUE", path,
				  number);
			return 125;
		}
		if (n && line[0] != '#')
			status = set_env(a, line);
		errno = 0;
	}
	if (status == 0 && (ferror(f) || errno)) {
		out_error(a->verb->name, "--env-file %s: %s", path, strerror(errno));
		return 125;
	}
	return status;
}

int opt_take_ENV_FILE(struct args *a, enum opt_id id, char *const *operands)
{
	FILE *f = fopen(operands[0], "re");
	int status;

	(void)id;
	if (!f) {
		out_error(a->verb->name, "--env-file %s: %s", operands[0], strerror(errno));
		return 125;
	}
	status = read_env_file(a, operands[0], f);
	fclose(f);
	return status;
}

int opt_take_VOLUME(struct args *a, enum opt_id id, char *const *operands)
{
	AUTO_FREE char *paths = strdup(operands[0]);
	const char *option = "rw";
	char *last;

	(void)id;
	if (!paths) {
		out_error(a->verb->name, "--volume: %s", strerror(ENOMEM));
		return 125;
	}
	last = strrchr(paths, ':');
	if (last && (strcmp(last, ":ro") == 0 || strcmp(last, ":rw") == 0)) {
		option = last + 1;
		option = strcmp(option, "ro") == 0 ? "ro" : "rw";
		*last = 0;
	}
	if (!strchr(paths, ':')) {
		out_error(a->verb->name, "--volume %s: it needs HOST:INSIDE[:ro]", operands[0]);
		return 125;
	}
	return args_spec_set(a, option, paths);
}

static int bind(struct args *a, const char *option, enum opt_id id, char *const *operands)
{
	AUTO_FREE char *pair = NULL;

	/* The library reads HOST:INSIDE; a colon in a path would be cut at the wrong place. */
	if (strchr(operands[0], ':') || strchr(operands[1], ':')) {
		out_error(a->verb->name, "--%s %s %s: a path with a colon can't be given here",
			  opts[id].name, operands[0], operands[1]);
		return 125;
	}
	if (asprintf(&pair, "%s:%s", operands[0], operands[1]) < 0) {
		pair = NULL;
		out_error(a->verb->name, "--%s: %s", opts[id].name, strerror(ENOMEM));
		return 125;
	}
	return args_spec_set(a, option, pair);
}

int opt_take_BIND_RO(struct args *a, enum opt_id id, char *const *operands)
{
	return bind(a, "ro", id, operands);
}

int opt_take_BIND_RW(struct args *a, enum opt_id id, char *const *operands)
{
	return bind(a, "rw", id, operands);
}
