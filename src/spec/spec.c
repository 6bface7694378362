/* SPDX-License-Identifier: Apache-2.0 */
#include "spec/spec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define CAPTURE_BYTES (8u << 20)
#define OUT_BYTES (64u << 20)
#define FILE_MODE 0644
#define ARGS_MAX (6u << 20)        /* the kernel's own bound for arguments and environment */
#define ARG_MAX_BYTES (128u << 10) /* MAX_ARG_STRLEN: one of them */

void spec_init(struct spec *s)
{
	*s = (struct spec){0};
	/* every limit is a uint64_t: nothing asked */
	memset(&s->limits, 0xff, sizeof(s->limits));
	s->ttl_ns = s->idle_timeout_ns = SPEC_UNSET;
	s->command.capture_bytes = CAPTURE_BYTES;
	s->out_bytes = OUT_BYTES;
}

static void strv_done(struct spec_strv *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->v[i]);
	free(v->v);
	*v = (struct spec_strv){0};
}

void spec_done(struct spec *s)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		free(s->mounts[i].source);
		free(s->mounts[i].target);
	}
	free(s->mounts);
	free(s->name);
	free(s->hostname);
	free(s->root);
	free(s->cpuset);
	free(s->seccomp);
	free(s->seccomp_program);
	free(s->command.workdir);
	strv_done(&s->command.argv);
	strv_done(&s->command.env);
	strv_done(&s->labels);
	strv_done(&s->outs);
	strv_done(&s->programs);
	*s = (struct spec){0};
}

int spec_strv_add(struct spec_strv *v, const char *text)
{
	char **grown = realloc(v->v, (v->n + 2) * sizeof(*grown)), *copy;

	if (!grown)
		return -ENOMEM;
	v->v = grown;
	copy = strdup(text);
	if (!copy) {
		v->v[v->n] = NULL;
		return -ENOMEM;
	}
	v->v[v->n++] = copy;
	v->v[v->n] = NULL;
	return 0;
}

int spec_mount_add(struct spec *s, enum spec_mount_kind kind, const char *source,
		   const char *target, uint64_t size, uint32_t mode)
{
	struct spec_mount *grown = realloc(s->mounts, (s->n_mounts + 1) * sizeof(*grown));
	struct spec_mount m = {.kind = kind, .size = size, .mode = mode};

	if (!grown)
		return -ENOMEM;
	s->mounts = grown;
	m.source = source ? strdup(source) : NULL;
	m.target = strdup(target);
	if ((source && !m.source) || !m.target) {
		free(m.source);
		free(m.target);
		return -ENOMEM;
	}
	/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
	s->mounts[s->n_mounts++] = m;
	return 0;
}

struct spec_mount *spec_mounts_before(struct spec *s, size_t n)
{
	struct spec_mount *grown = realloc(s->mounts, (s->n_mounts + n) * sizeof(*grown));

	if (!grown)
		return NULL;
	s->mounts = grown;
	memmove(grown + n, grown, s->n_mounts * sizeof(*grown));
	memset(grown, 0, n * sizeof(*grown));
	s->n_mounts += n;
	return grown;
}

