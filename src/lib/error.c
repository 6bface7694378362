/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/lib.h"

static _Thread_local struct err last;
static _Thread_local char text[1024];

struct err *lib_error(void)
{
	last = ERR_INIT;
	return &last;
}

EXPORT const char *cleave_error(void)
{
	if (last.id == ERR_NONE)
		return "";
	err_format(&last, text, sizeof(text));
	return text;
}

EXPORT const char *cleave_error_id(void)
{
	return err_name(last.id);
}

EXPORT int cleave_error_status(void)
{
	return err_status(last.id);
}

EXPORT const char *cleave_version(void)
{
	return CLEAVE_VERSION;
}
