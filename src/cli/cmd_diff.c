/* SPDX-License-Identifier: Apache-2.0 */
/* diff: the library's JSON lines as a table, or as one JSON array. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/table.h"

/* NULL after a sentence on stderr. */
static json_t *read_lines(FILE *f)
{
	AUTO_FREE char *line = NULL;
	json_t *list = json_array(), *o;
	size_t size = 0;
	bool lost = false;

	rewind(f);
	while (getline(&line, &size, f) > 0) {
		o = json_read("diff", line);
		if (!o) {
			json_decref(list);
			return NULL;
		}
		lost = json_array_append_new(list, o) < 0 || lost;
	}
	if (list && !lost && feof(f))
		return list;
	json_decref(list);
	out_error("diff", "%s", strerror(ENOMEM));
	return NULL;
}

static int print_table(const json_t *list)
{
	static const char *const head[] = {"TYPE", "MODE", "SIZE", "PATH"};
	struct table t = {.columns = 4};
	const json_t *o;
	size_t i;

	table_add(&t, head);
	json_array_foreach(list, i, o)
	{
		char type[32], mode[16], size[32], path[4096];
		size_t n;

		snprintf(mode, sizeof(mode), "%04o", (unsigned)json_uint(o, "mode") & 07777);
		text_format_size(json_uint(o, "size"), size, sizeof(size));
		n = strlen(json_text(o, "path", path, sizeof(path)));
		if (json_object_get(o, "path_encoding")) /* its bytes are no text */
			snprintf(path + n, sizeof(path) - n, " (base64)");
		table_add(&t, (const char *[]){json_text(o, "type", type, sizeof(type)), mode, size,
					       path});
	}
	return table_print(&t, "diff");
}

int cmd_diff(struct args *a)
{
	struct out_json json;
	json_t *list;
	FILE *f;
	int fd, failed, status = operands_check(a, 1, 1);

	if (!status && a->seen[OPT_JSON])
		status = out_json_open(&json, "diff", a->value[OPT_JSON]);
	if (status)
		return status;
	fd = memfd_create("diff", MFD_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r+");
	if (!f) {
		out_error("diff", "%s", strerror(errno));
		return 125;
	}
	/* a directory that can't be read hides what is in it, not the rest */
	failed = cleave_diff(a->operands[0], fd) < 0 ? out_cleave_error("diff") : 0;
	list = read_lines(f);
	fclose(f);
	if (failed && !json_array_size(list)) {
		status = failed;
	} else if (list && a->seen[OPT_JSON]) {
		status = json_write(&json, "diff", list);
	} else {
		status = list ? print_table(list) : 125;
	}
	json_decref(list);
	return status ? status : failed;
}
