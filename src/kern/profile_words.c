/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a profile: fields, actions, errnos, architectures, kernels; see profile_internal.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "base/text.h"
#include "kern/profile_internal.h"

#define ERRNO_MAX 4095

int profile_bad(struct profile_maker *m, const char *fmt, ...)
{
	char text[256], safe[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_escape(text, strlen(text), safe, sizeof(safe));
	return err_set(m->e, ERR_SPEC, 0, "%.128s: %s%s%s", m->what, m->where,
		       m->where[0] ? ": " : "", safe);
}

/* Everything that is not known may be what the profile is for. */
int profile_fields(struct profile_maker *m, const json_t *o, const char *const *known)
{
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return profile_bad(m, "an object is expected");
	json_object_foreach((json_t *)o, key, v)
	{
		size_t i = 0;

		while (known[i] && strcmp(known[i], key) != 0)
			i++;
		if (!known[i])
			return profile_bad(m, "the field '%.60s' is not known", key);
	}
	return 0;
}

/* A list that may be missing or null. */
int profile_list(struct profile_maker *m, const json_t *o, const char *key, const json_t **ret)
{
	*ret = json_object_get(o, key);
	if (json_is_null(*ret))
		*ret = NULL;
	return !*ret || json_is_array(*ret) ? 0 : profile_bad(m, "'%s' is no list", key);
}

int profile_whole(struct profile_maker *m, const json_t *o, const char *key, uint64_t max,
		  uint64_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
	    (uint64_t)json_integer_value(v) > max)
		return profile_bad(m, "'%s' is no whole number up to %llu", key,
				   (unsigned long long)max);
	*ret = (uint64_t)json_integer_value(v);
	return 1;
}

/* ---- actions ---- */

