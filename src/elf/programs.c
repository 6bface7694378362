/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The closure: programs, their loaders, the interpreters of scripts, as execve(2) finds them;
 * libraries.c adds what they need. What dlopen asks for later can't be known: name it as a program.
 *
 * A program may be a stranger's, and what it names is chosen by that stranger: a library called
 * /etc/shadow must not show that file. So what is not named by the caller enters only if it is what
 * it is said to be, and if everybody may read it or it lies beside or below the program that the
 * caller named. Nothing but regular files is ever opened.
 */
#include "elf/programs.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "elf/closure.h"

#define INTERPRETERS_MAX 5 /* of scripts, as the kernel */

static int add_needs(struct closure *c, size_t i, unsigned scripts);

/* The node of a real path, or c->n. */
static size_t node_of(const struct closure *c, const char *real)
{
	size_t i = 0;

	while (i < c->n && strcmp(c->v[i].path, real) != 0)
		i++;
	return i;
}

static int fail_read(struct closure *c, const char *path, int r, size_t loader)
{
	char who[160] = "";

	if (loader < c->n)
		snprintf(who, sizeof(who), ", needed by %.140s", closure_path(c, loader));
	if (r == -ENOEXEC)
		return err_set(c->e, ERR_SOURCE, 0, "--bin: %s is a malformed ELF file or script%s",
			       path, who);
	return err_set(c->e, ERR_SOURCE, -r, "--bin: read %s%s", path, who);
}

