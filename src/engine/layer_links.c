/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/layer_links.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/layer_format.h"

struct layer_link {
	uint64_t dev, ino, index; /* index 0: the slot is free */
};

struct layer_dir {
	size_t parent;
	char *name;
};

struct layer_name {
	size_t dir;
	char *name;
};

/* ---- capturing ---- */

static struct layer_link *slot(const struct layer_links *l, uint64_t dev, uint64_t ino)
{
	uint64_t hash = (ino ^ dev << 32) * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(hash >> 20) & (l->size - 1);

	while (l->v[i].index && (l->v[i].ino != ino || l->v[i].dev != dev))
		i = (i + 1) & (l->size - 1);
	return &l->v[i];
}

static int grow(struct layer_links *l)
{
	struct layer_links bigger = {.n = l->n, .size = l->size ? l->size * 2 : 64};

	bigger.v = calloc(bigger.size, sizeof(*bigger.v));
	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < l->size; i++)
		if (l->v[i].index)
			*slot(&bigger, l->v[i].dev, l->v[i].ino) = l->v[i];
	free(l->v);
	*l = bigger;
	return 0;
}

bool layer_links_meet(struct layer_links *l, const struct stat *st, uint64_t index,
		      uint64_t *ret_index)
{
	struct layer_link *x;
	bool met;

	*ret_index = 0;
	if (l->n * 2 >= l->size && grow(l) < 0)
		return false;
	x = slot(l, st->st_dev, st->st_ino);
	met = x->index != 0;
	if (!met) {
		*x = (struct layer_link){st->st_dev, st->st_ino, index};
		l->n++;
	}
	*ret_index = x->index;
	return met;
}

void layer_links_done(struct layer_links *l)
{
	free(l->v);
	*l = (struct layer_links){0};
}

/* ---- filling ---- */

int layer_names_init(struct layer_names *l, uint64_t n)
{
	*l = (struct layer_names){.names = calloc(n, sizeof(*l->names)), .n = n};
	return l->names ? 0 : -ENOMEM;
}

long layer_names_dir(struct layer_names *l, size_t parent, const char *name, size_t len)
{
	if (l->n_dirs == l->room) {
		size_t room = l->room * 2 + 64;
		void *p = realloc(l->dirs, room * sizeof(*l->dirs));

		if (!p)
			return -ENOMEM;
		l->dirs = p;
		l->room = room;
	}
	/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
	l->dirs[l->n_dirs] = (struct layer_dir){parent, strndup(name, len)};
	return l->dirs[l->n_dirs].name ? (long)++l->n_dirs : -ENOMEM;
}

int layer_names_add(struct layer_names *l, uint64_t index, size_t dir, const char *name)
{
	if (index >= l->n || l->names[index].name)
		return -EBADMSG;
	l->names[index] = (struct layer_name){dir, strdup(name)};
	return l->names[index].name ? 0 : -ENOMEM;
}

int layer_names_open(const struct layer_names *l, uint64_t index, int root_fd,
		     const char **ret_name)
{
	size_t way[LAYER_DEPTH_MAX + 2], n = 0;
	int fd;

	if (index >= l->n || !l->names[index].name)
		return -EBADMSG;
	*ret_name = l->names[index].name;
	for (size_t dir = l->names[index].dir; dir && n < ARRAY_LEN(way);
	     dir = l->dirs[dir - 1].parent)
		way[n++] = dir - 1;
	if (!n)
		return -EBADMSG;
	fd = layer_open_place(root_fd, l->dirs[way[--n]].name);
	while (fd >= 0 && n) {
		int above = fd;

		fd = openat(above, l->dirs[way[--n]].name,
			    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			fd = -errno;
		close(above);
	}
	return fd;
}

void layer_names_done(struct layer_names *l)
{
	for (size_t i = 0; i < l->n_dirs; i++)
		free(l->dirs[i].name);
	for (size_t i = 0; l->names && i < l->n; i++)
		free(l->names[i].name);
	free(l->dirs);
	free(l->names);
	*l = (struct layer_names){0};
}
