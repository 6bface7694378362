/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries, as ld.so(8) looks for them. Each program is gone through as its loader would, breadth
 * first: what is loaded under a name is not searched for again. Else a library is searched for like
 * this: RPATH of who needs it and of those that loaded that one (unless it has a RUNPATH), its
 * RUNPATH, ld.so.cache, the usual directories. LD_LIBRARY_PATH does not count, since the sandbox
 * does not have the caller's.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "elf/closure.h"

#define CONF "/etc/ld.so.conf"
#define CHAIN_MAX 64 /* libraries that load libraries */

/* The loader of the program decides how libraries are found. */
static bool is_musl(const struct closure *c)
{
	const char *interp = c->v[c->loaded[0].node].o.interp;

	return interp && strstr(interp, "/ld-musl-");
}

static int append(struct closure *c, struct loaded x)
{
	if (c->n_loaded == c->room_loaded) {
		size_t room = c->room_loaded ? 2 * c->room_loaded : 64;
		struct loaded *grown = realloc(c->loaded, room * sizeof(*grown));

		if (!grown) {
			free(x.found);
			return err_set(c->e, ERR_SOURCE, ENOMEM, "--bin: %s",
				       closure_path(c, x.node));
		}
		c->loaded = grown;
		c->room_loaded = room;
	}
	c->loaded[c->n_loaded++] = x;
	return 0;
}

/* musl gives what it loaded by a path a name when it meets it by a search, and then no other. */
static void name_for_musl(struct closure *c, struct loaded *l)
{
	const char *path = l->found ? l->found : closure_path(c, l->node);

	if (!l->asked)
		l->asked = strrchr(path, '/') + 1;
}

/* path: where it was found; NULL: where it is. asked: by which name; NULL: by that path. */
static int load(struct closure *c, size_t node, size_t by, const char *asked, const char *path)
{
	struct loaded x = {.node = node, .by = by, .asked = asked};

	for (size_t i = 0; i < c->n_loaded && !x.again; i++)
		if (c->loaded[i].node == node && !c->loaded[i].again) {
			x.again = true;
			if (is_musl(c))
				name_for_musl(c, &c->loaded[i]);
		}
	if (x.again)
		return asked && !is_musl(c) ? append(c, x) : 0;
	if (path) {
		x.found = strdup(path);
		if (!x.found)
			return err_set(c->e, ERR_SOURCE, ENOMEM, "--bin: %s", path);
	}
	/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
	return append(c, x);
}

static void unload(struct closure *c)
{
	for (size_t i = 0; i < c->n_loaded; i++)
		free(c->loaded[i].found);
	c->n_loaded = 0;
}

/* $ORIGIN is where it was found, but for a program, which the kernel has resolved. */
static const char *origin(const struct closure *c, size_t at)
{
	return c->loaded[at].found ? c->loaded[at].found : closure_path(c, c->loaded[at].node);
}

static bool has_soname(const struct node *n, const char *name)
{
	return n->o.soname && strcmp(n->o.soname, name) == 0;
}

/* musl goes by the names that were asked for alone. */
static bool is_loaded(const struct closure *c, const char *name, bool musl)
{
	for (size_t i = 0; i < c->n_loaded; i++) {
		const struct loaded *l = &c->loaded[i];

		if ((l->asked && strcmp(l->asked, name) == 0) ||
		    (!musl && has_soname(&c->v[l->node], name)))
			return true;
	}
	return false;
}

/* A library that was named is for a program that loads it later, and that has more by then. */
static bool is_left_to_program(const struct closure *c, const char *name)
{
	const struct elf_object *first = &c->v[c->loaded[0].node].o;
	bool found = false;

	for (size_t i = 0; i < c->n && !first->interp && !found; i++)
		found = c->v[i].o.class == first->class && c->v[i].o.machine == first->machine &&
			has_soname(&c->v[i], name);
	return found;
}

/* One level of search_rpaths: what the object at `at` says about libraries of it and of those
 * below.
 */
static int search_rpath(struct closure *c, size_t at, bool musl, const char *name,
			const struct elf_object *want, char *ret)
{
	const struct elf_object *o = &c->v[c->loaded[at].node].o;
	const char *list = musl && o->runpath ? o->runpath : !o->runpath ? o->rpath : NULL;

	return elf_search_list(&c->looked, list, origin(c, at), name, want, ret);
}

static int search_rpaths(struct closure *c, size_t at, const char *name, char *ret)
{
	const struct elf_object *want = &c->v[c->loaded[at].node].o;
	bool musl = is_musl(c);
	int found = 0;

	/* RPATH is inherited from those that loaded it, RUNPATH is not and switches RPATH off; to
	 * musl both are RPATH */
	for (size_t i = at, k = 0; !found && (musl || !want->runpath) && k < CHAIN_MAX; k++) {
		found = search_rpath(c, i, musl, name, want, ret);
		if (c->loaded[i].by == i)
			break;
		i = c->loaded[i].by;
	}
	if (found || musl)
		return found;
	return elf_search_list(&c->looked, want->runpath, origin(c, at), name, want, ret);
}

