/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tree.h"

#include "base/portable.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
	const struct side *side;
	const struct tree_visitor *v;
	struct tree_report *report;
	struct err *e;
	char *path;
	size_t len, size;
	uint64_t mount; /* with one_mount: the top's */
	dev_t files;    /* the last device that was seen to hold files */
	bool mount_known, files_known;
	unsigned depth;
};

void tree_skip(struct tree_report *r, const char *path, const char *why)
{
	if (!r->skipped++)
		err_set(&r->first_skipped, ERR_SOURCE, 0, "'%s' %s", path, why);
}

void tree_fail(struct tree_report *r, const char *path, int code)
{
	if (!r->failed++)
		err_set(&r->first_failed, ERR_SOURCE, code, "'%s'", path);
}

/* Appends a component. Returns the length before, for path_pop. */
static ssize_t path_push(struct walk *w, const char *name)
{
	size_t before = w->len, n = strlen(name);

	if (w->len + n + 2 > w->size) {
		char *p = realloc(w->path, (w->len + n + 2) * 2);

		if (!p)
			return err_set(w->e, ERR_INTERNAL, ENOMEM, "walk a tree");
		w->path = p;
		w->size = (w->len + n + 2) * 2;
	}
	if (w->len && n && w->path[w->len - 1] != '/')
		w->path[w->len++] = '/';
	/* lint-allow: analyzer-null-argument: there is a path: its size was 0 above */
	memcpy(w->path + w->len, name, n + 1);
	w->len += n;
	return (ssize_t)before;
}

static void path_pop(struct walk *w, ssize_t before)
{
	w->len = (size_t)before;
	w->path[w->len] = 0;
}

/* The source could not be read: what raced away is nobody's failure. */
static int unreadable(struct walk *w, int code)
{
	if (code != -ENOENT && code != -ENOTDIR && code != -ELOOP && code != -EXDEV)
		tree_fail(w->report, w->path, code);
	return 0;
}

static bool holds_files(struct walk *w, const struct tree_entry *t)
{
	if (w->files_known && t->st.st_dev == w->files)
		return true;
	if (side_is_kernels(t->fd))
		return false;
	w->files = t->st.st_dev;
	w->files_known = true;
	return true;
}

static int enter(struct walk *w, const struct tree_entry *t)
{
	w->report->visited++;
	return w->v->enter ? w->v->enter(w->v->arg, t, w->e) : 0;
}

static int item(struct walk *w, const struct tree_entry *t)
{
	w->report->visited++;
	return w->v->item(w->v->arg, t, w->e);
}

static int entry(struct walk *w, int dir_fd, const char *name);

static int children(struct walk *w, DIR *dir)
{
	const struct dirent *d;
	ssize_t before;
	int r = 0;

	while (r >= 0) {
		errno = 0;
		d = readdir(dir);
		if (!d)
			return errno ? unreadable(w, -errno) : 0;
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		before = path_push(w, d->d_name);
		if (before < 0)
			return (int)before;
		r = entry(w, dirfd(dir), d->d_name);
		path_pop(w, before);
	}
	return r;
}

/* Takes the descriptor t->fd. */
static int directory(struct walk *w, struct tree_entry *t)
{
	AUTO_FD int fd = t->fd;
	DIR *dir;
	int r;

	if (!holds_files(w, t)) {
		tree_skip(w->report, w->path, "lies on a file system of the kernel");
		return 0;
	}
	if (w->depth >= TREE_DEPTH) {
		tree_fail(w->report, w->path, ENAMETOOLONG);
		return 0;
	}
	r = enter(w, t);
	if (r)
		return r < 0 ? r : 0;
	dir = fdopendir(fd);
	if (dir) {
		/* lint-allow: clang-analyzer-deadcode.DeadStores: the clean-up of fd reads it */
		fd = -EBADF;
		w->depth++;
		r = children(w, dir);
		w->depth--;
		closedir(dir);
	} else {
		unreadable(w, -errno);
	}
	if (r == 0 && w->v->leave)
		r = w->v->leave(w->v->arg, w->e);
	return r;
}

/* Apart from entry(), for its buffer: entry() is on the stack once a level. */
static __attribute__((noinline)) int symlink_item(struct walk *w, int dir_fd, struct tree_entry *t)
{
	char text[PATH_MAX];
	ssize_t n;

	side_enter(w->side, NULL);
	n = readlinkat(dir_fd, t->name, text, sizeof(text));
	side_leave(w->side);
	if (n < 0 || (size_t)n >= sizeof(text)) /* EINVAL: no link any more */
		return n < 0 && errno == EINVAL ? 0 : unreadable(w, n < 0 ? -errno : -ENAMETOOLONG);
	text[n] = 0;
	t->link = text;
	return item(w, t);
}