static const struct {
	const char *name;
	uint32_t action;
} actions[] = {
	{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
	{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
	{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
	{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
	{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
	{"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
	{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
	{"SCMP_ACT_LOG", SCMP_ACT_LOG},
};

/* The errno by number or, as podman writes it as well, by name. */
int profile_errno(struct profile_maker *m, const json_t *o, const char *by_number,
		  const char *by_name, uint64_t *ret)
{
	const char *name = json_string_value(json_object_get(o, by_name));
	int code = 1, r = profile_whole(m, o, by_number, ERRNO_MAX, ret);

	if (r < 0 || !name || !*name)
		return r < 0 ? r : 0;
	while (code <= ERRNO_MAX &&
	       (!name_of_errno(code) || strcmp(name_of_errno(code), name) != 0))
		code++;
	if (code > ERRNO_MAX)
		return profile_bad(m, "'%.40s' is no errno", name);
	if (r && *ret != (uint64_t)code)
		return profile_bad(m, "%s and %s contradict each other", by_number, by_name);
	*ret = (uint64_t)code;
	return 0;
}

int profile_action(struct profile_maker *m, const char *name, uint64_t code, uint32_t *ret)
{
	if (!name)
		return profile_bad(m, "the action is missing");
	if (strcmp(name, "SCMP_ACT_NOTIFY") == 0)
		return profile_bad(m,
				   "SCMP_ACT_NOTIFY wants a process outside that answers for the "
				   "kernel; a sandbox has none");
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (strcmp(name, actions[i].name) != 0)
			continue;
		*ret = actions[i].action;
		if (*ret == SCMP_ACT_ERRNO(0) || *ret == SCMP_ACT_TRACE(0))
			*ret |= (uint32_t)code;
		return 0;
	}
	return profile_bad(m, "'%.60s' is no action", name);
}

/* ---- architectures, kernels ---- */

/* Two names for the same (docker writes one of them wrong, in its own table too), and what this
 * libseccomp may be too old for. */
static const char *const arch_names[][2] = {
	{"amd64", "x86_64"},        {"arm64", "aarch64"},
	{"loong64", "loongarch64"}, {"mips3l64n32", "mipsel64n32"},
	{"mipsle", "mipsel"},
};
static const char *const new_arches[] = {"loongarch64", "m68k", "sh", "sheb", "riscv64"};

/* `name` is as docker writes it in includes, or lower case behind SCMP_ARCH_. */
int profile_arch(struct profile_maker *m, const char *name, bool *ret)
{
	uint32_t token;

	for (size_t i = 0; i < ARRAY_LEN(arch_names); i++)
		if (strcmp(name, arch_names[i][0]) == 0)
			name = arch_names[i][1];
	token = seccomp_arch_resolve_name(name);
	*ret = token == seccomp_arch_native();
	for (size_t i = 0; !token && i < ARRAY_LEN(new_arches); i++)
		token = strcmp(name, new_arches[i]) == 0;
	return token ? 0 : profile_bad(m, "'%.40s' is no architecture", name);
}

/* "SCMP_ARCH_X86_64" */
static int arch_of_oci(struct profile_maker *m, const json_t *v, bool *ret_ours)
{
	static const char prefix[] = "SCMP_ARCH_";
	const char *name = json_string_value(v);
	char lower[24];
	size_t n = 0;

	if (!name || strncmp(name, prefix, sizeof(prefix) - 1) != 0 ||
	    strlen(name) - sizeof(prefix) + 2 > sizeof(lower))
		return profile_bad(m, "'%.40s' is no architecture", name ?: "(not a text)");
	for (name += sizeof(prefix) - 1; *name; name++)
		lower[n++] = (char)(*name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name);
	lower[n] = 0;
	return profile_arch(m, lower, ret_ours);
}

static int any_of_oci(struct profile_maker *m, const json_t *all, bool *any)
{
	const json_t *v;
	bool ours;
	size_t i;
	int r = 0;

	json_array_foreach(all, i, v)
	{
		/* lint-allow: analyzer-use-of-uninitialized-value: profile_bad() is below 0 */
		r = arch_of_oci(m, v, &ours);
		if (r < 0)
			return r;
		*any |= ours;
	}
	return r;
}

int profile_arches(struct profile_maker *m, const json_t *o)
{
	static const char *const fields[] = {"architecture", "subArchitectures", NULL};
	const json_t *flat, *map, *sub, *v;
	bool ours = false, sub_ours = false;
	size_t i;
	int r = profile_list(m, o, "architectures", &flat);

	if (r == 0)
		r = profile_list(m, o, "archMap", &map);
	if (r == 0)
		r = any_of_oci(m, flat, &ours);
	if (r < 0)
		return r;
	json_array_foreach(map, i, v)
	{
		bool this = false;

		r = profile_fields(m, v, fields);
		if (r == 0)
			r = arch_of_oci(m, json_object_get(v, "architecture"), &this);
		if (r == 0)
			r = profile_list(m, v, "subArchitectures", &sub);
		if (r == 0)
			r = any_of_oci(m, sub, &sub_ours);
		if (r < 0)
			return r;
		ours |= this;
	}
	if (!ours && (json_array_size(flat) || json_array_size(map)))
		return profile_bad(m,
				   "this machine's architecture is not among those that it is for");
	return 0;
}

/* "4.8" */
int profile_kernel(struct profile_maker *m, const char *text, bool *ret)
{
	unsigned long v[2] = {0, 0};
	char *end = NULL;

	if (text && *text >= '0' && *text <= '9') {
		v[0] = strtoul(text, &end, 10);
		if (*end == '.' && end[1] >= '0' && end[1] <= '9')
			v[1] = strtoul(end + 1, &end, 10);
		else
			end = NULL;
	}
	if (!end || *end)
		return profile_bad(m, "minKernel '%.40s': MAJOR.MINOR is expected", text ?: "");
	*ret = m->kernel[0] != v[0] ? m->kernel[0] > v[0] : m->kernel[1] >= v[1];
	return 0;
}
