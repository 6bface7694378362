/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/diff.h"

#include <jansson.h>
#include <string.h>

#include "base/text.h"
#include "plan/plan.h"

/* The disk's directories (plan/root.c, plan/root_dir.c). */
static const char *const places[] = {"/home/user", "/root", "/tmp", "/var/tmp", "/dev/shm", NULL};
static const char *const places_of_dir[] = {"/tmp", "/dev/shm", NULL};

static const char *type_name(const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFCHR: /* an overlay's mark for what the directory below has and the root no more */
		return st->st_rdev == 0 ? "removed" : "device";
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "device";
	}
}

static json_t *path_object(const char *path)
{
	size_t n = strlen(path);

	if (text_is_utf8(path, n))
		return json_pack("{s:o}", "path", json_stringn(path, n));
	AUTO_FREE char *b = text_base64(path, n);

	return b ? json_pack("{s:s,s:s}", "path", b, "path_encoding", "base64") : NULL;
}

static int print(void *arg, const struct tree_entry *t, struct err *e)
{
	FILE *out = arg;
	json_t *o;
	int r;

	if (!t->name[0]) /* the place itself */
		return 0;
	o = path_object(t->path);
	if (!o)
		return err_set(e, ERR_INTERNAL, ENOMEM, "list '%s'", t->path);
	json_object_set_new(o, "type", json_string(type_name(&t->st)));
	json_object_set_new(o, "size", json_integer(t->st.st_size));
	json_object_set_new(o, "mode", json_integer(t->st.st_mode & 07777));
	errno = 0;
	r = json_dumpf(o, out, JSON_COMPACT) < 0 || fputc('\n', out) == EOF;
	json_decref(o);
	return r ? err_set(e, ERR_OUTPUT, errno ? errno : EIO, "write the list") : 0;
}

/* as: what the paths begin with. */
static int list_place(const struct side *s, const char *place, const char *as, FILE *out,
		      struct tree_report *report, struct err *e)
{
	const struct tree_visitor v = {
		.arg = out, .enter = print, .item = print, .look = true, .one_mount = true};
	AUTO_FD int fd = side_lookup(s, place, O_PATH | O_DIRECTORY);

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return err_set(e, ERR_SOURCE, fd, "'%s' inside the sandbox", place);
	return tree_walk(s, fd, NULL, as, &v, report, e);
}

int diff_place(const struct side *s, const char *place, FILE *out, struct tree_report *report,
	       struct err *e)
{
	return list_place(s, place, place, out, report, e);
}

int diff_all(const struct side *s, const struct spec *spec, FILE *out, struct tree_report *report,
	     struct err *e)
{
	bool dir = spec_root_is_dir(spec);
	int r = 0;

	for (const char *const *place = dir ? places_of_dir : places; r == 0 && *place; place++)
		r = diff_place(s, *place, out, report, e);
	if (r == 0 && dir && !spec->root_rw)
		r = list_place(s, PLAN_WRITTEN_PLACE, "/", out, report, e);
	for (size_t i = 0; r == 0 && i < spec->n_mounts; i++)
		if (spec->mounts[i].kind == SPEC_TMPFS)
			r = diff_place(s, spec->mounts[i].target, out, report, e);
	return r;
}
