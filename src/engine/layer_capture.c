/* SPDX-License-Identifier: Apache-2.0 */
/* Capturing a layer: a walk by descriptors over what a hostile workload wrote, while all of it
 * stands still. layer_ahead.c has been there before. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "engine/layer.h"
#include "engine/layer_format.h"
#include "engine/layer_links.h"
#include "raw/syscall.h"

#define WRITE_BUFFER (256u << 10)

struct writer {
	int fd;
	char *buffer;
	size_t used;
	struct layer_header head;
	struct layer_links links;
	dev_t dev; /* of the place: what is mounted below is not its */
	int root_fd;
	bool upper; /* the place is an overlay's upper directory, shown read-only */
	struct layer_ahead *ahead;
	struct err *e;
	char path[4096]; /* for messages, and for change_mode */
	bool path_cut;   /* it is longer */
};

static int fail(struct writer *w, int code, const char *what)
{
	return err_set(w->e, ERR_HOST, code ? code : EIO, "%s '%s' for the fork", what, w->path);
}

static int flush(struct writer *w)
{
	size_t done = 0;

	while (done < w->used) {
		ssize_t n = write(w->fd, w->buffer + done, w->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(w, errno, "keep");
		done += (size_t)n;
	}
	w->head.end += w->used;
	w->used = 0;
	return 0;
}

static int put(struct writer *w, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		size_t take = WRITE_BUFFER - w->used < n ? WRITE_BUFFER - w->used : n;

		memcpy(w->buffer + w->used, p, take);
		w->used += take;
		p += take;
		n -= take;
		if (w->used == WRITE_BUFFER) {
			int r = flush(w);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int put_record(struct writer *w, const struct record *rec, const char *name)
{
	int r = put(w, rec, sizeof(*rec));

	return r < 0 ? r : put(w, name, rec->name_len);
}

static struct record describe(const struct stat *st, uint32_t type, const char *name)
{
	return (struct record){
		.type = type,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.atime_ns = (int64_t)st->st_atim.tv_sec * 1000000000 + st->st_atim.tv_nsec,
		.mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
		.name_len = (uint32_t)strlen(name),
	};
}

int layer_extents(int fd, uint64_t size, struct extent **ret, uint32_t *ret_n)
{
	uint32_t n = 0, room = 0;
	off_t at = 0;

	*ret = NULL;
	while ((uint64_t)at < size) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0)
			break; /* ENXIO: a hole up to the end */
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if ((uint64_t)hole > size)
			hole = (off_t)size;
		if (n == room) {
			struct extent *p = realloc(*ret, (room = room * 2 + 8) * sizeof(**ret));

			if (!p)
				return -ENOMEM;
			*ret = p;
		}
		(*ret)[n++] = (struct extent){(uint64_t)data, (uint64_t)(hole - data), 0};
		at = hole;
	}
	*ret_n = n;
	return 0;
}

int layer_send(int to_fd, int from_fd, off_t *from, uint64_t n)
{
	while (n) {
		ssize_t sent = sendfile(to_fd, from_fd, from, n);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return sent < 0 ? -errno : -EIO;
		n -= (uint64_t)sent;
	}
	return 0;
}

static int put_data(struct writer *w, int fd, const struct extent *x)
{
	off_t from = (off_t)x->offset;
	int r = put(w, x, sizeof(*x));

	w->head.bytes += x->length;
	if (x->at) {
		w->head.ahead_bytes += x->length;
		return r;
	}
	if (r == 0)
		r = flush(w);
	if (r < 0)
		return r;
	r = layer_send(w->fd, fd, &from, x->length);
	w->head.end += x->length;
	return r < 0 ? fail(w, -r, "copy") : 0;
}

/* Of what the name is itself, a file or directory: a link would lead out of the sandbox. */
static int chmod_entry(int dir_fd, const char *name, mode_t mode)
{
	AUTO_FD int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char path[32];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		errno = ELOOP;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fchmodat(AT_FDCWD, path, mode, 0);
}

/* What is shown read-only is changed through the root that lies above it; w->path is its path. */
static int change_mode(const struct writer *w, int dir_fd, const char *name, mode_t mode)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
					  RESOLVE_NO_SYMLINKS};
	AUTO_FD int above = -EBADF;
	char parent[sizeof(w->path)];

	if (!w->upper)
		return chmod_entry(dir_fd, name, mode);
	if (w->path_cut) {
		errno = ENAMETOOLONG;
		return -1;
	}
	snprintf(parent, sizeof(parent), "%.*s/", (int)(strrchr(w->path, '/') - w->path), w->path);
	above = (int)SYS4(SYS_openat2, w->root_fd, parent, &how, sizeof(how));
	if (above < 0) {
		errno = -above;
		return -1;
	}
	return chmod_entry(above, name, mode);
}

