/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/ld.so.conf, of which ldconfig makes ld.so.cache. The loader never reads it, so nothing is
 * found by it: it only tells why a library that lies in one of its directories is not found.
 *
 * The format (glibc, elf/ldconfig.c): a directory a line, "=libc6" of old behind it; "include" with
 * patterns, relative to the file; "hwcap", which means nothing any more; # to the end of the line.
 * Bytes that anybody wrote must do no harm: all that is opened, listed and looked into is counted,
 * and only regular files are read. A pattern may have wildcards in its last name alone, so that
 * none lists half the host.
 */
#include "elf/search.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SPACE " \t\r\f\v"
#define DEPTH_MAX 8
#define LOOKS_MAX 1024 /* files, patterns and directories together */
#define CONF_MAX (64 << 10)

struct reader {
	const char *name;
	const struct elf_object *want;
	char *ret;
	unsigned looks;
};

static bool read_file(struct reader *r, const char *path, unsigned depth);

static bool may_look(struct reader *r)
{
	return r->looks && r->looks--;
}

/* Does the directory have the library? Cuts what ldconfig cuts from the line. */
static bool try_directory(struct reader *r, char *dir)
{
	char *end = dir + strcspn(dir, "=");

	while (end > dir && strchr("/" SPACE, end[-1]))
		end--;
	*end = 0;
	return dir[0] == '/' && may_look(r) &&
	       snprintf(r->ret, PATH_MAX, "%s/%s", dir, r->name) < PATH_MAX &&
	       elf_fits(r->ret, r->want);
}

static bool include(struct reader *r, const char *file, const char *pattern, unsigned depth)
{
	const char *slash = strrchr(file, '/'), *last = strrchr(pattern, '/');
	char path[PATH_MAX];
	bool found = false;
	glob_t g;

	if (depth == DEPTH_MAX || (last && strcspn(pattern, "*?[") < (size_t)(last - pattern)) ||
	    !may_look(r))
		return false;
	if (snprintf(path, sizeof(path), "%.*s%s", pattern[0] == '/' ? 0 : (int)(slash - file) + 1,
		     file, pattern) >= (int)sizeof(path) ||
	    glob(path, 0, NULL, &g) != 0)
		return false;
	for (size_t i = 0; i < g.gl_pathc && !found; i++)
		found = read_file(r, g.gl_pathv[i], depth + 1);
	globfree(&g);
	return found;
}

static bool read_line(struct reader *r, const char *file, char *line, unsigned depth)
{
	char *word, *rest;

	line[strcspn(line, "#")] = 0;
	line += strspn(line, SPACE);
	rest = line + strcspn(line, SPACE);
	if (strncmp(line, "include", 7) != 0 || rest != line + 7)
		return try_directory(r, line); /* "hwcap" has no slash at the beginning */
	while ((word = strsep(&rest, SPACE)))
		if (*word && include(r, file, word, depth))
			return true;
	return false;
}

static bool read_file(struct reader *r, const char *path, unsigned depth)
{
	AUTO_FREE char *text = NULL;
	struct stat st;
	AUTO_FD int fd = may_look(r) ? elf_open_regular(path, &st) : -EBADF;
	char *line, *rest;
	ssize_t n;

	/* what says to be empty is not read: the files of /proc, whose reading may wait */
	if (fd < 0 || st.st_size <= 0 || st.st_size > CONF_MAX)
		return false;
	text = malloc((size_t)st.st_size + 1);
	n = text ? pread(fd, text, (size_t)st.st_size, 0) : -1;
	if (n < 0)
		return false;
	text[n] = 0;
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (read_line(r, path, line, depth))
			return true;
	return false;
}

bool elf_conf_find(const char *conf, const char *name, const struct elf_object *want, char *ret)
{
	struct reader r = {.name = name, .want = want, .ret = ret, .looks = LOOKS_MAX};

	/* ldconfig passes over all other names */
	return strncmp(name, "lib", 3) == 0 && strstr(name, ".so") && read_file(&r, conf, 0);
}
