/* SPDX-License-Identifier: Apache-2.0 */
#include "spec/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "base/text.h"

struct call {
	struct spec *s;
	const char *option, *value, *cwd;
	struct err *e;
	size_t at; /* offset of the field in struct spec, where one handler serves many options */
};

static void *field(const struct call *c)
{
	return (char *)c->s + c->at;
}

static int bad(const struct call *c, const char *expected)
{
	return err_set(c->e, ERR_USAGE, 0, "--%s '%s': %s is expected", c->option, c->value,
		       expected);
}

static int oom(const struct call *c)
{
	return err_set(c->e, ERR_INTERNAL, ENOMEM, "--%s", c->option);
}

static int set_text(const struct call *c)
{
	char **at = field(c), *copy = strdup(c->value);

	if (!copy)
		return oom(c);
	free(*at);
	*at = copy;
	return 0;
}

static int set_flag(const struct call *c)
{
	*(bool *)field(c) = true;
	return 0;
}

static int set_size(const struct call *c)
{
	return text_parse_size(c->value, field(c)) < 0 ? bad(c, "a size like 64M, 1GiB or 4096")
						       : 0;
}

static int set_time(const struct call *c)
{
	int r = text_parse_time(c->value, field(c));

	return r < 0 ? bad(c, "a time like 10, 1.5s, 200ms or 2m") : 0;
}

static int set_count(const struct call *c)
{
	return text_parse_uint(c->value, 1, UINT32_MAX, field(c)) < 0
		       ? bad(c, "a whole number from 1")
		       : 0;
}

static int set_cpus(const struct call *c)
{
	uint64_t ns;

	/* "1.5" processors: the same decimal reader as seconds, in thousandths */
	if (c->value[strspn(c->value, "0123456789.")] || text_parse_time(c->value, &ns) < 0 ||
	    ns < 10000000 || ns > UINT64_C(4096) * 1000000000)
		return bad(c, "a number of processors from 0.01, like 1.5");
	c->s->limits.cpus_milli = ns / 1000000;
	return 0;
}

static int set_disk(const struct call *c)
{
	AUTO_FREE char *copy = strdup(c->value);
	char *comma = copy ? strchr(copy, ',') : NULL;

	if (!copy)
		return oom(c);
	if (comma) {
		*comma++ = 0;
		if (strncmp(comma, "inodes=", 7) != 0 ||
		    text_parse_uint(comma + 7, 1, UINT32_MAX, &c->s->limits.disk_inodes) < 0)
			return bad(c, "SIZE[,inodes=N]");
	}
	return text_parse_size(copy, &c->s->limits.disk_bytes) < 0 ? bad(c, "SIZE[,inodes=N]") : 0;
}

/* USR1, SIGUSR1 or 10. */
static int set_signal(const struct call *c)
{
	const char *name = strncmp(c->value, "SIG", 3) == 0 ? c->value + 3 : c->value;

	if (text_parse_uint(name, 1, 64, field(c)) == 0)
		return 0;
	for (int signo = 1; signo < 32; signo++)
		if (name_of_signal(signo) && strcmp(name_of_signal(signo), name) == 0) {
			*(uint64_t *)field(c) = (uint64_t)signo;
			return 0;
		}
	return bad(c, "a signal like USR1 or 10");
}

static int set_user(const struct call *c)
{
	if (strcmp(c->value, "root") == 0 || strcmp(c->value, "0") == 0)
		c->s->command.user = SPEC_USER_ROOT;
	else if (strcmp(c->value, "user") == 0 || strcmp(c->value, "1000") == 0)
		c->s->command.user = SPEC_USER_NORMAL;
	else
		return bad(c, "'user' (the default) or 'root'");
	return 0;
}

static int set_ids(const struct call *c)
{
	c->s->ids_range = strcmp(c->value, "range") == 0;
	if (!c->s->ids_range && strcmp(c->value, "one") != 0)
		return bad(c, "'one' (the default) or 'range'");
	return 0;
}

static int set_net(const struct call *c)
{
	if (strcmp(c->value, "none") == 0)
		return 0;
	err_set(c->e, ERR_USAGE, 0, "--net '%s': only 'none' exists yet", c->value);
	return -EINVAL;
}

static int set_stdio(const struct call *c)
{
	if (strcmp(c->value, "inherit") == 0)
		c->s->command.stdio = SPEC_STDIO_INHERIT;
	else if (strcmp(c->value, "own") == 0)
		c->s->command.stdio = SPEC_STDIO_OWN;
	else if (strcmp(c->value, "relay") == 0)
		c->s->command.stdio = SPEC_STDIO_RELAY;
	else
		return bad(c, "'relay' (the default) or 'inherit'");
	return 0;
}

static int set_pass(const struct call *c)
{
	if (strcmp(c->value, "stdout") == 0)
		c->s->command.pass_stdout = true;
	else if (strcmp(c->value, "stderr") == 0)
		c->s->command.pass_stderr = true;
	else
		return bad(c, "'stdout' or 'stderr'");
	return 0;
}