/*
 * An ordinary user's keeper has no right to pass over modes, but it owns the files. Nobody sees
 * the other mode: everything is stopped.
 */
static int open_entry(const struct writer *w, int dir_fd, const char *name, int flags, mode_t mode)
{
	int fd = openat(dir_fd, name, flags | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 || errno != EACCES)
		return fd;
	if (change_mode(w, dir_fd, name, 0700) < 0)
		return -1;
	fd = openat(dir_fd, name, flags | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (change_mode(w, dir_fd, name, mode) < 0)
		close_fd(&fd);
	return fd;
}

static int dir_mode(const struct writer *w, int fd, int dir_fd, const char *name, mode_t mode)
{
	return w->upper ? change_mode(w, dir_fd, name, mode) : fchmod(fd, mode);
}

/* Does the directory hide what the overlay has below it? */
static bool is_opaque(int fd)
{
	char value;

	return fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* A directory that may be listed but not searched, or the reverse, is in the way below it. */
static bool is_open_to_us(int fd)
{
	return faccessat(fd, ".", R_OK | X_OK, AT_EACCESS) == 0;
}

static int capture_file(struct writer *w, int dir_fd, const char *name, mode_t mode)
{
	/* a fifo that took its place must not block us: everything is stopped, but be sure */
	AUTO_FD int fd = open_entry(w, dir_fd, name, O_NONBLOCK | O_NOCTTY, mode);
	AUTO_FREE struct extent *own = NULL;
	const struct layer_ahead_file *copied;
	const struct extent *x;
	struct record rec;
	struct stat st;
	uint64_t index = 0;
	bool linked = false;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(w, errno, "open");
	if (st.st_nlink > 1)
		linked = layer_links_meet(&w->links, &st, w->head.files, &index);
	rec = describe(&st, linked ? REC_LINK : REC_FILE, name);
	rec.index = index;
	if (linked)
		return put_record(w, &rec, name);
	rec.size = (uint64_t)st.st_size;
	copied = layer_ahead_find(w->ahead, fd, &st);
	if (!copied)
		r = layer_extents(fd, rec.size, &own, &rec.extents);
	if (r < 0)
		return fail(w, -r, "read");
	if (copied)
		rec.extents = copied->n_extents;
	x = copied ? copied->extents : own;
	r = put_record(w, &rec, name);
	for (uint32_t i = 0; r == 0 && i < rec.extents; i++)
		r = put_data(w, fd, &x[i]);
	return r;
}

static int capture_symlink(struct writer *w, int dir_fd, const char *name, const struct stat *st)
{
	struct record rec = describe(st, REC_SYMLINK, name);
	char target[4096];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target));
	int r;

	if (n < 0 || n == (ssize_t)sizeof(target))
		return fail(w, errno, "read link");
	rec.size = (uint64_t)n;
	r = put_record(w, &rec, name);
	return r < 0 ? r : put(w, target, (size_t)n);
}

static int capture_dir(struct writer *w, int fd, unsigned depth);

static int capture_subdir(struct writer *w, int dir_fd, const char *name, struct record *rec,
			  unsigned depth)
{
	int fd = open_entry(w, dir_fd, name, O_DIRECTORY, rec->mode), again, r;
	bool opened;

	if (fd < 0)
		return fail(w, errno, "open");
	rec->index = w->upper && is_opaque(fd);
	r = put_record(w, rec, name);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (is_open_to_us(fd))
		return capture_dir(w, fd, depth + 1);
	again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	opened = again >= 0 && dir_mode(w, fd, dir_fd, name, 0700) == 0;
	r = capture_dir(w, fd, depth + 1);
	if (opened && dir_mode(w, again, dir_fd, name, rec->mode) < 0 && r == 0)
		r = fail(w, errno, "restore the mode of");
	close_fd(&again);
	return r;
}

static int capture_entry(struct writer *w, int dir_fd, const char *name, unsigned depth)
{
	struct record rec;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, errno, "look at");
	/* something of the host is bound here (--rw, --ro): the clone binds it again */
	if (st.st_dev != w->dev)
		return 0;
	w->head.files++;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return capture_file(w, dir_fd, name, st.st_mode & 07777);
	case S_IFLNK:
		return capture_symlink(w, dir_fd, name, &st);
	case S_IFIFO:
		rec = describe(&st, REC_FIFO, name);
		return put_record(w, &rec, name);
	case S_IFDIR:
		rec = describe(&st, REC_DIR, name);
		return capture_subdir(w, dir_fd, name, &rec, depth);
	case S_IFCHR:
		if (w->upper && st.st_rdev == 0) {
			rec = describe(&st, REC_GONE, name);
			return put_record(w, &rec, name);
		}
		__attribute__((fallthrough));
	default:
		w->head.files--;
		w->head.skipped++;
		return 0;
	}
}

