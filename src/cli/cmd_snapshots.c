/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/table.h"

enum { COLUMNS = 4 };

static int print_table(const json_t *list)
{
	static const char *const head[COLUMNS] = {"NAME", "SOURCE", "AGE", "SIZE"};
	struct table t = {.columns = COLUMNS};
	const json_t *o;
	size_t i;

	table_add(&t, head);
	json_array_foreach(list, i, o)
	{
		char name[256], source[256], age[32], size[32];

		text_format_size(json_uint(json_object_get(o, "memory"), "bytes") +
					 json_uint(json_object_get(o, "files"), "bytes"),
				 size, sizeof(size));
		json_text(o, "source", source, sizeof(source));
		table_add(&t,
			  (const char *[]){
				  json_text(o, "name", name, sizeof(name)),
				  json_is_true(json_object_get(o, "broken")) ? "(broken)" : source,
				  text_age(json_uint(o, "created"), age, sizeof(age)), size});
	}
	return table_print(&t, "snapshots");
}

int cmd_snapshots(struct args *a)
{
	AUTO_FREE char *text = NULL;
	struct out_json json;
	int status = operands_check(a, 0, 0);
	json_t *list;

	if (!status && a->seen[OPT_JSON])
		status = out_json_open(&json, "snapshots", a->value[OPT_JSON]);
	if (status)
		return status;
	text = cleave_snapshots();
	if (!text)
		return out_cleave_error("snapshots");
	if (a->seen[OPT_JSON])
		return out_json_write(&json, "snapshots", text);
	list = json_read("snapshots", text);
	status = list ? print_table(list) : 125;
	json_decref(list);
	return status;
}
