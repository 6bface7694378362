/* SPDX-License-Identifier: Apache-2.0 */
#include "spec/result.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "base/text.h"
#include "base/whole_json.h"

static const char *const status_names[RESULT_STATUS_N] = {
	"exited",       "signaled",     "timeout",    "cpu_limit",
	"memory_limit", "output_limit", "disk_limit", "setup_error",
};

static const char *const layer_names[LAYER_N] = {
#define L(id, name, help) [LAYER_##id] = name,
#include "spec/layers.def"
#undef L
};

static const char *const limit_names[LIMIT_N] = {
	"timeout",      "memory",       "pids",   "cpus",  "disk",  "inodes",
	"cpu-time",     "output-limit", "nofile", "fsize", "stack", "stdout-limit",
	"stderr-limit", "swap",         "cpuset", "io",
};

void result_init(struct result *r)
{
	*r = (struct result){.status = RESULT_SETUP_ERROR, .exit_code = -1, .cleave_status = 125};
	r->wall_ns = r->ended_ns = r->cpu_user_ns = r->cpu_system_ns = RESULT_UNKNOWN;
	r->csw_voluntary = r->csw_forced = RESULT_UNKNOWN;
	r->memory_peak_bytes = r->pids_peak = r->oom_kills = RESULT_UNKNOWN;
	for (size_t i = 0; i < LIMIT_N; i++)
		r->limits[i].asked = RESULT_UNKNOWN;
	for (size_t i = 0; i < LAYER_N; i++)
		snprintf(r->layers[i].how, sizeof(r->layers[i].how), "not reached");
}

void result_done(struct result *r)
{
	free(r->out.data);
	free(r->err_out.data);
	for (size_t i = 0; i < r->n_outs; i++) {
		free(r->outs[i].inside);
		free(r->outs[i].host);
	}
	free(r->outs);
	free(r->timing);
	*r = (struct result){0};
}

const char *result_status_name(enum result_status s)
{
	return s < RESULT_STATUS_N ? status_names[s] : "unknown";
}

const char *layer_name(enum layer_id id)
{
	return id < LAYER_N ? layer_names[id] : "unknown";
}

const char *limit_name(enum limit_id id)
{
	return id < LIMIT_N ? limit_names[id] : "unknown";
}

void result_settle(struct result *r)
{
	switch (r->status) {
	case RESULT_TIMEOUT:
	case RESULT_CPU_LIMIT:
	case RESULT_OUTPUT_LIMIT:
		r->cleave_status = 124;
		break;
	case RESULT_MEMORY_LIMIT:
		r->cleave_status = 137;
		break;
	case RESULT_SETUP_ERROR:
		r->cleave_status = err_status(r->error.id ? r->error.id : ERR_INTERNAL);
		break;
	default: /* the command's own: disk_limit too */
		r->cleave_status = r->signal ? 128 + r->signal : r->exit_code;
		break;
	}
	/* a success that does not have what it was to bring is none */
	for (size_t i = 0; i < r->n_outs && !r->cleave_status; i++)
		if (r->outs[i].error[0])
			r->cleave_status = 125;
}

static json_t *number(uint64_t v)
{
	return v > INT64_MAX ? json_null() : json_integer((json_int_t)v);
}

/* NAME, NAME_encoding and NAME_truncated. Text stays text; anything else is base64. */
static void put_stream(json_t *o, const char *name, const struct result_stream *s)
{
	char key[32];
	json_t *value = json_null(), *encoding = json_null();

	if (s->data && text_is_utf8(s->data, s->len)) {
		value = json_stringn(s->data, s->len);
	} else if (s->data) {
		AUTO_FREE char *b = text_base64(s->data, s->len);

		value = json_string(b ? b : "");
		encoding = json_string("base64");
	}
	json_object_set_new(o, name, value ? value : json_null());
	snprintf(key, sizeof(key), "%s_encoding", name);
	json_object_set_new(o, key, encoding);
	snprintf(key, sizeof(key), "%s_truncated", name);
	json_object_set_new(o, key, json_boolean(s->truncated));
}

json_t *result_layers(const struct result *r)
{
	static const char *const states[] = {"off", "on", "degraded"};
	json_t *o = json_object();

	for (size_t i = 0; i < LAYER_N; i++) {
		const struct result_layer *l = &r->layers[i];

		json_object_set_new(o, layer_name(i),
				    json_pack("{s:s,s:s*,s:s*}", "state", states[l->state], "how",
					      l->how, "remedy", l->remedy[0] ? l->remedy : NULL));
		if (!l->remedy[0])
			json_object_set_new(json_object_get(o, layer_name(i)), "remedy",
					    json_null());
	}
	return o;
}

