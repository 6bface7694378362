/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of profiles: JSON to rules of libseccomp; see profile.h. */
#include "kern/profile.h"

#include <jansson.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "kern/profile_internal.h"
#include "kern/seccomp.h"

#define RULES_MAX 4096
#define ARGS_MAX 6

/* What includes and excludes ask for. */
struct condition {
	bool caps;            /* some capability */
	bool arches, arch;    /* architectures; ours is one of them */
	bool kernels, kernel; /* a kernel; ours is as new */
};

/* ---- rules ---- */

static int condition(struct profile_maker *m, const json_t *entry, const char *key,
		     struct condition *ret)
{
	static const char *const fields[] = {"caps", "arches", "minKernel", NULL};
	const json_t *o = json_object_get(entry, key), *caps, *arches, *v;
	bool ours;
	size_t i;
	int r;

	*ret = (struct condition){0};
	if (!o || json_is_null(o))
		return 0;
	r = profile_fields(m, o, fields);
	if (r == 0)
		r = profile_list(m, o, "caps", &caps);
	if (r == 0)
		r = profile_list(m, o, "arches", &arches);
	if (r < 0)
		return r;
	json_array_foreach(caps, i, v)
	{
		if (!json_is_string(v))
			return profile_bad(m, "a capability is a text");
	}
	json_array_foreach(arches, i, v)
	{
		r = json_is_string(v) ? profile_arch(m, json_string_value(v), &ours)
				      : profile_bad(m, "an architecture is a text");
		if (r < 0)
			return r;
		ret->arch |= ours;
	}
	ret->caps = json_array_size(caps);
	ret->arches = json_array_size(arches);
	v = json_object_get(o, "minKernel");
	ret->kernels = v && !json_is_null(v) && (!json_is_string(v) || json_string_length(v));
	return ret->kernels ? profile_kernel(m, json_string_value(v), &ret->kernel) : 0;
}

/* Includes must all hold, no exclude may; of a process without capabilities. */
static int applies(struct profile_maker *m, const json_t *entry, bool *ret)
{
	struct condition in, out;
	int r = condition(m, entry, "includes", &in);

	if (r == 0)
		r = condition(m, entry, "excludes", &out);
	if (r == 0)
		*ret = !in.caps && in.arches == in.arch && in.kernels == in.kernel && !out.arch &&
		       !out.kernel;
	return r;
}