/* May everybody read it? real has no symlinks. */
static bool is_public(const char *real, mode_t mode)
{
	AUTO_FREE char *dir = strdup(real);
	struct stat st;
	char *slash;

	if (!dir || !(mode & S_IROTH))
		return false;
	while ((slash = strrchr(dir, '/')) && slash != dir) {
		*slash = 0;
		if (stat(dir, &st) < 0 || !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}

static bool is_beside(const char *program, const char *real)
{
	size_t n = (size_t)(strrchr(program, '/') - program) + 1;

	return n > 1 && strncmp(program, real, n) == 0;
}

static int check_role(struct closure *c, const char *real, mode_t mode, const struct elf_object *o,
		      size_t loader, enum role role)
{
	const struct elf_object *want = &c->v[loader].o;
	const char *who = closure_path(c, loader);

	if (role == NATIVE &&
	    (o->kind != ELF_OBJECT || (want->class != o->class || want->machine != o->machine)))
		return err_set(c->e, ERR_SOURCE, 0,
			       "--bin: %.120s, needed by %.120s, is no library or loader for it",
			       real, who);
	if (is_public(real, mode) || is_beside(closure_path(c, c->v[loader].named), real))
		return 0;
	err_set(c->e, ERR_SOURCE, 0,
		"--bin: %.120s, needed by %.120s, is a file that not everybody may read", real,
		who);
	err_hint(c->e, "if the sandbox may see it, name it by --bin too");
	return -EACCES;
}

int closure_add(struct closure *c, const char *path, size_t loader, enum role role, size_t *ret_i)
{
	AUTO_FREE char *real = NULL;
	AUTO_FD int fd = -EBADF;
	struct elf_object o;
	struct node *grown;
	struct stat st;
	int r = elf_walk(path, &c->links, &real);

	if (r == 0) {
		*ret_i = node_of(c, real);
		if (*ret_i < c->n) {
			bool more = role != NATIVE && c->v[*ret_i].native;

			/* a loader or library that is a program too: what it needs as such */
			if (more)
				c->v[*ret_i].native = false;
			return more;
		}
		fd = elf_open_regular(real, &st);
		r = fd < 0 ? fd : 0;
	}
	if (r == 0)
		r = elf_object_read(fd, &o);
	if (r < 0)
		return fail_read(c, path, r, loader);
	r = role == NAMED ? 0 : check_role(c, real, st.st_mode, &o, loader, role);
	if (r < 0) {
		elf_object_done(&o);
		return r;
	}
	grown = realloc(c->v, (c->n + 1) * sizeof(*grown));
	if (grown)
		c->v = grown; /* also if there is no room among the files: the old one is gone */
	if (!grown || elf_items_add(&c->files, real, NULL) < 0) {
		elf_object_done(&o);
		return err_set(c->e, ERR_SOURCE, grown ? E2BIG : ENOMEM, "--bin: %s", path);
	}
	c->v[c->n] = (struct node){.path = real,
				   .o = o,
				   .interp = NOBODY,
				   .named = role == NAMED ? c->n : c->v[loader].named,
				   .native = role == NATIVE};
	real = NULL;
	*ret_i = c->n++;
	return 1;
}

/* A name without a slash, in the sandbox's own PATH. */
static int look_up(struct closure *c, const char *name, char *ret)
{
	const char *at = ELF_PATH;

	for (; *at; at += strcspn(at, ":"), at += *at == ':') {
		struct stat st;
		int n = snprintf(ret, PATH_MAX, "%.*s/%s", (int)strcspn(at, ":"), at, name);

		if (n < PATH_MAX && stat(ret, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 0111)
			return 0;
	}
	err_set(c->e, ERR_SOURCE, 0, "--bin: there is no program '%.100s' in %s", name, ELF_PATH);
	err_hint(c->e, "give the path of the file");
	return -ENOENT;
}

static int add_interpreter(struct closure *c, const char *path, size_t who, unsigned scripts)
{
	size_t i;
	int r = closure_add(c, path, who, INTERPRETER, &i);

	return r > 0 ? add_needs(c, i, scripts) : r;
}

/* "env", "env -S NAME", "env A=B NAME": the program that env is told to find. */
static int add_env_target(struct closure *c, const struct elf_object *o, size_t who,
			  unsigned scripts)
{
	AUTO_FREE char *copy = strdup(o->argument ? o->argument : "");
	char path[PATH_MAX], *rest = copy, *word;

	if (!copy)
		return -ENOMEM;
	while ((word = strsep(&rest, " \t"))) {
		if (!*word || *word == '-' || strchr(word, '='))
			continue;
		if (word[0] == '/')
			return add_interpreter(c, word, who, scripts);
		return look_up(c, word, path) < 0 ? -ENOENT
						  : add_interpreter(c, path, who, scripts);
	}
	return 0;
}

static int add_interpreters(struct closure *c, size_t i, unsigned scripts)
{
	const char *slash = strrchr(c->v[i].o.interp, '/');
	struct elf_object script = c->v[i].o; /* borrowed; the nodes may move, its texts don't */
	int r;

	if (scripts == INTERPRETERS_MAX)
		return err_set(c->e, ERR_SOURCE, ELOOP, "--bin: too many interpreters for %s",
			       closure_path(c, i));
	if (!slash || script.interp[0] != '/')
		return err_set(c->e, ERR_SOURCE, 0,
			       "--bin: %s has the interpreter '%.80s', which is no absolute path",
			       closure_path(c, i), script.interp);
	r = add_interpreter(c, script.interp, i, scripts + 1);
	if (r == 0 && strcmp(slash, "/env") == 0)
		r = add_env_target(c, &script, i, scripts + 1);
	return r;
}

/* What a program needs besides itself; libraries follow by the loop of elf_programs. */
static int add_needs(struct closure *c, size_t i, unsigned scripts)
{
	size_t at;
	int r;

	if (c->v[i].o.kind == ELF_OTHER)
		return err_set(c->e, ERR_SOURCE, 0, "--bin: %s is neither an ELF file nor a script",
			       closure_path(c, i));
	if (c->v[i].o.kind == ELF_SCRIPT)
		return add_interpreters(c, i, scripts);
	if (!c->v[i].o.interp)
		return 0;
	r = closure_add(c, c->v[i].o.interp, i, NATIVE, &at);
	if (r < 0)
		return r;
	c->v[i].interp = at;
	return 0;
}

/* Links first, so that files lie behind them. */
static int join(struct closure *c, struct elf_items *ret)
{
	int r = 0;

	if (c->cache_needed)
		r = elf_items_add(&c->files, CLOSURE_CACHE, NULL);
	*ret = c->links;
	c->links = (struct elf_items){0};
	for (size_t i = 0; i < c->files.n && r == 0; i++)
		r = elf_items_add(ret, c->files.v[i].path, NULL);
	return r < 0 ? err_set(c->e, ERR_SOURCE, -r, "--bin: the list of files") : 0;
}

int elf_programs(char *const *names, size_t n, struct elf_items *ret, struct err *e)
{
	struct closure c = {.e = e};
	AUTO_FD int cache_fd = open(CLOSURE_CACHE, O_RDONLY | O_CLOEXEC);
	char path[PATH_MAX];
	size_t named, at;
	int r = 0;

	*ret = (struct elf_items){0};
	elf_cache_read(cache_fd, &c.cache);
	for (size_t i = 0; i < n && r >= 0; i++) {
		bool plain = !strchr(names[i], '/');

		r = plain ? look_up(&c, names[i], path) : 0;
		if (r == 0)
			r = closure_add(&c, plain ? path : names[i], SIZE_MAX, NAMED, &at);
	}
	r = r < 0 ? r : 0;
	named = c.n;
	for (size_t i = 0; i < named && r == 0; i++)
		r = add_needs(&c, i, 0);
	if (r == 0)
		r = closure_add_libraries(&c);
	if (r == 0)
		r = join(&c, ret);
	if (r < 0)
		elf_items_done(ret);
	for (size_t i = 0; i < c.n; i++) {
		free(c.v[i].path);
		elf_object_done(&c.v[i].o);
	}
	free(c.v);
	free(c.loaded);
	elf_items_done(&c.links);
	elf_items_done(&c.files);
	elf_cache_done(&c.cache);
	return r;
}
