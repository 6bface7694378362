/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first of a capture's two passes over the files: while the sandbox goes on, the content of its
 * larger files is copied to the front of the layer. The second one, when everything stands still,
 * copies again what somebody may have written since.
 *
 * Who may have written is not told by a file's times: a page of a shared mapping is written without
 * a fault, and the mapping may be gone by then. Content is changed through a descriptor or a
 * mapping that was opened for writing, or by truncate(2). So a watch is set before a file is read:
 * it tells of a writer who has gone (IN_CLOSE_WRITE, at the last reference) and of a truncation
 * (IN_MODIFY). Writers who are still there when everything stands still are told by the kernel's
 * refusal of a read lease (fcntl(2), F_SETLEASE), which is asked before the watch is: who is
 * leaving is seen by the one or by the other (__fput: fsnotify_close comes before
 * file_put_write_access).
 *
 * All of this may be refused (the number of watches, a file system without leases): a file that
 * nothing is known of is copied in the second pass. A running workload may play with names, modes
 * and sizes meanwhile; that costs nothing but the copy, and how much is copied is bounded by half
 * as much again as its file system held at the beginning.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "base/cleanup.h"
#include "engine/layer.h"
#include "engine/layer_format.h"
#include "fork/carriers.h"
#include "raw/syscall.h"

#define LEAST_BYTES (16u << 10) /* to copy less costs about as much as to ask */
#define ENTRIES_MAX (1u << 17)  /* a workload may make names faster than they are read */
#define WATCHES_MAX (1u << 16)
#define WATCHES_SHARE \
	4 /* the user's other programs want some too: they get all but one of so many */

struct layer_ahead {
	int notify_fd, layer_fd;
	dev_t dev;       /* of the place that is walked, */
	uint64_t budget; /* what may be copied from it: of all places on it together */
	bool begun;
	size_t most; /* watches */
	unsigned entries;
	struct layer_ahead_file *files; /* in the order of their watches */
	size_t n, room;
	size_t *by_inode;
	bool lost; /* not every event arrived: nothing is known */
	struct layer_ahead_sum sum;
};

/* The one that wd watches; watches are numbered upwards. */
static struct layer_ahead_file *watched(struct layer_ahead *a, int wd)
{
	size_t low = 0, high = a->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (a->files[mid].wd < wd)
			low = mid + 1;
		else
			high = mid;
	}
	return low < a->n && a->files[low].wd == wd ? &a->files[low] : NULL;
}

/* Takes what has been told by now: whatever it is, the file is not what it was. */
static void hear(struct layer_ahead *a)
{
	_Alignas(struct inotify_event) char text[16384];
	ssize_t n;

	while ((n = read(a->notify_fd, text, sizeof(text))) > 0)
		for (char *at = text; at < text + n;) {
			const struct inotify_event *event = (const void *)at;
			struct layer_ahead_file *f = watched(a, event->wd);

			if (f)
				f->written = true;
			a->lost |= (event->mask & IN_Q_OVERFLOW) != 0;
			at += sizeof(*event) + event->len;
		}
	a->lost |= n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* A new, empty entry for the open file; NULL if it can't be watched or was met by another name. */
static struct layer_ahead_file *watch(struct layer_ahead *a, int fd, const struct stat *st)
{
	char path[32];
	int wd;

	if (a->n == a->room) {
		size_t room = a->room * 2 + 256;
		void *p = realloc(a->files, room * sizeof(*a->files));

		if (!p)
			return NULL;
		a->files = p;
		a->room = room;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(a->notify_fd, path, IN_MODIFY | IN_CLOSE_WRITE | IN_ONESHOT);
	if (wd < 0 || (a->n && wd <= a->files[a->n - 1].wd))
		return NULL;
	a->files[a->n] = (struct layer_ahead_file){
		.dev = st->st_dev, .ino = st->st_ino, .size = (uint64_t)st->st_size, .wd = wd};
	return &a->files[a->n++];
}

static void copy_file(struct layer_ahead *a, int dir_fd, const char *name)
{
	AUTO_FD int fd =
		openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct layer_ahead_file *f;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_dev != a->dev ||
	    (uint64_t)st.st_blocks * 512 < LEAST_BYTES ||
	    (uint64_t)st.st_blocks * 512 > a->budget || a->n == a->most)
		return;
	f = watch(a, fd, &st);
	if (!f)
		return;
	r = layer_extents(fd, f->size, &f->extents, &f->n_extents);
	for (uint32_t i = 0; r == 0 && i < f->n_extents; i++) {
		struct extent *x = &f->extents[i];
		off_t from = (off_t)x->offset;

		if (x->length > a->budget) {
			r = -EFBIG;
			break;
		}
		x->at = (uint64_t)lseek(a->layer_fd, 0, SEEK_CUR);
		a->budget -= x->length;
		r = layer_send(a->layer_fd, fd, &from, x->length);
		if (r < 0) /* it was cut off meanwhile */
			x->length = (uint64_t)lseek(a->layer_fd, 0, SEEK_CUR) - x->at;
	}
	f->written |= r < 0;
}

/* Takes fd over. Whatever can't be read is left to the second pass. */
static void walk(struct layer_ahead *a, int fd, unsigned depth)
{
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(d)) && a->entries++ < ENTRIES_MAX) {
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_dev != a->dev)
			continue;
		if (S_ISDIR(st.st_mode) && depth < LAYER_DEPTH_MAX)
			walk(a,
			     openat(dirfd(d), entry->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
			     depth + 1);
		else if (S_ISREG(st.st_mode) && st.st_size >= LEAST_BYTES)
			copy_file(a, dirfd(d), entry->d_name);
	}
	closedir(d);
}

