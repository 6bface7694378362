/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/copy.h"

#include <stdlib.h>
#include <string.h>

#include "engine/sink.h"
#include "engine/tar.h"

int copy_operand_parse(const char *path, struct copy_operand *ret)
{
	size_t len = strlen(path), cut;

	*ret = (struct copy_operand){0};
	if (!len)
		return -EINVAL;
	while (len && path[len - 1] == '/')
		len--;
	ret->directory = path[len] == '/';
	for (cut = len; cut && path[cut - 1] != '/';)
		cut--;
	ret->contents = !len || (len - cut == 1 && path[cut] == '.') ||
			(len - cut == 2 && path[cut] == '.' && path[cut + 1] == '.');
	if (ret->contents) {
		ret->directory = true;
		ret->parent = len ? strndup(path, len) : strdup("/");
		return ret->parent ? 0 : -ENOMEM;
	}
	ret->parent = cut ? strndup(path, cut) : strdup(".");
	ret->name = strndup(path + cut, len - cut);
	if (ret->parent && ret->name)
		return 0;
	copy_operand_done(ret);
	return -ENOMEM;
}

void copy_operand_done(struct copy_operand *o)
{
	free(o->parent);
	free(o->name);
	*o = (struct copy_operand){0};
}

struct source {
	struct copy_operand operand;
	int fd;
	const char *name; /* below fd; NULL: fd is the directory itself */
	bool directory;
};

struct target {
	struct copy_operand operand;
	int fd;
	const char *name; /* of what is made below fd; NULL: fd receives the contents */
};

static int lookup_error(const struct side *s, enum err_id id, const char *path, int code,
			struct err *e)
{
	int r = err_set(e, id, code, "'%s'%s", path, s->inside ? " inside the sandbox" : "");

	if (code == -ELOOP && !s->inside)
		err_hint(e, "a symbolic link in a host path is not followed, a sandbox may have "
			    "made it: give the real path");
	return r;
}

static int parse(const char *path, struct copy_operand *ret, struct err *e)
{
	int r = copy_operand_parse(path, ret);

	return r < 0 ? err_set(e, ERR_USAGE, r, "the path '%s'", path) : 0;
}

static int open_source(const struct side *s, const char *path, struct source *ret, struct err *e)
{
	struct copy_operand *o = &ret->operand;
	struct stat st;
	int r = parse(path, o, e);

	if (r < 0)
		return r;
	ret->directory = o->directory;
	ret->name = o->directory ? NULL : o->name;
	ret->fd = side_lookup(s, o->directory ? path : o->parent, O_PATH | O_DIRECTORY);
	r = ret->fd;
	if (r >= 0 && ret->name)
		r = side_stat(s, ret->fd, ret->name, &st);
	if (r < 0)
		return lookup_error(s, ERR_SOURCE, path, r, e);
	if (ret->name)
		ret->directory = S_ISDIR(st.st_mode);
	return 0;
}

/* The target does not exist, or is a file that will be replaced. */
static int open_parent(const struct side *s, const char *path, const struct source *from,
		       struct target *ret, struct err *e)
{
	enum err_id id = s->inside ? ERR_TARGET : ERR_OUTPUT;

	if (!ret->operand.name || (ret->operand.directory && !from->directory))
		return lookup_error(s, id, path, -ENOENT, e);
	ret->fd = side_lookup(s, ret->operand.parent, O_PATH | O_DIRECTORY);
	ret->name = ret->operand.name;
	return ret->fd < 0 ? lookup_error(s, id, path, ret->fd, e) : 0;
}

/* from NULL: a tar stream, which needs a directory. */
static int open_target(const struct side *s, const char *path, const struct source *from,
		       struct target *ret, struct err *e)
{
	enum err_id id = s->inside ? ERR_TARGET : ERR_OUTPUT;
	AUTO_FD int fd = -EBADF;
	struct stat st;
	int r = parse(path, &ret->operand, e);