static int set_capture(const struct call *c)
{
	c->s->command.capture = true;
	if (c->value && text_parse_size(c->value, &c->s->command.capture_bytes) < 0)
		return bad(c, "a size like 8M");
	return 0;
}

static int add_strv(const struct call *c)
{
	return spec_strv_add(field(c), c->value) < 0 ? oom(c) : 0;
}

static int add_env(const struct call *c)
{
	struct spec_strv *env = &c->s->command.env;
	size_t len = strcspn(c->value, "=");

	if (!c->value[len] || !len)
		return bad(c, "NAME=VALUE");
	for (size_t i = 0; i < env->n; i++) /* the last one wins */
		if (strncmp(env->v[i], c->value, len + 1) == 0) {
			char *copy = strdup(c->value);

			if (!copy)
				return oom(c);
			free(env->v[i]);
			env->v[i] = copy;
			return 0;
		}
	return spec_strv_add(env, c->value) < 0 ? oom(c) : 0;
}

/* An absolute host path; malloc'd. NULL: no_path() tells why. */
static char *host_path(const char *path, const char *cwd)
{
	char *out = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (!cwd)
		return NULL;
	while (path[0] == '.' && (path[1] == '/' || !path[1])) {
		path += path[1] ? 2 : 1;
		while (*path == '/')
			path++;
	}
	if (asprintf(&out, "%s%s%s", cwd, *path ? "/" : "", path) < 0)
		return NULL;
	return out;
}

static int no_path(const struct call *c)
{
	return c->cwd ? oom(c)
		      : err_set(c->e, ERR_USAGE, ENOENT,
				"--%s '%s': the working directory has no path, an absolute one is "
				"expected",
				c->option, c->value);
}

/* `host`, or a directory; one that is called host is ./host. */
static int set_root(const struct call *c)
{
	char *path = NULL;

	if (!*c->value)
		return bad(c, "'host' (the default) or a directory");
	if (strcmp(c->value, "host") != 0) {
		path = host_path(c->value, c->cwd);
		if (!path)
			return no_path(c);
	}
	free(c->s->root);
	c->s->root = path;
	return 0;
}

/* Read when the sandbox is made. */
static int set_seccomp(const struct call *c)
{
	char *path = *c->value ? host_path(c->value, c->cwd) : NULL;

	if (!path)
		return *c->value ? no_path(c) : bad(c, "a file with a profile");
	free(c->s->seccomp);
	free(c->s->seccomp_program);
	c->s->seccomp = path;
	c->s->seccomp_program = NULL;
	return 0;
}

/* HOST[:INSIDE], --file HOST:INSIDE[:MODE]. */
static int add_bind(const struct call *c, enum spec_mount_kind kind)
{
	AUTO_FREE char *copy = strdup(c->value);
	AUTO_FREE char *source = NULL;
	char *inside = copy ? strchr(copy, ':') : NULL, *mode_text = NULL;
	bool here = strcmp(c->value, ".") == 0;
	uint32_t mode = 0644;

	if (!copy)
		return oom(c);
	if (inside)
		*inside++ = 0;
	if (kind == SPEC_FILE && inside)
		mode_text = strchr(inside, ':');
	if (mode_text) {
		char *end;
		unsigned long v;

		*mode_text++ = 0;
		v = strtoul(mode_text, &end, 8);
		if (!*mode_text || *end || v > 0777)
			return bad(c, "an octal MODE up to 777");
		mode = (uint32_t)v;
	}
	if (!*copy || (inside && !*inside) || (kind == SPEC_FILE && !inside))
		return bad(c, kind == SPEC_FILE ? "HOST:INSIDE[:MODE]" : "HOST[:INSIDE]");
	source = host_path(copy, c->cwd);
	if (!source)
		return no_path(c);
	if (spec_mount_add(c->s, kind, source, inside ? inside : source, SPEC_UNSET, mode) < 0)
		return oom(c);
	if (here && kind == SPEC_RW && !c->s->command.workdir) {
		/* lint-allow: analyzer-malloc-leak: the spec owns it */
		c->s->command.workdir = strdup(source);
		if (!c->s->command.workdir)
			return oom(c);
	}
	return 0;
}

static int add_ro(const struct call *c)
{
	return add_bind(c, SPEC_RO);
}

/* A program's name, or the path of its file. */
static int add_program(const struct call *c)
{
	AUTO_FREE char *path =
		strchr(c->value, '/') ? host_path(c->value, c->cwd) : strdup(c->value);

	if (!*c->value)
		return bad(c, "the name or the path of a program");
	if (!path)
		return no_path(c);
	return spec_strv_add(&c->s->programs, path) < 0 ? oom(c) : 0;
}

static int add_rw(const struct call *c)
{
	return add_bind(c, SPEC_RW);
}

static int add_file(const struct call *c)
{
	return add_bind(c, SPEC_FILE);
}