/* What an overlay writes into its upper directory is told to nobody: the second pass's alone. */
static void walk_place(struct layer_ahead *a, const struct plan *p, const struct plan_entry *x,
		       int root_fd)
{
	AUTO_FD int fd = x->kind == PLAN_WRITTEN
				 ? -EBADF
				 : layer_open_place(root_fd, plan_text(p, x->target));
	struct statfs fs;
	struct stat st;
	uint64_t used;

	if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return;
	used = (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
	/* most places are directories of the one disk, one after the other */
	if (!a->begun || a->dev != st.st_dev)
		a->budget = used + used / 2;
	a->begun = true;
	a->dev = st.st_dev;
	walk(a, take_fd(&fd), 0);
}

static size_t most_watches(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_user_watches", "re");
	unsigned long all = 0;

	if (!f || fscanf(f, "%lu", &all) != 1)
		all = 8192; /* what it is at the least, since 2.6.13 */
	if (f)
		fclose(f);
	return all / WATCHES_SHARE < WATCHES_MAX ? all / WATCHES_SHARE : WATCHES_MAX;
}

static int by_inode(const void *left, const void *right, void *arg)
{
	const struct layer_ahead_file *files = arg, *l = &files[*(const size_t *)left],
				      *r = &files[*(const size_t *)right];

	if (l->dev != r->dev)
		return l->dev < r->dev ? -1 : 1;
	return l->ino < r->ino ? -1 : l->ino > r->ino;
}

struct layer_ahead *layer_ahead_begin(const struct plan *plan, int root_fd, int layer_fd)
{
	const struct plan_entry *x = plan_entries(plan);
	struct layer_ahead *a = calloc(1, sizeof(*a));
	uint64_t began = raw_now_ns();

	if (!a || ftruncate(layer_fd, 0) < 0 ||
	    lseek(layer_fd, sizeof(struct layer_header), SEEK_SET) < 0) {
		free(a);
		return NULL;
	}
	a->layer_fd = layer_fd;
	a->most = most_watches();
	a->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (uint32_t i = 0; a->notify_fd >= 0 && i < plan->n_entries; i++)
		if (layer_is_place(&x[i]))
			walk_place(a, plan, &x[i], root_fd);
	a->by_inode = calloc(a->n + 1, sizeof(*a->by_inode));
	a->lost |= !a->by_inode;
	for (size_t i = 0; a->by_inode && i < a->n; i++)
		a->by_inode[i] = i;
	if (a->by_inode)
		qsort_r(a->by_inode, a->n, sizeof(*a->by_inode), by_inode, a->files);
	a->sum.end = (uint64_t)lseek(layer_fd, 0, SEEK_CUR);
	a->sum.ns = raw_now_ns() - began;
	return a;
}

struct layer_ahead_sum layer_ahead_sum(const struct layer_ahead *a)
{
	return a ? a->sum : (struct layer_ahead_sum){.end = sizeof(struct layer_header)};
}

static bool has_writers(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
		return true; /* or nobody can say */
	return fcntl(fd, F_SETLEASE, F_UNLCK) < 0;
}

const struct layer_ahead_file *layer_ahead_find(struct layer_ahead *a, int fd,
						const struct stat *st)
{
	size_t low = 0, high = a && !a->lost ? a->n : 0;
	struct layer_ahead_file *f = NULL;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		f = &a->files[a->by_inode[mid]];
		if (f->dev == st->st_dev && f->ino == st->st_ino)
			break;
		if (f->dev < st->st_dev || (f->dev == st->st_dev && f->ino < st->st_ino))
			low = mid + 1;
		else
			high = mid;
		f = NULL;
	}
	if (f && carrier_off(CARRIER_FILES_WRITTEN))
		f->written = false;
	else if (!f || f->written || f->size != (uint64_t)st->st_size || has_writers(fd))
		return NULL;
	else
		hear(a); /* after has_writers, see above */
	f->used = !a->lost && !f->written;
	return f->used ? f : NULL;
}

void layer_ahead_drop(struct layer_ahead *a)
{
	for (size_t i = 0; a && i < a->n; i++)
		for (uint32_t k = 0; !a->files[i].used && k < a->files[i].n_extents; k++) {
			const struct extent *x = &a->files[i].extents[k];

			if (x->at &&
			    fallocate(a->layer_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (off_t)x->at, (off_t)x->length) < 0)
				return; /* it costs memory until the layer goes */
		}
}

void layer_ahead_end(struct layer_ahead *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++)
		free(a->files[i].extents);
	close_fd(&a->notify_fd);
	free(a->files);
	free(a->by_inode);
	free(a);
}