/* "/a//b/./c/" to "/a/b/c" in place. -EINVAL: not absolute, or it has "..". */
static int normalise(char *path)
{
	char *in = path, *out = path;

	if (*in != '/')
		return -EINVAL;
	while (*in) {
		size_t len;

		while (*in == '/')
			in++;
		len = strcspn(in, "/");
		if (len == 2 && in[0] == '.' && in[1] == '.')
			return -EINVAL;
		if (len && !(len == 1 && in[0] == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
	return 0;
}

static const char *const mount_option[] = {"ro", "rw", "tmpfs", "file", "bin", "bin"};

/* Places that the sandbox itself makes: a mount on them would take a layer down. */
static bool is_reserved(const char *target)
{
	static const char *const reserved[] = {"/", "/proc", "/dev", "/dev/pts"};

	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (strcmp(target, reserved[i]) == 0)
			return true;
	return strncmp(target, "/proc/", 6) == 0 ||
	       (strncmp(target, "/dev/", 5) == 0 && strncmp(target, "/dev/shm", 8) != 0);
}

static int check_mount(struct spec_mount *m, struct err *e)
{
	const char *option = mount_option[m->kind];

	if (normalise(m->target) < 0)
		return err_set(e, ERR_TARGET, 0,
			       "--%s: the destination '%s' must be absolute and without '..'",
			       option, m->target);
	if (strlen(m->target) >= PATH_MAX)
		return err_set(e, ERR_TARGET, ENAMETOOLONG, "--%s: the destination", option);
	if (is_reserved(m->target))
		return err_set(e, ERR_TARGET, 0,
			       "--%s: the destination '%s' belongs to the sandbox itself", option,
			       m->target);
	if (m->kind != SPEC_TMPFS && m->kind != SPEC_LINK && (!m->source || m->source[0] != '/'))
		return err_set(e, ERR_SOURCE, 0, "--%s: the source must be an absolute path",
			       option);
	if (m->kind == SPEC_TMPFS && m->size == 0)
		return err_set(e, ERR_SPEC, 0, "--tmpfs: a size of 0 holds nothing");
	return 0;
}

static int check_args(const struct spec_command *c, struct err *e)
{
	const struct {
		const struct spec_strv *v;
		const char *what;
	} lists[] = {{&c->argv, "argument"}, {&c->env, "environment variable"}};
	size_t total = 0;

	for (size_t k = 0; k < ARRAY_LEN(lists); k++)
		for (size_t i = 0; i < lists[k].v->n; i++) {
			size_t len = strlen(lists[k].v->v[i]) + 1;

			if (len > ARG_MAX_BYTES)
				return err_set(
					e, ERR_SPEC, E2BIG,
					"one %s is longer than the 128 KiB that the kernel takes",
					lists[k].what);
			total += len + sizeof(char *);
		}
	if (total > ARGS_MAX)
		return err_set(e, ERR_SPEC, E2BIG, "arguments and environment together");
	return 0;
}

static int check_limits(const struct spec_limits *l, struct err *e)
{
	const struct {
		const char *name;
		uint64_t value, min;
	} bounds[] = {
		{"timeout", l->timeout_ns, 1},
		{"memory", l->memory_bytes, 64 << 10},
		{"pids", l->pids, 1},
		{"cpus", l->cpus_milli, 10},
		{"disk", l->disk_bytes, 64 << 10},
		{"disk inodes", l->disk_inodes, 16},
		{"cpu-time", l->cpu_time_ns, 1},
		{"nofile", l->nofile, 4},
		{"io", l->io_bytes, 4096},
	};

	if (l->swap_bytes != SPEC_UNSET && l->memory_bytes == SPEC_UNSET)
		return err_set(e, ERR_SPEC, 0,
			       "--swap comes on top of a --memory, which is missing");
	if (l->swap_bytes != SPEC_UNSET && l->swap_bytes > INT64_MAX - l->memory_bytes)
		return err_set(e, ERR_SPEC, ERANGE, "--swap");
	if (l->extra_time_ns != SPEC_UNSET &&
	    (l->extra_time_ns > INT64_MAX ||
	     (l->timeout_ns == SPEC_UNSET && l->cpu_time_ns == SPEC_UNSET)))
		return err_set(e, ERR_SPEC, 0,
			       "--extra-time comes on top of a --timeout or --cpu-time, which is "
			       "missing");
	for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
		if (bounds[i].value < bounds[i].min)
			return err_set(e, ERR_SPEC, 0, "--%s is below the least that works (%llu)",
				       bounds[i].name, (unsigned long long)bounds[i].min);
	return 0;
}

static int check_root(const struct spec *s, struct err *e)
{
	bool dir = spec_root_is_dir(s);

	if (s->root && !dir && strcmp(s->root, "programs") != 0)
		return err_set(e, ERR_SPEC, 0, "--root '%s': an absolute path is expected",
			       s->root);
	if (dir && strlen(s->root) >= PATH_MAX)
		return err_set(e, ERR_SPEC, ENAMETOOLONG, "--root: the directory");
	if (dir && s->programs.n)
		return err_set(e, ERR_SPEC, 0,
			       "--bin makes a root of its own: it does not go with --root %s",
			       s->root);
	if (s->root_rw && !dir)
		return err_set(e, ERR_SPEC, 0, "--root-rw needs a directory given with --root");
	return 0;
}

/* Numbers and ranges with a comma between each two. */
static bool is_cpu_list(const char *s)
{
	do {
		size_t n = strspn(s, "0123456789");

		if (!n || n > 4)
			return false;
		s += n;
		if (*s == '-') {
			n = strspn(s + 1, "0123456789");
			if (!n || n > 4)
				return false;
			s += n + 1;
		}
	} while (*s == ',' && s++);
	return !*s;
}

static int check_output(const struct spec *s, struct err *e)
{
	const struct spec_limits *l = &s->limits;

	if (s->command.stdio != SPEC_STDIO_INHERIT || s->command.tty ||
	    (l->output_bytes == SPEC_UNSET && l->stdout_bytes == SPEC_UNSET &&
	     l->stderr_bytes == SPEC_UNSET))
		return 0;
	return err_set(e, ERR_SPEC, 0,
		       "--stdio inherit: what is written does not come past us, so a limit of "
		       "output can't be held");
}

int spec_check(struct spec *s, struct err *e)
{
	int r = check_root(s, e);

	if (r < 0)
		return r;
	if (s->name && !text_is_name(s->name))
		return err_set(e, ERR_NAME, 0,
			       "'%s' is no name: a letter or digit, then up to 62 of letters, "
			       "digits, _ . -",
			       s->name);
	if (s->hostname && (!text_is_name(s->hostname) || strlen(s->hostname) > 63))
		return err_set(e, ERR_SPEC, 0, "'%s' is no host name", s->hostname);
	if (s->command.workdir && normalise(s->command.workdir) < 0)
		return err_set(e, ERR_SPEC, 0, "--workdir '%s' must be absolute and without '..'",
			       s->command.workdir);
	for (size_t i = 0; i < s->n_mounts; i++) {
		r = check_mount(&s->mounts[i], e);
		if (r < 0)
			return r;
	}
	if (s->cpuset && !is_cpu_list(s->cpuset))
		return err_set(e, ERR_SPEC, 0, "--cpuset '%s': a list like 0-2,5 is expected",
			       s->cpuset);
	for (size_t i = 0; i < s->outs.n; i++)
		if (s->outs.v[i][0] != '/' || !strstr(s->outs.v[i], ":/"))
			return err_set(e, ERR_SPEC, 0, "--out '%s': INSIDE:HOST is expected",
				       s->outs.v[i]);
	for (size_t i = 0; i < s->command.env.n; i++)
		if (strchr(s->command.env.v[i], '=') == NULL || s->command.env.v[i][0] == '=')
			return err_set(e, ERR_SPEC, 0, "--env '%s': NAME=VALUE is expected",
				       s->command.env.v[i]);
	if (s->ids_range && s->nest)
		return err_set(e, ERR_SPEC, 0,
			       "--ids range and --nest exclude each other: a namespace inside "
			       "would hand out the range's ids with all capabilities");
	if (s->command.tty && s->command.capture)
		return err_set(e, ERR_SPEC, 0, "--tty and --capture exclude each other");
	r = check_limits(&s->limits, e);
	if (r == 0)
		r = check_output(s, e);
	return r < 0 ? r : check_args(&s->command, e);
}
