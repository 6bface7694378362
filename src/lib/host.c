/* SPDX-License-Identifier: Apache-2.0 */
/* explain, doctor and gc: what would be done, what can be done, what was left behind. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/whole_json.h"
#include "box/box.h"
#include "engine/doctor.h"
#include "engine/host.h"
#include "engine/journal.h"
#include "engine/registry.h"
#include "engine/snapshot.h"
#include "kern/cgroup.h"
#include "lib/lib.h"

static bool row_applies(uint64_t needs, bool command, const struct plan *p, const struct cmd *c)
{
	uint64_t facts = command ? c->facts : p->facts;

	return (facts & needs) == needs;
}

static json_t *explain_rows(const struct plan *p, const struct cmd *c)
{
	json_t *a = json_array();
	const char *name, *side, *why;
	uint64_t needs;
	bool command;

	for (unsigned i = 0; box_row(i, &name, &side, &why, &needs, &command); i++)
		if (row_applies(needs, command, p, c))
			json_array_append_new(a, json_pack("{s:s,s:s,s:s}", "step", name, "side",
							   side, "why", why));
	return a;
}

static char *explain_text(const json_t *rows)
{
	char *text = NULL;
	size_t size = 0, i;
	json_t *row;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	json_array_foreach(rows, i, row) fprintf(f, "%3zu  %-8s %-18s %s\n", i + 1,
						 json_string_value(json_object_get(row, "side")),
						 json_string_value(json_object_get(row, "step")),
						 json_string_value(json_object_get(row, "why")));
	return fclose(f) == 0 ? text : NULL;
}

EXPORT char *cleave_explain(const cleave_spec *spec, unsigned flags)
{
	struct err *e = lib_error();
	struct plan_bytes plan = {0};
	struct plan_host host;
	struct cgroup_host cgroups;
	struct result report;
	struct cmd *cmd = NULL;
	char *text = NULL;
	json_t *rows = NULL;

	result_init(&report);
	if (host_facts(&host, &cgroups, CGROUP_KNOWN, e) == 0 && lib_spec_ready(spec, e) == 0 &&
	    host_ids(&host, &spec->s, e) == 0 && plan_make(&spec->s, &host, &plan, &report, e) == 0)
		cmd = plan_command(&spec->s, &spec->s.command, &host, true, e);
	if (cmd) {
		cmd->facts |= CMD_PINNED | (plan.plan->profile_len ? CMD_PROFILE : 0);
		plan.plan->facts |= PLAN_AHEAD;
		rows = explain_rows(plan.plan, cmd);
		if (flags & CLEAVE_COUNT && flags & CLEAVE_JSON)
			ignore_err(asprintf(&text, "{\"steps\":%zu}\n", json_array_size(rows)),
				   "NULL tells");
		else if (flags & CLEAVE_COUNT)
			ignore_err(asprintf(&text, "%zu\n", json_array_size(rows)), "NULL tells");
		else
			text = flags & CLEAVE_JSON ? whole_json_dumps(rows, JSON_COMPACT)
						   : explain_text(rows);
	}
	json_decref(rows);
	free(cmd);
	plan_free(&plan);
	result_done(&report);
	return text;
}

EXPORT char *cleave_doctor(unsigned flags, unsigned *ret_bad)
{
	struct err *e = lib_error();
	char *text = doctor_report(flags & CLEAVE_JSON, ret_bad);

	if (!text)
		err_set(e, ERR_INTERNAL, ENOMEM, "write the report");
	return text;
}

EXPORT int cleave_gc(unsigned flags, char **ret_report)
{
	struct err *e = lib_error();
	int r = journal_gc(ret_report, e);
	struct cgroup_host host;

	(void)flags;
	if (r >= 0)
		r = registry_sweep(ret_report, e);
	if (r >= 0)
		r = snapshot_sweep(ret_report, e);
	ignore_err(cgroup_probe(CGROUP_KNOWN, &host), "then it knows of no place");
	cgroup_tidy(&host);
	return r;
}