/* Takes fd over; ends with a REC_UP. */
static int capture_dir(struct writer *w, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	size_t len = strlen(w->path);
	bool cut = w->path_cut;
	struct dirent *entry;
	int r = 0;

	if (!d || depth > LAYER_DEPTH_MAX) {
		if (d)
			closedir(d);
		else
			close(fd);
		return fail(w, d ? ELOOP : errno, "read directory");
	}
	while (r == 0) {
		errno = 0;
		entry = readdir(d);
		if (!entry) {
			r = errno ? fail(w, errno, "read directory") : 0;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		w->path_cut = cut || len + strlen(entry->d_name) + 1 >= sizeof(w->path);
		snprintf(w->path + len, sizeof(w->path) - len, "/%s", entry->d_name);
		r = capture_entry(w, dirfd(d), entry->d_name, depth);
	}
	w->path[len] = 0;
	w->path_cut = cut;
	closedir(d);
	return r < 0 ? r : put(w, &(struct record){.type = REC_UP}, sizeof(struct record));
}

int layer_open_place(int root_fd, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
					  RESOLVE_NO_SYMLINKS};
	long fd = SYS4(SYS_openat2, root_fd, path, &how, sizeof(how));

	return (int)fd;
}

bool layer_is_place(const struct plan_entry *e)
{
	return e->kind == PLAN_DISK_DIR || e->kind == PLAN_TMPFS_AT || e->kind == PLAN_WRITTEN;
}

const char *layer_place(const struct plan *p, const struct plan_entry *e)
{
	return e->kind == PLAN_WRITTEN ? "/" : plan_text(p, e->target);
}

static int capture_place(struct writer *w, const struct plan *p, const struct plan_entry *x)
{
	int fd = layer_open_place(w->root_fd, plan_text(p, x->target)), r;
	const char *target = layer_place(p, x);
	struct record rec;
	struct stat st;

	w->upper = x->kind == PLAN_WRITTEN;
	snprintf(w->path, sizeof(w->path), "%s", w->upper ? "" : target);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = fail(w, fd < 0 ? -fd : errno, "open");
		close_fd(&fd);
		return r;
	}
	w->dev = st.st_dev;
	rec = describe(&st, REC_PLACE, target);
	r = put_record(w, &rec, target);
	if (r < 0) {
		close(fd);
		return r;
	}
	return capture_dir(w, fd, 0);
}

int layer_capture(const struct plan *plan, int root_fd, int layer_fd, struct layer_ahead *ahead,
		  struct err *e)
{
	struct layer_ahead_sum first = layer_ahead_sum(ahead);
	struct writer w = {.fd = layer_fd,
			   .root_fd = root_fd,
			   .ahead = ahead,
			   .e = e,
			   .head = {.magic = LAYER_MAGIC,
				    .ahead_ns = first.ns,
				    .records = first.end,
				    .end = first.end}};
	const struct plan_entry *x = plan_entries(plan);
	uint64_t began = raw_now_ns();
	int r = 0;

	if (ftruncate(layer_fd, (off_t)first.end) < 0 ||
	    lseek(layer_fd, (off_t)first.end, SEEK_SET) < 0)
		return err_set(e, ERR_HOST, errno, "empty the layer of files");
	w.buffer = malloc(WRITE_BUFFER);
	if (!w.buffer)
		return err_set(e, ERR_INTERNAL, ENOMEM, "capture files");
	for (uint32_t i = 0; r == 0 && i < plan->n_entries; i++)
		if (layer_is_place(&x[i]))
			r = capture_place(&w, plan, &x[i]);
	if (r == 0)
		r = flush(&w);
	w.head.copies = w.head.end;
	layer_ahead_drop(ahead);
	if (r == 0)
		r = layer_copies_save(plan, root_fd, layer_fd, &w.head, e);
	w.head.ns = raw_now_ns() - began;
	if (r == 0 && pwrite(layer_fd, &w.head, sizeof(w.head), 0) != (ssize_t)sizeof(w.head))
		r = fail(&w, errno, "keep");
	free(w.buffer);
	layer_links_done(&w.links);
	return r;
}
