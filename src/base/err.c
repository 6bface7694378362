/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "base/text.h"

static const struct {
	const char *name, *help;
	int status;
} kinds[ERR_N] = {
#define E(id, name, status, help) [ERR_##id] = {name, help, status},
#include "base/errors.def"
#undef E
};

int err_set(struct err *e, enum err_id id, int code, const char *fmt, ...)
{
	va_list ap;

	if (code < 0)
		code = -code;
	if (e->id == ERR_NONE) {
		e->id = id;
		e->code = code;
		va_start(ap, fmt);
		vsnprintf(e->what, sizeof(e->what), fmt, ap);
		va_end(ap);
	}
	return code ? -code : -EINVAL;
}

void err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (e->hint[0])
		return;
	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
}

void err_step(struct err *e, const char *step)
{
	if (!e->step[0])
		snprintf(e->step, sizeof(e->step), "%s", step);
}

const char *err_name(enum err_id id)
{
	return id < ERR_N ? kinds[id].name : "unknown";
}

int err_status(enum err_id id)
{
	return id < ERR_N ? kinds[id].status : 125;
}

const char *err_help(enum err_id id)
{
	return id < ERR_N ? kinds[id].help : "";
}

const char *err_symbol(int code)
{
	const char *s = code ? name_of_errno(code) : "0";

	return s ? s : "unknown errno";
}

void err_format(const struct err *e, char *buf, unsigned long size)
{
	char line[sizeof(e->what) + sizeof(e->hint) + sizeof(e->step) + 160];
	int n = snprintf(line, sizeof(line), "%s", e->what);

	if (e->code)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ": %s", strerror(e->code));
	if (e->step[0] || e->hint[0])
		n += snprintf(line + n, sizeof(line) - (size_t)n, " (%s%s%s%s)",
			      e->step[0] ? "step " : "", e->step,
			      e->step[0] && e->hint[0] ? "; " : "", e->hint);
	text_escape(line, (size_t)n, buf, size);
}
