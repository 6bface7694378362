/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: the texts of /proc/self/{mountinfo,cgroup} and of cgroup files. Pure: no system call, no
 * global, no allocation. The texts come from the kernel, but names in them come from whoever made
 * a cgroup or a mount: any byte may occur, and nothing here reads past n or past a NUL.
 */
#include "kern/cgroup_internal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const char *const ctl_names[CGROUP_CTL_N] = {
	[CGROUP_MEMORY] = "memory",   [CGROUP_PIDS] = "pids",       [CGROUP_CPU] = "cpu",
	[CGROUP_CPUACCT] = "cpuacct", [CGROUP_FREEZER] = "freezer", [CGROUP_CPUSET] = "cpuset",
	[CGROUP_IO] = "io",
};

const char *cgroup_ctl_name(enum cgroup_ctl ctl)
{
	return (unsigned)ctl < CGROUP_CTL_N ? ctl_names[ctl] : "?";
}

/* A piece of a text that is not NUL-terminated. */
struct span {
	const char *p;
	size_t n;
};

/* The next piece of *rest, up to `sep` or the end; false when nothing is left. */
static bool span_cut(struct span *rest, char sep, struct span *ret)
{
	const char *end;

	if (!rest->p)
		return false;
	end = memchr(rest->p, sep, rest->n);
	*ret = (struct span){rest->p, end ? (size_t)(end - rest->p) : rest->n};
	if (end)
		*rest = (struct span){end + 1, rest->n - ret->n - 1};
	else
		*rest = (struct span){NULL, 0};
	return true;
}

static bool span_is(struct span s, const char *word)
{
	return s.n == strlen(word) && !memcmp(s.p, word, s.n);
}

uint32_t cgroup_parse_ctls(const char *text, size_t n)
{
	uint32_t mask = 0;
	size_t at = 0;

	while (at < n) {
		size_t start = at;

		while (at < n && text[at] != ' ' && text[at] != ',' && text[at] != '\n')
			at++;
		for (int i = 0; i < CGROUP_CTL_N; i++)
			if (span_is((struct span){text + start, at - start}, ctl_names[i]))
				mask |= CGROUP_BIT(i);
		at++;
	}
	return mask;
}

/* mountinfo escapes space, tab, newline and backslash as \ooo. Returns 0, -EINVAL, -ENAMETOOLONG.
 */
static int path_unescape(struct span s, char *ret, size_t size)
{
	size_t out = 0;

	if (!s.n || s.p[0] != '/')
		return -EINVAL;
	for (size_t i = 0; i < s.n; i++) {
		unsigned c = (unsigned char)s.p[i];

		if (c == '\\') {
			if (s.n - i < 4)
				return -EINVAL;
			c = 0;
			for (size_t k = 1; k <= 3; k++) {
				if (s.p[i + k] < '0' || s.p[i + k] > '7')
					return -EINVAL;
				c = c * 8 + (unsigned)(s.p[i + k] - '0');
			}
			i += 3;
		}
		if (!c || c > 255)
			return -EINVAL;
		if (out + 1 >= size)
			return -ENAMETOOLONG;
		ret[out++] = (char)c;
	}
	ret[out] = '\0';
	return 0;
}

static bool has_option(struct span options, const char *word)
{
	struct span one;

	while (span_cut(&options, ',', &one))
		if (span_is(one, word))
			return true;
	return false;
}

/* ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS */
static bool parse_mount_line(struct span line, struct cgroup_mount *ret)
{
	struct span f[6], tag, type, source, super;

	for (size_t i = 0; i < ARRAY_LEN(f); i++)
		if (!span_cut(&line, ' ', &f[i]))
			return false;
	do {
		if (!span_cut(&line, ' ', &tag))
			return false;
	} while (!span_is(tag, "-"));
	if (!span_cut(&line, ' ', &type) || !span_cut(&line, ' ', &source) ||
	    !span_cut(&line, ' ', &super))
		return false;
	*ret = (struct cgroup_mount){0};
	if (span_is(type, "cgroup2"))
		ret->version = 2;
	else if (span_is(type, "cgroup"))
		ret->version = 1;
	else
		return false;
	if (ret->version == 1)
		ret->ctls = cgroup_parse_ctls(super.p, super.n);
	ret->read_only = has_option(f[5], "ro") || has_option(super, "ro");
	return (ret->version == 2 || ret->ctls) &&
	       !path_unescape(f[3], ret->root, sizeof(ret->root)) &&
	       !path_unescape(f[4], ret->point, sizeof(ret->point));
}

int cgroup_parse_mountinfo(const char *text, size_t n, struct cgroup_mount *ret, int max)
{
	struct span rest = {text, n}, line;
	struct cgroup_mount m;
	int count = 0;

	while (span_cut(&rest, '\n', &line)) {
		int i;

		if (!parse_mount_line(line, &m))
			continue;
		for (i = 0; i < count; i++)
			if (ret[i].version == m.version && (m.ctls & ret[i].ctls) == m.ctls)
				break;
		/* The same hierarchy may be mounted several times: a writable one is better, and
		 * one that shows the hierarchy from its root. */
		if (i < count) {
			bool better = ret[i].read_only && !m.read_only;

			if (ret[i].read_only == m.read_only)
				better = strcmp(ret[i].root, "/") && !strcmp(m.root, "/");
			if (better)
				ret[i] = m;
		} else if (count < max) {
			ret[count++] = m;
		}
	}
	return count;
}