static int special(struct walk *w, mode_t mode)
{
	tree_skip(w->report, w->path,
		  S_ISSOCK(mode)   ? "is a socket"
		  : S_ISFIFO(mode) ? "is a fifo"
				   : "is a device");
	return 0;
}

/* Opened, it may be something else than lstat said: what counts is what it is now. */
static int open_item(struct walk *w, int dir_fd, struct tree_entry *t)
{
	AUTO_FD int fd = side_open(w->side, dir_fd, t->name, O_RDONLY, 0, NULL);

	/* what it has closed to itself it could open; its owner need not be who may search here */
	if (fd == -EACCES)
		fd = side_open(w->side, dir_fd, t->name, O_RDONLY, 0, &t->st);
	if (fd < 0 && w->v->look) { /* what lstat told is all that is asked for */
		int r = enter(w, t);

		return r < 0 ? r : unreadable(w, fd);
	}
	if (fd < 0)
		return unreadable(w, fd);
	if (fstat(fd, &t->st) < 0)
		return unreadable(w, -errno);
	if (!S_ISREG(t->st.st_mode) && !S_ISDIR(t->st.st_mode))
		return special(w, t->st.st_mode);
	t->fd = fd;
	if (S_ISDIR(t->st.st_mode)) {
		take_fd(&fd);
		return directory(w, t);
	}
	if (!holds_files(w, t)) {
		tree_skip(w->report, w->path, "lies on a file system of the kernel");
		return 0;
	}
	return item(w, t);
}

/* Does it lie on another mount than the first that was asked about? (st_dev differs inside an
 * overlay.) */
static bool is_mounted_over(struct walk *w, int dir_fd, const char *name)
{
	struct statx st;
	int r;

	side_enter(w->side, NULL);
	r = statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		  STATX_MNT_ID, &st);
	side_leave(w->side);
	if (r < 0)
		return true;
	if (!w->mount_known)
		w->mount = st.stx_mnt_id;
	w->mount_known = true;
	return st.stx_mnt_id != w->mount;
}

static int entry(struct walk *w, int dir_fd, const char *name)
{
	struct tree_entry t = {.path = w->path, .name = name, .fd = -EBADF};
	int r;

	if (++w->report->entries > TREE_ENTRIES)
		return err_set(w->e, ERR_SOURCE, E2BIG, "'%s': more than %u files", w->path,
			       TREE_ENTRIES);
	r = side_stat(w->side, dir_fd, name, &t.st);
	if (r < 0)
		return unreadable(w, r);
	if (w->v->one_mount && is_mounted_over(w, dir_fd, name))
		return 0;
	if (w->v->look && !S_ISDIR(t.st.st_mode))
		return item(w, &t);
	if (S_ISLNK(t.st.st_mode))
		return symlink_item(w, dir_fd, &t);
	if (S_ISREG(t.st.st_mode) || S_ISDIR(t.st.st_mode))
		return open_item(w, dir_fd, &t);
	return special(w, t.st.st_mode);
}

/* The directory itself: it is open already, but perhaps not for reading. */
static int nameless(struct walk *w, int dir_fd)
{
	struct tree_entry t = {.path = w->path, .name = "", .fd = -EBADF};
	struct stat st;
	int fd;

	if (fstat(dir_fd, &st) < 0)
		return err_set(w->e, ERR_SOURCE, errno, "look at the directory");
	side_enter(w->side, &st);
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	side_leave(w->side);
	if (fd < 0)
		return err_set(w->e, ERR_SOURCE, errno, "read the directory");
	if (w->v->one_mount && is_mounted_over(w, fd, "")) {
		close(fd);
		return 0;
	}
	t.fd = fd;
	t.st = st;
	return directory(w, &t);
}

int tree_walk(const struct side *s, int dir_fd, const char *name, const char *as,
	      const struct tree_visitor *v, struct tree_report *report, struct err *e)
{
	struct walk w = {.side = s, .v = v, .report = report, .e = e};
	ssize_t before = path_push(&w, as ? as : name ? name : "");
	int r = (int)before;

	if (before == 0)
		r = name ? entry(&w, dir_fd, name) : nameless(&w, dir_fd);
	free(w.path);
	return r;
}