json_t *result_limits(const struct result *r)
{
	json_t *o = json_object();

	for (size_t i = 0; i < LIMIT_N; i++) {
		const struct result_limit *l = &r->limits[i];

		json_object_set_new(o, limit_name(i),
				    json_pack("{s:o,s:b,s:o,s:b}", "asked", number(l->asked),
					      "enforced", l->enforced, "by",
					      l->by[0] ? json_string(l->by) : json_null(), "hit",
					      l->hit));
	}
	return o;
}

static json_t *text_or_null(const char *s)
{
	char clean[1024];

	if (!s[0])
		return json_null();
	text_escape(s, strlen(s), clean, sizeof(clean));
	return json_string(clean);
}

static json_t *outs(const struct result *r)
{
	json_t *a = json_array();

	for (size_t i = 0; i < r->n_outs; i++) {
		const struct result_out *o = &r->outs[i];

		json_array_append_new(
			a,
			json_pack("{s:o,s:o,s:I,s:I,s:o}", "inside", text_or_null(o->inside),
				  "host", text_or_null(o->host), "files", (json_int_t)o->files,
				  "bytes", (json_int_t)o->bytes, "error", text_or_null(o->error)));
	}
	return a;
}

static json_t *timing(const struct result *r)
{
	json_t *a = json_array();

	for (size_t i = 0; i < r->n_timing; i++) {
		const char *side = r->timing[i].side == 'K'   ? "keeper"
				   : r->timing[i].side == 'I' ? "init"
							      : "command";

		json_array_append_new(a,
				      json_pack("{s:s,s:s,s:I}", "step", r->timing[i].step, "side",
						side, "ns", (json_int_t)r->timing[i].ns));
	}
	return a;
}

static json_t *error(const struct err *e)
{
	if (e->id == ERR_NONE)
		return json_null();
	return json_pack("{s:s,s:o,s:o,s:o,s:o}", "id", err_name(e->id), "step",
			 text_or_null(e->step), "errno",
			 e->code ? json_string(err_symbol(e->code)) : json_null(), "text",
			 text_or_null(e->what), "hint", text_or_null(e->hint));
}

json_t *result_json(const struct result *r)
{
	json_t *o = json_object();

	json_object_set_new(o, "schema", json_integer(1));
	json_object_set_new(o, "status", json_string(result_status_name(r->status)));
	json_object_set_new(o, "exit_code",
			    r->exit_code < 0 ? json_null() : json_integer(r->exit_code));
	json_object_set_new(o, "signal", r->signal ? json_integer(r->signal) : json_null());
	json_object_set_new(o, "signal_name",
			    r->signal && name_of_signal(r->signal)
				    ? json_sprintf("SIG%s", name_of_signal(r->signal))
			    : r->signal ? json_sprintf("SIG%d", r->signal)
					: json_null());
	json_object_set_new(o, "cleave_status", json_integer(r->cleave_status));
	json_object_set_new(o, "wall_ns", number(r->wall_ns));
	json_object_set_new(o, "ended_ns", number(r->ended_ns));
	json_object_set_new(o, "cpu_user_ns", number(r->cpu_user_ns));
	json_object_set_new(o, "cpu_system_ns", number(r->cpu_system_ns));
	json_object_set_new(o, "csw_voluntary", number(r->csw_voluntary));
	json_object_set_new(o, "csw_forced", number(r->csw_forced));
	json_object_set_new(o, "memory_peak_bytes", number(r->memory_peak_bytes));
	json_object_set_new(o, "pids_peak", number(r->pids_peak));
	json_object_set_new(o, "oom_kills", number(r->oom_kills));
	put_stream(o, "stdout", &r->out);
	put_stream(o, "stderr", &r->err_out);
	json_object_set_new(o, "out", outs(r));
	json_object_set_new(o, "layers", result_layers(r));
	json_object_set_new(o, "limits", result_limits(r));
	json_object_set_new(o, "timing", timing(r));
	json_object_set_new(o, "error", error(&r->error));
	return o;
}

char *result_encode(const struct result *r)
{
	json_t *o = result_json(r);
	char *text = whole_json_dumps(o, JSON_COMPACT);

	json_decref(o);
	return text;
}
