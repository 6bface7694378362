/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/place.h"

struct sink *sink_new(const struct side *side, int dir_fd, const char *top_name, const char *as,
		      struct tree_report *report)
{
	struct sink *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->side = side;
	k->report = report;
	k->top_name = top_name;
	k->prefix = as ? strlen(as) : 0;
	k->dir_fd[0] = dir_fd;
	k->buffer = malloc(PLACE_BUFFER);
	if (k->buffer)
		return k;
	free(k);
	return NULL;
}

void sink_free(struct sink *k)
{
	if (!k)
		return;
	while (k->depth)
		close(k->dir_fd[k->depth--]);
	links_done(&k->links);
	free(k->buffer);
	free(k);
}

static int cannot_write(const struct sink *k, const struct tree_entry *t, int code, struct err *e)
{
	return err_set(e, k->side->inside ? ERR_TARGET : ERR_OUTPUT, code, "write '%s'",
		       t->path[0]    ? t->path
		       : k->top_name ? k->top_name
				     : ".");
}

static const char *target_name(const struct sink *k, const struct tree_entry *t)
{
	return k->depth || k->top_made ? t->name : k->top_name;
}

static int charge(struct sink *k, const struct tree_entry *t, uint64_t bytes, struct err *e)
{
	uint64_t cost = bytes < SINK_ENTRY ? SINK_ENTRY : bytes;

	if (!k->budget_bytes)
		return 0;
	if (cost > *k->budget_bytes)
		return err_set(e, ERR_OUTPUT, EFBIG, "'%s' is beyond the bound", t->path);
	*k->budget_bytes -= cost;
	return 0;
}

static int sink_enter(void *arg, const struct tree_entry *t, struct err *e)
{
	struct sink *k = arg;
	const char *name = target_name(k, t);
	int fd = charge(k, t, 0, e);

	if (fd < 0)
		return fd;
	if (k->top_made && t->st.st_dev == k->top.st_dev && t->st.st_ino == k->top.st_ino)
		return err_set(e, ERR_USAGE, EINVAL, "'%s' can't be copied into itself", t->path);
	fd = name ? place_directory(k->side, k->dir_fd[k->depth], name, t->st.st_mode)
		  : fcntl(k->dir_fd[0], F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return cannot_write(k, t, name ? fd : -errno, e);
	k->dir_fd[++k->depth] = fd;
	if (!k->top_made && fstat(fd, &k->top) < 0)
		return cannot_write(k, t, -errno, e);
	k->top_made = true;
	return 0;
}

static int sink_leave(void *arg, struct err *e)
{
	struct sink *k = arg;

	(void)e;
	close(k->dir_fd[k->depth--]);
	return 0;
}

/* Where a thing goes, as a path below dir_fd[0]; malloc'd. */
static char *target_path(const struct sink *k, const struct tree_entry *t)
{
	const char *rest = t->path + k->prefix;
	char *path;

	if (!k->top_name && *rest == '/')
		rest++;
	return asprintf(&path, "%s%s", k->top_name ? k->top_name : "", rest) < 0 ? NULL : path;
}

/*
 * Another name of a file that was copied: 1 when it became another name of the copy. Who can write
 * to the target may have put something else there since; then, or where links can't be made, it is
 * copied again.
 */
static int sink_second_name(struct sink *k, const struct tree_entry *t, const char *name)
{
	const struct link_copy *first = links_find(&k->links, &t->st);
	AUTO_FREE char *parent = first ? strdup(first->path) : NULL;
	char *slash = parent ? strrchr(parent, '/') : NULL;
	const char *old_name = slash ? slash + 1 : parent;
	AUTO_FD int old_fd = -EBADF;
	struct stat st;

	if (!parent)
		return 0;
	if (slash)
		*slash = 0;
	old_fd = side_open_below(k->side, k->dir_fd[0], slash ? parent : ".", O_PATH | O_DIRECTORY);
	if (old_fd < 0 || side_stat(k->side, old_fd, old_name, &st) < 0 ||
	    st.st_dev != first->dev || st.st_ino != first->ino)
		return 0;
	return place_hard_link(k->side, old_fd, old_name, k->dir_fd[k->depth], name) == 0;
}

static void remember(struct sink *k, const struct tree_entry *t, int fd)
{
	AUTO_FREE char *path = target_path(k, t);
	struct stat st;

	if (path && fstat(fd, &st) == 0)
		links_add(&k->links, &t->st, &st, path);
}

static int sink_file(struct sink *k, const struct tree_entry *t, const char *name, struct err *e)
{
	int dir_fd = k->dir_fd[k->depth];
	struct place_copied done;
	int r = charge(k, t, (uint64_t)t->st.st_size, e), fd;

	if (r < 0)
		return r;
	if (t->st.st_nlink > 1 && sink_second_name(k, t, name))
		return 0;
	fd = place_file(k->side, dir_fd, name, t->st.st_mode);
	if (fd < 0)
		return cannot_write(k, t, fd, e);
	if (t->st.st_nlink > 1)
		remember(k, t, fd);
	r = place_copy(t->fd, fd, (uint64_t)t->st.st_size, k->buffer, &done);
	if (r == 0)
		r = place_finish(k->side, fd, done.size, t->st.st_mtim);
	else
		close(fd);
	if (r == 0) {
		k->files++;
		k->bytes += done.size;
		return 0;
	}
	place_remove(k->side, dir_fd, name);
	if (!done.from)
		return cannot_write(k, t, r, e);
	tree_fail(k->report, t->path, r);
	return 0;
}

static int sink_item(void *arg, const struct tree_entry *t, struct err *e)
{
	struct sink *k = arg;
	const char *name = target_name(k, t);
	int r;

	if (!name)
		return cannot_write(k, t, -ENOTDIR, e);
	if (t->fd >= 0)
		return sink_file(k, t, name, e);
	if (k->no_links) {
		tree_skip(k->report, t->path, "is a symbolic link");
		return 0;
	}
	r = place_link(k->side, k->dir_fd[k->depth], name, t->link);
	return r < 0 ? cannot_write(k, t, r, e) : 0;
}

struct tree_visitor sink_visitor(struct sink *k)
{
	return (struct tree_visitor){
		.arg = k, .enter = sink_enter, .leave = sink_leave, .item = sink_item};
}