static int add_library(struct closure *c, const char *path, size_t at, const char *name)
{
	size_t i;
	int r = closure_add(c, path, c->loaded[at].node, NATIVE, &i);

	return r < 0 ? r : load(c, i, at, name, path);
}

/* Does the loader find it without its cache? */
static bool is_found_by_itself(const struct closure *c, const struct elf_object *want,
			       const char *path)
{
	size_t interp = c->v[c->loaded[0].node].interp;

	return elf_is_usual(want, path) &&
	       (interp == NOBODY || elf_loader_knows(closure_path(c, interp), path));
}

/* All that the cache has under that name: the loader takes the best one for the processor. */
static int search_cache(struct closure *c, size_t at, const char *name)
{
	size_t who = c->loaded[at].node;
	const struct elf_object *want = &c->v[who].o;
	const char *path;
	int found = 0, r;

	elf_note_looked(&c->looked, CLOSURE_CACHE);
	for (unsigned i = 0; (path = elf_cache_find(&c->cache, name, i)); i++) {
		if (!elf_fits(path, want))
			continue;
		if (!is_found_by_itself(c, want, path))
			c->cache_needed = true;
		r = add_library(c, path, at, name);
		if (r < 0)
			return r;
		found = 1;
		want = &c->v[who].o; /* the nodes may have moved */
	}
	return found;
}

/* Where ldconfig would have found it the loader inside finds it neither: it is not shown there. */
static int missing(struct closure *c, size_t who, const char *name)
{
	const struct node *n = &c->v[who];
	char path[PATH_MAX];

	if (!is_musl(c) && !n->o.no_default && elf_conf_find(CONF, name, &n->o, path)) {
		err_set(c->e, ERR_SOURCE, 0,
			"--bin: %.80s, needed by %.120s, lies at %.120s, in a directory of " CONF
			"%s " CLOSURE_CACHE,
			name, closure_path(c, who), path,
			c->cache.bytes ? " that is not in" : ", but there is no");
		err_hint(c->e, "run `ldconfig` as root");
		return -ENOENT;
	}
	err_set(c->e, ERR_SOURCE, 0, "--bin: %.80s, needed by %.120s, is not found; looked in %s",
		name, closure_path(c, who), c->looked.text);
	err_hint(c->e, "install the package that has it; `ldconfig` lists new directories");
	return -ENOENT;
}

static int resolve(struct closure *c, size_t at, const char *name)
{
	size_t who = c->loaded[at].node;
	char path[PATH_MAX];
	bool musl = is_musl(c);
	int found;

	c->looked.text[0] = 0;
	if (strchr(name, '/')) {
		if (name[0] == '$' && !musl && elf_expand(name, strlen(name), origin(c, at), path))
			return add_library(c, path, at, NULL);
		if (name[0] != '/')
			return err_set(c->e, ERR_SOURCE, 0,
				       "--bin: %.120s needs '%.80s', which depends on the working "
				       "directory",
				       closure_path(c, who), name);
		return add_library(c, name, at, NULL);
	}
	if ((musl && elf_is_part_of_musl(name)) || is_loaded(c, name, musl))
		return 0;
	found = search_rpaths(c, at, name, path);
	if (!found && !musl && !c->v[who].o.no_default) {
		int r = search_cache(c, at, name);

		if (r)
			return r < 0 ? r : 0;
		found = elf_search_list(&c->looked, elf_usual(&c->v[who].o), "", name, &c->v[who].o,
					path);
	}
	if (!found && (musl || !c->v[who].o.no_default))
		found = elf_search_list(&c->looked, musl ? ELF_USUAL_MUSL : ELF_USUAL_ALL, "", name,
					&c->v[who].o, path);
	if (found)
		return add_library(c, path, at, name);
	if (c->looked.n > ELF_LOOKS_MAX)
		return err_set(c->e, ERR_SOURCE, E2BIG,
			       "--bin: look for %.80s, needed by %.120s, in so many places", name,
			       closure_path(c, who));
	return is_left_to_program(c, name) ? 0 : missing(c, who, name);
}

static int go_through(struct closure *c, size_t program)
{
	size_t interp = c->v[program].interp;
	int r = append(c, (struct loaded){.node = program});

	if (r == 0 && interp != NOBODY)
		r = load(c, interp, 0, NULL, NULL);
	for (size_t i = 0; i < c->n_loaded && r == 0; i++)
		for (size_t k = 0;
		     !c->loaded[i].again && k < c->v[c->loaded[i].node].o.n_needed && r == 0; k++)
			r = resolve(c, i, c->v[c->loaded[i].node].o.needed[k]);
	unload(c);
	return r;
}

/* Libraries that were named come last: then it is known what the programs have. */
int closure_add_libraries(struct closure *c)
{
	int r = 0;

	for (int libraries = 0; libraries < 2; libraries++)
		for (size_t i = 0; i < c->n && r == 0; i++)
			if (!c->v[i].native && (libraries == 1) == !c->v[i].o.interp)
				r = go_through(c, i);
	return r;
}
