/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/links.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The slot of the source, or the empty one that it would take. */
static struct link_copy *slot(const struct links *l, dev_t dev, ino_t ino)
{
	uint64_t hash = ((uint64_t)ino ^ (uint64_t)dev << 32) * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(hash >> 20) & (l->size - 1);

	while (l->v[i].path && (l->v[i].from_ino != ino || l->v[i].from_dev != dev))
		i = (i + 1) & (l->size - 1);
	return &l->v[i];
}

const struct link_copy *links_find(const struct links *l, const struct stat *from)
{
	const struct link_copy *c = l->size ? slot(l, from->st_dev, from->st_ino) : NULL;

	return c && c->path ? c : NULL;
}

/* Half of the slots stay empty. */
static int grow(struct links *l)
{
	struct links bigger = {.n = l->n, .size = l->size ? l->size * 2 : 64};

	bigger.v = calloc(bigger.size, sizeof(*bigger.v));
	if (!bigger.v)
		return -1;
	for (size_t i = 0; i < l->size; i++)
		if (l->v[i].path)
			*slot(&bigger, l->v[i].from_dev, l->v[i].from_ino) = l->v[i];
	free(l->v);
	*l = bigger;
	return 0;
}

void links_add(struct links *l, const struct stat *from, const struct stat *to, const char *path)
{
	struct link_copy *c;

	/* a path that no call takes is of no use, and the workload may have any number of them */
	if (strlen(path) >= PATH_MAX || (l->n * 2 >= l->size && grow(l) < 0))
		return;
	c = slot(l, from->st_dev, from->st_ino);
	if (c->path)
		return;
	/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
	*c = (struct link_copy){
		.from_dev = from->st_dev, .from_ino = from->st_ino, .path = strdup(path)};
	if (to) {
		c->dev = to->st_dev;
		c->ino = to->st_ino;
	}
	l->n += c->path != NULL;
}

void links_done(struct links *l)
{
	for (size_t i = 0; i < l->size; i++)
		free(l->v[i].path);
	free(l->v);
	*l = (struct links){0};
}