	if (r < 0)
		return r;
	/* inside, a link at the end may lead to a directory; on the host it is met as what it is */
	fd = side_lookup(s, path, O_PATH | (s->inside ? 0 : O_NOFOLLOW));
	if (fd == -ENOENT && from)
		return open_parent(s, path, from, ret, e);
	if (fd < 0)
		return lookup_error(s, id, path, fd, e);
	if (fstat(fd, &st) < 0)
		return lookup_error(s, id, path, -errno, e);
	if (S_ISLNK(st.st_mode))
		return lookup_error(s, id, path, -ELOOP, e);
	if (S_ISDIR(st.st_mode)) {
		ret->fd = take_fd(&fd);
		ret->name = from && !from->operand.contents ? from->operand.name : NULL;
		return 0;
	}
	if (!from || from->directory)
		return lookup_error(s, id, path, -ENOTDIR, e);
	return open_parent(s, path, from, ret, e);
}

static int walk_source(const struct copy *c, const struct source *from, const char *as,
		       const struct tree_visitor *v, struct tree_report *report, struct err *e)
{
	int r = tree_walk(&c->from, from->fd, from->name, as, v, report, e);

	if (r < 0)
		return r;
	/* the very thing that was asked for could not be had */
	if (!report->visited && report->skipped) {
		*e = report->first_skipped;
		err_hint(e, c->no_links ? "only files and directories are copied"
					: "only files, directories and links are copied");
		return -EOPNOTSUPP;
	}
	if (!report->visited && !report->failed)
		return lookup_error(&c->from, ERR_SOURCE, c->from_path, -ENOENT, e);
	return 0;
}

static int to_stream(const struct copy *c, const struct source *from, struct tree_report *report,
		     struct err *e)
{
	struct tar_writer *w = tar_writer_new(c->stream_fd, report);
	struct tree_visitor v = tar_visitor(w);
	int r;

	if (!w)
		return err_set(e, ERR_INTERNAL, ENOMEM, "write a tar stream");
	r = walk_source(c, from, from->operand.contents ? NULL : from->operand.name, &v, report, e);
	if (r == 0)
		r = tar_finish(w, e);
	tar_writer_free(w);
	return r;
}

static int to_tree(const struct copy *c, const struct source *from, struct target *to,
		   struct tree_report *report, struct err *e)
{
	struct tree_visitor v;
	struct sink *k;
	int r = open_target(&c->to, c->to_path, from, to, e);

	if (r < 0)
		return r;
	k = sink_new(&c->to, to->fd, to->name, from->operand.name, report);
	if (!k)
		return err_set(e, ERR_INTERNAL, ENOMEM, "copy files");
	k->no_links = c->no_links;
	k->budget_bytes = c->budget_bytes;
	v = sink_visitor(k);
	r = walk_source(c, from, from->operand.name, &v, report, e);
	if (c->ret_files) {
		*c->ret_files = k->files;
		*c->ret_bytes = k->bytes;
	}
	sink_free(k);
	return r;
}

static int from_stream(const struct copy *c, struct target *to, struct tree_report *report,
		       struct err *e)
{
	int r = open_target(&c->to, c->to_path, NULL, to, e);

	return r < 0 ? r : tar_extract(c->stream_fd, &c->to, to->fd, report, e);
}

int copy_run(const struct copy *c, struct tree_report *report, struct err *e)
{
	struct source from = {.fd = -EBADF};
	struct target to = {.fd = -EBADF};
	int r = c->from_path ? open_source(&c->from, c->from_path, &from, e) : 0;

	if (r < 0)
		;
	else if (!c->from_path)
		r = from_stream(c, &to, report, e);
	else if (!c->to_path)
		r = to_stream(c, &from, report, e);
	else
		r = to_tree(c, &from, &to, report, e);
	close_fd(&from.fd);
	close_fd(&to.fd);
	copy_operand_done(&from.operand);
	copy_operand_done(&to.operand);
	return r;
}
