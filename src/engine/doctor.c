/* SPDX-License-Identifier: Apache-2.0 */
/* Only words: what is asked stands in kern/probe.def, what it means in plan/doctor.c. */
#include "engine/doctor.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "plan/doctor.h"

static const char *const state_names[] = {"off", "on", "degraded"};
static const char *const answer_names[] = {"unknown", "absent", "present"};
static const char *const need_names[] = {"required", "layer", "fork", "extra"};

/* Paths of the host may hold any byte. Empty is null. */
static json_t *words(const char *s)
{
	char line[1100];

	text_escape(s, strlen(s), line, sizeof(line));
	return line[0] ? json_string(line) : json_null();
}

static json_t *json_layers(const struct result_layer rows[LAYER_N])
{
	json_t *o = json_object();

	for (int i = 0; i < LAYER_N; i++)
		json_object_set_new(o, layer_name(i),
				    json_pack("{s:s,s:o,s:o}", "state", state_names[rows[i].state],
					      "how", words(rows[i].how), "remedy",
					      words(rows[i].remedy)));
	return o;
}

static json_t *json_features(const struct probe *p)
{
	json_t *o = json_object();

	for (int i = 0; i < PROBE_N; i++) {
		const struct probe_feature *f = &probe_features[i];
		const struct probe_answer *a = &p->f[i];

		json_object_set_new(
			o, f->name,
			json_pack("{s:s,s:s,s:o,s:o,s:o,s:s,s:o}", "state", answer_names[a->state],
				  "need", need_names[f->need], "since", words(f->since), "errno",
				  words(a->code ? err_symbol(a->code) : ""), "how", words(a->how),
				  "lost", f->lost, "remedy", words(a->remedy)));
	}
	return o;
}

static char *as_json(const struct probe *p, const struct result_layer rows[LAYER_N], unsigned bad)
{
	json_t *o = json_pack("{s:i,s:s,s:s,s:I,s:b,s:o,s:o}", "schema", 1, "version",
			      CLEAVE_VERSION, "kernel", p->release, "uid", (json_int_t)p->uid, "ok",
			      bad == 0, "layers", json_layers(rows), "features", json_features(p));
	char *text = o ? whole_json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

static void put_remedy(FILE *f, const char *remedy)
{
	if (*remedy)
		fprintf(f, "%-16s mend: %s\n", "", remedy);
}

/* What forks lack; conveniences are in the JSON alone. */
static void put_features(FILE *f, const struct probe *p)
{
	for (int i = 0; i < PROBE_N; i++) {
		char how[800];

		if (p->f[i].state != PROBE_ABSENT || probe_features[i].need != PROBE_FORK)
			continue;
		text_escape(p->f[i].how, strlen(p->f[i].how), how, sizeof(how));
		fprintf(f, "%-16s absent   %s; costs %s\n", probe_features[i].name, how,
			probe_features[i].lost);
		put_remedy(f, p->f[i].remedy);
	}
}

static void put_layers(FILE *f, const struct probe *p, const struct result_layer rows[LAYER_N],
		       unsigned bad)
{
	fprintf(f, "cleave %s on Linux %s as uid %u\n", CLEAVE_VERSION, p->release, p->uid);
	for (int i = 0; i < LAYER_N; i++) {
		char how[800];

		text_escape(rows[i].how, strlen(rows[i].how), how, sizeof(how));
		fprintf(f, "%-16s %-*s%s\n", layer_name(i), how[0] ? 9 : 0,
			state_names[rows[i].state], how);
		put_remedy(f, rows[i].remedy);
	}
	put_features(f, p);
	fprintf(f, "doctor: %u of %u layers on\n", LAYER_N - bad, (unsigned)LAYER_N);
}

static char *as_text(const struct probe *p, const struct result_layer rows[LAYER_N], unsigned bad)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	put_layers(f, p, rows, bad);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

char *doctor_report(bool json, unsigned *ret_bad)
{
	AUTO_FREE struct probe *p = malloc(sizeof(*p));
	struct result_layer rows[LAYER_N];

	if (!p)
		return NULL;
	ignore_err(probe_full(p), "a host where nothing can be tried is described all the same");
	*ret_bad = plan_doctor(p, rows);
	return json ? as_json(p, rows, *ret_bad) : as_text(p, rows, *ret_bad);
}