static const struct {
	const char *name;
	enum scmp_compare op;
} operators[] = {
	{"SCMP_CMP_NE", SCMP_CMP_NE},
	{"SCMP_CMP_LT", SCMP_CMP_LT},
	{"SCMP_CMP_LE", SCMP_CMP_LE},
	{"SCMP_CMP_EQ", SCMP_CMP_EQ},
	{"SCMP_CMP_GE", SCMP_CMP_GE},
	{"SCMP_CMP_GT", SCMP_CMP_GT},
	{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static int comparison(struct profile_maker *m, const json_t *o, struct scmp_arg_cmp *ret)
{
	static const char *const fields[] = {"index", "value", "valueTwo", "op", NULL};
	const char *name = json_string_value(json_object_get(o, "op"));
	uint64_t index = 0, value = 0, two = 0;
	size_t i = 0;
	int r = profile_fields(m, o, fields);

	if (r == 0)
		r = profile_whole(m, o, "index", ARGS_MAX - 1, &index);
	if (r == 0)
		return profile_bad(m, "an argument without an index");
	if (r > 0)
		r = profile_whole(m, o, "value", INT64_MAX, &value);
	if (r >= 0)
		r = profile_whole(m, o, "valueTwo", INT64_MAX, &two);
	if (r < 0)
		return r;
	while (name && i < ARRAY_LEN(operators) && strcmp(name, operators[i].name) != 0)
		i++;
	if (!name || i == ARRAY_LEN(operators))
		return profile_bad(m, "'%.60s' is no operator", name ?: "(no text)");
	*ret = (struct scmp_arg_cmp){(unsigned)index, operators[i].op, value, two};
	return 0;
}

/* Fills cmp; *ret_apart: an argument is there twice, then each of them is a rule of its own. */
static int comparisons(struct profile_maker *m, const json_t *entry, struct scmp_arg_cmp *cmp,
		       unsigned *ret_n, bool *ret_apart)
{
	const json_t *args, *v;
	unsigned seen = 0;
	size_t i;
	int r = profile_list(m, entry, "args", &args);

	*ret_apart = false;
	*ret_n = 0;
	/* lint-allow: bugprone-implicit-widening-of-multiplication-result: constants */
	if (r == 0 && json_array_size(args) > 2 * ARGS_MAX)
		return profile_bad(m, "more than %d arguments in one rule", 2 * ARGS_MAX);
	json_array_foreach(r == 0 ? args : NULL, i, v)
	{
		r = comparison(m, v, &cmp[i]);
		if (r < 0)
			return r;
		*ret_apart |= seen >> cmp[i].arg & 1;
		seen |= 1u << cmp[i].arg;
		++*ret_n;
	}
	return r;
}

static int add_rule(struct profile_maker *m, uint32_t action, const char *name,
		    const struct scmp_arg_cmp *cmp, unsigned n)
{
	int nr = seccomp_number(name), r;

	if (nr < 0) /* a name of another architecture is a negative number there */
		nr = seccomp_syscall_resolve_name(name);
	if (nr < 0 || action == m->default_action)
		return 0;
	if (++m->rules > RULES_MAX)
		return profile_bad(m, "more than %d rules", RULES_MAX);
	r = seccomp_rule_add_array(m->filter, action, nr, n, cmp);
	if (r == -ENOMEM)
		return err_set(m->e, ERR_INTERNAL, ENOMEM, "compile a profile");
	return r < 0 ? profile_bad(m, "the rule for '%.40s' does not go with another one", name)
		     : 0;
}

/* One object of `syscalls`. */
static int add_entry(struct profile_maker *m, const json_t *entry)
{
	static const char *const fields[] = {"names",    "name",  "action",   "args",     "comment",
					     "includes", "errno", "errnoRet", "excludes", NULL};
	struct scmp_arg_cmp cmp[2 * ARGS_MAX];
	const json_t *names, *v, *one = json_object_get(entry, "name");
	uint64_t code = EPERM;
	uint32_t action = 0;
	bool wanted = false, apart = false;
	unsigned n = 0;
	size_t i;
	int r = profile_fields(m, entry, fields);

	if (r == 0)
		r = profile_list(m, entry, "names", &names);
	if (r == 0)
		r = profile_errno(m, entry, "errnoRet", "errno", &code);
	if (r == 0)
		r = profile_action(m, json_string_value(json_object_get(entry, "action")), code,
				   &action);
	if (r == 0)
		r = applies(m, entry, &wanted);
	if (r == 0)
		r = comparisons(m, entry, cmp, &n, &apart);
	if (r == 0 && !json_array_size(names) && !json_is_string(one))
		r = profile_bad(m, "no call is named");
	if (r == 0 && json_string_length(one))
		r = wanted ? add_rule(m, action, json_string_value(one), cmp, n) : 0;
	json_array_foreach(r == 0 ? names : NULL, i, v)
	{
		if (!json_is_string(v))
			return profile_bad(m, "the name of a call is a text");
		if (wanted && !apart)
			r = add_rule(m, action, json_string_value(v), cmp, n);
		for (unsigned k = 0; wanted && apart && r == 0 && k < n; k++)
			r = add_rule(m, action, json_string_value(v), &cmp[k], 1);
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- the whole ---- */

/* What the kernel would do when it is loaded. Ours is loaded alone, before any thread, and its
 * sandbox's filter keeps what SPEC_ALLOW would give up. */
static int flags(struct profile_maker *m, const json_t *o)
{
	static const char *const harmless[] = {"SECCOMP_FILTER_FLAG_TSYNC",
					       "SECCOMP_FILTER_FLAG_SPEC_ALLOW"};
	const json_t *all, *v;
	size_t i;
	int r = profile_list(m, o, "flags", &all);

	json_array_foreach(r == 0 ? all : NULL, i, v)
	{
		const char *name = json_string_value(v);
		size_t k = 0;

		while (name && k < ARRAY_LEN(harmless) && strcmp(name, harmless[k]) != 0)
			k++;
		if (!name || k == ARRAY_LEN(harmless))
			return profile_bad(m, "the flag '%.60s' is not supported",
					   name ?: "(no text)");
	}
	return r;
}

static int begin(struct profile_maker *m, const json_t *o)
{
	static const char *const fields[] = {"defaultAction", "defaultErrnoRet", "defaultErrno",
					     "architectures", "archMap",         "flags",
					     "syscalls",      "comment",         NULL};
	struct utsname host;
	uint64_t code = EPERM;
	int r;

	if (json_is_object(o) && json_object_get(o, "listenerPath"))
		return profile_bad(
			m, "listenerPath: a sandbox has no process outside that answers for "
			   "the kernel");
	r = profile_fields(m, o, fields);
	if (r == 0)
		r = profile_errno(m, o, "defaultErrnoRet", "defaultErrno", &code);
	if (r == 0)
		r = profile_action(m, json_string_value(json_object_get(o, "defaultAction")), code,
				   &m->default_action);
	if (r == 0)
		r = flags(m, o);
	if (r == 0)
		r = profile_arches(m, o);
	if (r < 0)
		return r;
	if (uname(&host) < 0 || sscanf(host.release, "%lu.%lu", &m->kernel[0], &m->kernel[1]) != 2)
		return err_set(m->e, ERR_HOST, EINVAL, "ask for the kernel's version");
	m->filter = seccomp_init(m->default_action);
	/* a binary search by number: the kernel runs it for each number when it is loaded */
	if (!m->filter || seccomp_attr_set(m->filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0 ||
	    seccomp_attr_set(m->filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0)
		return err_set(m->e, ERR_INTERNAL, ENOMEM, "compile a profile");
	return 0;
}

static int make(struct profile_maker *m, const json_t *o)
{
	const json_t *entries, *v;
	size_t i;
	int r = begin(m, o);

	if (r == 0)
		r = profile_list(m, o, "syscalls", &entries);
	json_array_foreach(r == 0 ? entries : NULL, i, v)
	{
		snprintf(m->where, sizeof(m->where), "syscalls[%zu]", i);
		r = add_entry(m, v);
		if (r < 0)
			return r;
	}
	m->where[0] = 0;
	return r;
}

int profile_compile(const char *what, const char *json, size_t len, struct profile *ret,
		    struct err *e)
{
	/* what the launch does behind the row that loads the program */
	static const char *const launch[] = {"execve",        "mmap",       "write",
					     "clock_gettime", "exit_group", NULL};
	struct profile_maker m = {.what = what, .e = e};
	const char *name;
	json_error_t where;
	json_t *o;
	int r;

	*ret = (struct profile){0};
	if (len > PROFILE_BYTES_MAX)
		return profile_bad(&m, "more than %u KiB", PROFILE_BYTES_MAX >> 10);
	o = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
	r = o ? make(&m, o) : profile_bad(&m, "line %d: %s", where.line, where.text);
	if (r == 0)
		r = profile_export(m.filter, ret);
	if (r == -E2BIG)
		r = profile_bad(&m, "it becomes a program of more than %d instructions",
				PROFILE_INSNS_MAX);
	else if (r < 0)
		err_set(e, ERR_INTERNAL, -r, "compile a profile");
	name = r == 0 ? profile_forbids(ret, launch) : NULL;
	if (name)
		r = profile_bad(
			&m, "it does not always let '%s' run, which the start of a command needs",
			name);
	if (r < 0)
		profile_done(ret);
	seccomp_release(m.filter);
	json_decref(o);
	return r;
}