/* INSIDE:HOST */
static int add_out(const struct call *c)
{
	const char *colon = strchr(c->value, ':');
	AUTO_FREE char *host = NULL, *pair = NULL;

	if (c->value[0] != '/' || !colon || !colon[1])
		return bad(c, "INSIDE:HOST, INSIDE absolute");
	host = host_path(colon + 1, c->cwd);
	if (!host)
		return no_path(c);
	if (asprintf(&pair, "%.*s:%s", (int)(colon - c->value), c->value, host) < 0)
		return oom(c);
	return spec_strv_add(&c->s->outs, pair) < 0 ? oom(c) : 0;
}

static int add_tmpfs(const struct call *c)
{
	AUTO_FREE char *copy = strdup(c->value);
	char *size = copy ? strchr(copy, ':') : NULL;
	uint64_t bytes = SPEC_UNSET;

	if (!copy)
		return oom(c);
	if (size) {
		*size++ = 0;
		if (strncmp(size, "size=", 5) == 0)
			size += 5;
		if (text_parse_size(size, &bytes) < 0)
			return bad(c, "INSIDE[:SIZE]");
	}
	if (!*copy)
		return bad(c, "INSIDE[:SIZE]");
	return spec_mount_add(c->s, SPEC_TMPFS, NULL, copy, bytes, 0755) < 0 ? oom(c) : 0;
}

#define AT(f) offsetof(struct spec, f)

static const struct {
	const char *name;
	bool takes_value; /* set_capture decides for itself */
	int (*set)(const struct call *c);
	size_t at;
} options[] = {
	{"name", true, set_text, AT(name)},
	{"hostname", true, set_text, AT(hostname)},
	{"root", true, set_root, 0},
	{"root-rw", false, set_flag, AT(root_rw)},
	{"bin", true, add_program, 0},
	{"ro", true, add_ro, 0},
	{"rw", true, add_rw, 0},
	{"tmpfs", true, add_tmpfs, 0},
	{"out", true, add_out, 0},
	{"out-limit", true, set_size, AT(out_bytes)},
	{"file", true, add_file, 0},
	{"workdir", true, set_text, AT(command.workdir)},
	{"env", true, add_env, 0},
	{"user", true, set_user, 0},
	{"ids", true, set_ids, 0},
	{"net", true, set_net, 0},
	{"stdio", true, set_stdio, 0},
	{"label", true, add_strv, AT(labels)},
	{"timeout", true, set_time, AT(limits.timeout_ns)},
	{"memory", true, set_size, AT(limits.memory_bytes)},
	{"pids", true, set_count, AT(limits.pids)},
	{"cpus", true, set_cpus, 0},
	{"cpuset", true, set_text, AT(cpuset)},
	{"disk", true, set_disk, 0},
	{"cpu-time", true, set_time, AT(limits.cpu_time_ns)},
	{"output-limit", true, set_size, AT(limits.output_bytes)},
	{"stdout-limit", true, set_size, AT(limits.stdout_bytes)},
	{"stderr-limit", true, set_size, AT(limits.stderr_bytes)},
	{"swap", true, set_size, AT(limits.swap_bytes)},
	{"io", true, set_size, AT(limits.io_bytes)},
	{"extra-time", true, set_time, AT(limits.extra_time_ns)},
	{"nofile", true, set_count, AT(limits.nofile)},
	{"fsize", true, set_size, AT(limits.fsize_bytes)},
	{"stack", true, set_size, AT(limits.stack_bytes)},
	{"ttl", true, set_time, AT(ttl_ns)},
	{"idle-timeout", true, set_time, AT(idle_timeout_ns)},
	{"fork-signal", true, set_signal, AT(fork_signal)},
	{"degrade", false, set_flag, AT(degrade)},
	{"rm", false, set_flag, AT(remove)},
	{"oom-group", false, set_flag, AT(oom_group)},
	{"allow-ptrace", false, set_flag, AT(allow_ptrace)},
	{"no-aslr", false, set_flag, AT(command.no_aslr)},
	{"tee", false, set_flag, AT(command.tee)},
	{"pass", true, set_pass, 0},
	{"nest", false, set_flag, AT(nest)},
	{"seccomp", true, set_seccomp, 0},
	{"tty", false, set_flag, AT(command.tty)},
	{"interactive", false, set_flag, AT(command.stdin_open)},
	{"capture", false, set_capture, 0},
};

int spec_option(struct spec *s, const char *option, const char *value, const char *cwd,
		struct err *e)
{
	const char *names[ARRAY_LEN(options)], *near;
	struct call c = {.s = s, .option = option, .value = value, .cwd = cwd, .e = e};

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		names[i] = options[i].name;
		if (strcmp(option, options[i].name) != 0)
			continue;
		if (options[i].takes_value && !value)
			return err_set(e, ERR_USAGE, 0, "--%s needs a value", option);
		if (!options[i].takes_value && value && options[i].set != set_capture)
			return err_set(e, ERR_USAGE, 0, "--%s takes no value", option);
		c.at = options[i].at;
		return options[i].set(&c);
	}
	near = text_nearest(option, names, ARRAY_LEN(names));
	err_set(e, ERR_USAGE, 0, "there is no option '%s'", option);
	if (near)
		err_hint(e, "did you mean '%s'?", near);
	return -EINVAL;
}