static bool path_has_dots(const char *path)
{
	struct span rest = {path, strlen(path)}, part;

	while (span_cut(&rest, '/', &part))
		if (span_is(part, ".") || span_is(part, ".."))
			return true;
	return false;
}

int cgroup_parse_self(const char *text, size_t n, uint32_t ctls, char *ret, size_t size)
{
	static const char gone[] = " (deleted)";
	struct span rest = {text, n}, line, id, names;

	while (span_cut(&rest, '\n', &line)) {
		if (!span_cut(&line, ':', &id) || !span_cut(&line, ':', &names) || !line.p)
			continue;
		if (ctls ? !(cgroup_parse_ctls(names.p, names.n) & ctls)
			 : !(span_is(id, "0") && !names.n))
			continue;
		if (!line.n || line.p[0] != '/' || memchr(line.p, '\0', line.n))
			return -EINVAL;
		if (line.n >= size)
			return -ENAMETOOLONG;
		memcpy(ret, line.p, line.n);
		ret[line.n] = '\0';
		if (line.n >= strlen(gone) && !strcmp(ret + line.n - strlen(gone), gone))
			return -EINVAL;
		return path_has_dots(ret) ? -EINVAL : 0;
	}
	return -ENOENT;
}

uint64_t cgroup_parse_u64(const char *text)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; text[i] >= '0' && text[i] <= '9'; i++) {
		unsigned digit = (unsigned)(text[i] - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return CGROUP_UNKNOWN;
		v = v * 10 + digit;
	}
	if (!i || (text[i] && text[i] != '\n'))
		return CGROUP_UNKNOWN;
	return v;
}

uint64_t cgroup_parse_key(const char *text, const char *key)
{
	size_t n = strlen(key);

	while (text) {
		if (!strncmp(text, key, n) && text[n] == ' ')
			return cgroup_parse_u64(text + n + 1);
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return CGROUP_UNKNOWN;
}

long cgroup_parse_pid(const char **text)
{
	long pid = 0;

	while (**text && !isdigit((unsigned char)**text))
		(*text)++;
	if (!**text)
		return -1;
	for (; isdigit((unsigned char)**text); (*text)++)
		if (pid <= INT32_MAX)
			pid = pid * 10 + (**text - '0');
	return pid > INT32_MAX ? 0 : pid;
}

/* True when path is top or below it; *ret_rest is what follows. */
static bool path_below(const char *path, const char *top, const char **ret_rest)
{
	size_t n = strlen(top);

	while (n && top[n - 1] == '/')
		n--;
	if (strncmp(path, top, n) || (path[n] && path[n] != '/'))
		return false;
	*ret_rest = path + n;
	return true;
}

int cgroup_parse_own(const struct cgroup_mount *m, const char *self, char *ret, size_t size)
{
	const char *rest;
	size_t point_n = strlen(m->point), rest_n;

	/* A root of "/../.." means that the mount starts above our cgroup namespace: the names
	 * between are hidden from us. */
	if (path_has_dots(m->root) || path_has_dots(self) || !path_below(self, m->root, &rest))
		return -ENOENT;
	while (point_n > 1 && m->point[point_n - 1] == '/')
		point_n--;
	rest_n = strlen(rest);
	while (rest_n && rest[rest_n - 1] == '/')
		rest_n--;
	if (point_n + rest_n >= size)
		return -ENAMETOOLONG;
	memcpy(ret, m->point, point_n);
	memcpy(ret + point_n, rest, rest_n);
	ret[point_n + rest_n] = '\0';
	return 0;
}

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n >= t && !strcmp(s + n - t, tail);
}

bool cgroup_path_up(char *path, const char *top)
{
	const char *rest;
	char *slash = strrchr(path, '/');

	if (ends_with(path, ".scope") || ends_with(path, ".service") || ends_with(path, ".slice"))
		return false;
	if (!path_below(path, top, &rest) || !*rest || !slash || slash == path)
		return false;
	*slash = '\0';
	return true;
}

bool cgroup_path_is_ours(const char *path)
{
	size_t n = strlen(path);
	const char *id;
	static const char parent[] = "/" CGROUP_PARENT "/";

	if (path[0] != '/' || n <= CGROUP_ID_LEN + strlen(parent) || path_has_dots(path))
		return false;
	id = path + n - CGROUP_ID_LEN;
	for (int i = 0; i < CGROUP_ID_LEN; i++)
		if (!strchr("0123456789abcdef", id[i]))
			return false;
	return !strncmp(id - strlen(parent), parent, strlen(parent));
}
