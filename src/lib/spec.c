/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/profile.h"
#include "engine/programs.h"
#include "lib/lib.h"
#include "spec/options.h"

EXPORT cleave_spec *cleave_spec_new(void)
{
	cleave_spec *s = malloc(sizeof(*s));

	if (s)
		spec_init(&s->s);
	return s;
}

EXPORT void cleave_spec_free(cleave_spec *spec)
{
	if (!spec)
		return;
	spec_done(&spec->s);
	free(spec);
}

EXPORT int cleave_spec_set(cleave_spec *spec, const char *option, const char *value)
{
	struct err *e = lib_error();
	AUTO_FREE char *cwd = getcwd(NULL, 0);

	return spec_option(&spec->s, option, value, cwd, e);
}

int lib_spec_ready(const cleave_spec *spec, struct err *e)
{
	struct spec *s = (struct spec *)&spec->s;
	int r = programs_enter(s, e);

	if (r == 0)
		r = profile_enter(s, e);
	return r < 0 ? r : spec_check(s, e);
}

EXPORT int cleave_spec_argv(cleave_spec *spec, const char *const *argv)
{
	struct err *e = lib_error();
	struct spec_strv *v = &spec->s.command.argv;

	while (v->n)
		free(v->v[--v->n]);
	for (; *argv; argv++)
		if (spec_strv_add(v, *argv) < 0)
			return err_set(e, ERR_INTERNAL, ENOMEM, "copy the arguments");
	return 0;
}

EXPORT char *cleave_spec_json(const cleave_spec *spec)
{
	return spec_encode(&spec->s);
}

EXPORT cleave_spec *cleave_spec_parse(const char *json, size_t len)
{
	cleave_spec *s = cleave_spec_new();
	struct err *e = lib_error();

	if (s && spec_decode(json, len, &s->s, e) == 0)
		return s;
	free(s);
	return NULL;
}
