/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the name of a file to the file. A jail shows a file at its real path and the symlinks that
 * lead to it as symlinks: a program that asks where it lies ($ORIGIN, /proc/self/exe, argv[0] of
 * busybox) is told what the host would tell it.
 */
#include "elf/programs.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LINKS_MAX 40 /* as the kernel */

int elf_items_add(struct elf_items *items, const char *path, const char *link)
{
	struct elf_item *grown;

	for (size_t i = 0; i < items->n; i++)
		if (strcmp(items->v[i].path, path) == 0)
			return 0;
	if (items->n == ELF_ITEMS_MAX)
		return -E2BIG;
	grown = realloc(items->v, (items->n + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	items->v = grown;
	/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
	grown[items->n].path = strdup(path);
	grown[items->n].link = link ? strdup(link) : NULL;
	if (!grown[items->n].path || (link && !grown[items->n].link)) {
		free(grown[items->n].path);
		free(grown[items->n].link);
		return -ENOMEM;
	}
	items->n++;
	return 0;
}

void elf_items_done(struct elf_items *items)
{
	for (size_t i = 0; i < items->n; i++) {
		free(items->v[i].path);
		free(items->v[i].link);
	}
	free(items->v);
	*items = (struct elf_items){0};
}

struct walk {
	char done[PATH_MAX]; /* real, no slash at the end; "" is the root */
	char rest[PATH_MAX]; /* still to be followed, relative to done */
	struct elf_items *links;
	unsigned n_links;
};

static void up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	if (slash)
		*slash = 0;
}

/* The component just added is a symlink: what it says takes its place. */
static int follow(struct walk *w)
{
	char text[PATH_MAX];
	ssize_t n = readlink(w->done, text, sizeof(text) - 1);
	size_t rest = strlen(w->rest);

	if (n < 0)
		return -errno;
	text[n] = 0;
	if (++w->n_links > LINKS_MAX)
		return -ELOOP;
	if (strchr(w->done + 1, '/')) { /* those at the top belong to the root */
		int r = elf_items_add(w->links, w->done, text);

		/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
		if (r < 0)
			return r;
	}
	if ((size_t)n + 1 + rest >= sizeof(w->rest))
		return -ENAMETOOLONG;
	memmove(w->rest + n + 1, w->rest, rest + 1);
	memcpy(w->rest, text, (size_t)n);
	w->rest[n] = '/';
	up(w);
	if (text[0] == '/')
		w->done[0] = 0;
	return 0;
}

static int step(struct walk *w)
{
	size_t skip = strspn(w->rest, "/"), len = strcspn(w->rest + skip, "/");
	size_t done = strlen(w->done);
	const char *name = w->rest + skip;
	struct stat st;

	if (!len) {
		w->rest[0] = 0;
		return 0;
	}
	if (len == 2 && name[0] == '.' && name[1] == '.')
		up(w);
	if (!(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))) {
		if (done + 1 + len >= sizeof(w->done))
			return -ENAMETOOLONG;
		w->done[done] = '/';
		memcpy(w->done + done + 1, name, len);
		w->done[done + 1 + len] = 0;
	}
	memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);
	if (lstat(w->done[0] ? w->done : "/", &st) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? follow(w) : 0;
}

int elf_walk(const char *path, struct elf_items *links, char **ret)
{
	AUTO_FREE struct walk *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOMEM;
	w->links = links;
	if (strlen(path) >= sizeof(w->rest))
		return -ENAMETOOLONG;
	memcpy(w->rest, path, strlen(path) + 1);
	while (r == 0 && w->rest[0])
		r = step(w);
	if (r < 0)
		return r;
	*ret = strdup(w->done);
	return *ret ? 0 : -ENOMEM;
}
