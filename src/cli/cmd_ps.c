/* SPDX-License-Identifier: Apache-2.0 */
/* ps: what cleave_list says, as a table, a tree by lineage, or JSON. */
#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/table.h"

enum { COLUMNS = 6, DEPTH_MAX = 64 };

static const char *field(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

/* wanted is KEY or KEY=VALUE. */
static bool has_label(const json_t *o, const char *wanted)
{
	size_t len = strcspn(wanted, "=");
	const json_t *labels = json_object_get(o, "labels");
	const char *value;
	AUTO_FREE char *key = strndup(wanted, len);

	value = key ? json_string_value(json_object_get(labels, key)) : NULL;
	return value && (!wanted[len] || strcmp(value, wanted + len + 1) == 0);
}

static bool matches(const json_t *o, const char *filter)
{
	if (strncmp(filter, "name=", 5) == 0)
		return fnmatch(filter + 5, field(o, "name"), 0) == 0;
	if (strncmp(filter, "state=", 6) == 0)
		return strcmp(field(o, "state"), filter + 6) == 0;
	return has_label(o, filter + 6);
}

static bool is_shown(struct args *a, const json_t *o)
{
	bool ended =
		strcmp(field(o, "state"), "exited") == 0 || strcmp(field(o, "state"), "dead") == 0;

	for (int i = 0; i < a->n_filters; i++)
		if (!matches(o, a->filters[i]))
			return false;
	/* who asks for a state gets it */
	for (int i = 0; i < a->n_filters; i++)
		if (strncmp(a->filters[i], "state=", 6) == 0)
			return true;
	return !ended || a->seen[OPT_ALL];
}

static const char *source_id(const json_t *o)
{
	return field(json_object_get(o, "lineage"), "parent");
}

static void add_row(struct table *t, const json_t *o, int depth)
{
	char name[256], id[32], state[32], pid[32], age[32], command[80], indented[512];

	json_text(o, "name", name, sizeof(name));
	snprintf(indented, sizeof(indented), "%*s%s%s", depth > 1 ? 3 * (depth - 1) : 0, "",
		 depth ? "`- " : "", name);
	table_add(t, (const char *[]){indented, json_text(o, "id", id, sizeof(id)),
				      json_text(o, "state", state, sizeof(state)),
				      json_text(o, "init_pid", pid, sizeof(pid)),
				      text_age(json_uint(o, "created"), age, sizeof(age)),
				      json_text(o, "command", command, sizeof(command))});
}

static bool is_in(const json_t *list, const char *id)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (strcmp(field(o, "id"), id) == 0) return true;
	return false;
}

/* Those whose source is `id`, each followed by its own; a cycle can't be, but hostile files could
 * claim one. */
static void add_children(struct table *t, const json_t *list, const char *id, int depth)
{
	const json_t *o;
	size_t i;

	if (depth > DEPTH_MAX)
		return;
	json_array_foreach(list, i, o)
	{
		if (strcmp(source_id(o), id) != 0)
			continue;
		add_row(t, o, depth);
		add_children(t, list, field(o, "id"), depth + 1);
	}
}

static int print_table(struct args *a, const json_t *list)
{
	static const char *const head[COLUMNS] = {"NAME", "ID", "STATE", "PID", "AGE", "COMMAND"};
	struct table t = {.columns = COLUMNS};
	const json_t *o;
	size_t i;

	table_add(&t, head);
	json_array_foreach(list, i, o)
	{
		if (!a->seen[OPT_TREE]) {
			add_row(&t, o, 0);
		} else if (!is_in(list, source_id(o))) {
			add_row(&t, o, 0);
			add_children(&t, list, field(o, "id"), 1);
		}
	}
	return table_print(&t, "ps");
}

static int by_age(const void *a, const void *b)
{
	const json_t *const *x = a, *const *y = b;
	uint64_t s = json_uint(*x, "created"), t = json_uint(*y, "created");

	return s != t ? (s < t ? -1 : 1) : strcmp(field(*x, "id"), field(*y, "id"));
}

/* Those that are shown, the oldest first. NULL when out of memory. */
static json_t *select_rows(struct args *a, const json_t *list)
{
	size_t n = 0, size = json_array_size(list), i;
	json_t **rows = calloc(size + 1, sizeof(*rows)), *shown = json_array(), *o;

	json_array_foreach(list, i, o) if (rows && is_shown(a, o)) rows[n++] = o;
	if (rows)
		qsort(rows, n, sizeof(*rows), by_age);
	for (i = 0; i < n; i++)
		json_array_append(shown, rows[i]);
	if (!rows || json_array_size(shown) != n) {
		json_decref(shown);
		shown = NULL;
		out_error("ps", "%s", strerror(ENOMEM));
	}
	free(rows);
	return shown;
}

static int check_filters(struct args *a)
{
	for (int i = 0; i < a->n_filters; i++) {
		const char *f = a->filters[i];

		if (strncmp(f, "name=", 5) && strncmp(f, "state=", 6) && strncmp(f, "label=", 6)) {
			out_error("ps",
				  "--filter '%s': name=PATTERN, state=STATE or label=K[=V] "
				  "is expected",
				  f);
			return 125;
		}
	}
	return 0;
}

int cmd_ps(struct args *a)
{
	AUTO_FREE char *text = NULL;
	struct out_json json;
	json_t *list, *shown;
	int status = operands_check(a, 0, 0);

	if (!status)
		status = check_filters(a);
	if (!status && a->seen[OPT_JSON])
		status = out_json_open(&json, "ps", a->value[OPT_JSON]);
	if (status)
		return status;
	text = cleave_list();
	if (!text)
		return out_cleave_error("ps");
	list = json_read("ps", text);
	shown = list ? select_rows(a, list) : NULL;
	if (!shown) {
		status = 125;
	} else if (a->seen[OPT_JSON]) {
		status = json_write(&json, "ps", shown);
	} else {
		status = print_table(a, shown);
	}
	json_decref(list);
	json_decref(shown);
	return status;
}
