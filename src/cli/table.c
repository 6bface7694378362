/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "cli/out.h"

json_t *json_read(const char *verb, const char *text)
{
	json_t *value = json_loads(text, 0, NULL);

	if (!value)
		out_error(verb, "%s",
			  whole_json_lost() ? strerror(ENOMEM)
					    : "the answer of the library is no JSON");
	return value;
}

int json_print_value(const char *verb, const json_t *value, size_t flags)
{
	AUTO_FREE char *text = whole_json_dumps(value, flags);
	int status;

	if (!text) {
		out_error(verb, "%s", strerror(ENOMEM));
		return 125;
	}
	status = out_text(verb, text);
	return status ? status : out_text(verb, "\n");
}

int json_write(struct out_json *json, const char *verb, const json_t *value)
{
	AUTO_FREE char *text = whole_json_dumps(value, JSON_COMPACT);

	if (text)
		return out_json_write(json, verb, text);
	out_error(verb, "--json: %s", strerror(ENOMEM));
	return 125;
}

int json_print(const char *verb, const char *text)
{
	json_t *value = json_read(verb, text);
	int status = value ? json_print_value(verb, value, JSON_INDENT(2)) : 125;

	json_decref(value);
	return status;
}

uint64_t json_uint(const json_t *object, const char *field)
{
	json_int_t n = json_integer_value(json_object_get(object, field));

	return n > 0 ? (uint64_t)n : 0;
}

const char *json_text(const json_t *object, const char *field, char *out, size_t size)
{
	const json_t *v = json_object_get(object, field), *word;
	char raw[1024] = "";
	size_t i, n = 0;

	if (json_is_string(v))
		snprintf(raw, sizeof(raw), "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(raw, sizeof(raw), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	json_array_foreach(v, i, word)
	{
		n += (size_t)snprintf(raw + n, sizeof(raw) - n, "%s%s", i ? " " : "",
				      json_is_string(word) ? json_string_value(word) : "?");
		if (n >= sizeof(raw))
			break;
	}
	if (!raw[0])
		snprintf(raw, sizeof(raw), "-");
	text_escape(raw, strlen(raw), out, size);
	return out;
}

const char *text_age(uint64_t since_ns, char *out, size_t size)
{
	static const struct {
		uint64_t seconds;
		char letter;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	struct timespec now;
	uint64_t s;

	clock_gettime(CLOCK_REALTIME, &now);
	s = since_ns / 1000000000;
	s = (uint64_t)now.tv_sec > s ? (uint64_t)now.tv_sec - s : 0;
	snprintf(out, size, "0s");
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (s >= units[i].seconds) {
			snprintf(out, size, "%llu%c", (unsigned long long)(s / units[i].seconds),
				 units[i].letter);
			break;
		}
	return out;
}

const char *text_duration(uint64_t ns, char *out, size_t size)
{
	if (ns >= 1000000000)
		snprintf(out, size, "%.2f s", (double)ns / 1e9);
	else if (ns >= 1000000)
		snprintf(out, size, "%.2f ms", (double)ns / 1e6);
	else
		snprintf(out, size, "%.1f us", (double)ns / 1e3);
	return out;
}

void table_add(struct table *t, const char *const *cells)
{
	size_t columns = (size_t)t->columns;
	char **more = t->failed ? NULL : realloc(t->cells, (t->n + columns) * sizeof(*more));

	if (!more) {
		t->failed = 1;
		return;
	}
	t->cells = more;
	for (size_t i = 0; i < columns; i++) {
		/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
		more[t->n] = strdup(cells[i]);
		if (!more[t->n])
			t->failed = 1;
		else
			t->n++;
	}
}

static size_t width(const struct table *t, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < t->n; i += (size_t)t->columns)
		if (strlen(t->cells[i]) > widest)
			widest = strlen(t->cells[i]);
	return widest;
}

int table_print(struct table *t, const char *verb)
{
	AUTO_FREE char *text = NULL;
	size_t size, columns = (size_t)t->columns;
	AUTO_FREE int *widths = calloc(columns, sizeof(*widths));
	FILE *f = t->failed || !widths ? NULL : open_memstream(&text, &size);
	int status = 125;

	for (size_t i = 0; f && i < columns; i++)
		widths[i] = (int)width(t, i);
	for (size_t i = 0; f && i < t->n; i++) {
		if (i % columns == columns - 1)
			fprintf(f, "%s\n", t->cells[i]);
		else
			fprintf(f, "%-*s  ", widths[i % columns], t->cells[i]);
	}
	if (f && fclose(f) == 0)
		status = out_text(verb, text);
	else
		out_error(verb, "%s", strerror(ENOMEM));
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
	return status;
}
