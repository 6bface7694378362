/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that processes share, and files that lost their name: memfds, shared anonymous memory,
 * deleted files that are open or mapped. An object is copied once, whoever maps or holds it; in the
 * clone it is a memfd.
 *
 * The bytes come from a descriptor: one that a process holds, or the kernel's own link to a mapping
 * (root only). Without either they are read through the mapping, which makes holes real: up to a
 * bound.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

#define OBJECT_MAX (1ull << 30)
#define THROUGH_MAPPING_MAX (64ull << 20)
#define PIECE (1u << 20)
#define ASK_BYTES (64ull << 20)
#define GET_SEALS 1034 /* F_GET_SEALS */
#define MQUEUE_MAGIC 0x19800202

/* A mapping of an object: [start, end) of that process shows the object's bytes from offset on. */
struct extent {
	pid_t pid; /* host */
	uint64_t start, end, offset;
};

struct shared {
	uint64_t dev, ino;
	pid_t pid; /* host; who is asked for the bytes */
	int fd;    /* a descriptor of that process, or -1: the mappings are asked */
	struct extent *extent;
	size_t n_extents, room;
	int inside_pid;
	uint32_t seals;
};

static struct image_shared *record(struct harvest *h, uint32_t i)
{
	return image_builder_at(&h->b, IMAGE_SHARED, i);
}

void shared_done(struct harvest *h)
{
	for (uint32_t i = 0; h->shared && i < image_builder_count(&h->b, IMAGE_SHARED); i++)
		free(h->shared[i].extent);
	free(h->shared);
	h->shared = NULL;
}

/* "/memfd:NAME (deleted)": what the program called it. */
static int name_put(struct harvest *h, const char *target, struct image_ref *ret)
{
	char name[250];
	size_t n;

	if (strncmp(target, "/memfd:", 7))
		return 0;
	snprintf(name, sizeof(name), "%.249s", target + 7);
	n = strlen(name);
	if (n > 10 && !strcmp(name + n - 10, " (deleted)"))
		name[n - 10] = 0;
	return image_builder_bytes(&h->b, name, strlen(name) + 1, ret);
}

static int find_or_add(struct harvest *h, uint64_t dev, uint64_t ino, const char *target,
		       uint32_t *ret, struct err *e)
{
	uint32_t n = image_builder_count(&h->b, IMAGE_SHARED);
	struct shared *v;

	for (uint32_t i = 0; i < n; i++)
		if (h->shared[i].ino == ino && h->shared[i].dev == dev) {
			*ret = i;
			return 0;
		}
	v = realloc(h->shared, (n + 1) * sizeof(*v));
	if (!v)
		REFUSE(e, ENOMEM, "describe shared memory");
	h->shared = v;
	v[n] = (struct shared){.dev = dev, .ino = ino, .fd = -1};
	if (!image_builder_add(&h->b, IMAGE_SHARED, ret) ||
	    name_put(h, target, &record(h, n)->name))
		REFUSE(e, ENOMEM, "describe shared memory");
	return 0;
}

/* All of them: one object may be mapped in pieces, each with other rights or in another process. */
static int extent_add(struct shared *s, struct extent x)
{
	struct extent *v = s->extent;

	if (s->n_extents == s->room) {
		v = reallocarray(v, s->room ? s->room * 2 : 4, sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->extent = v;
		s->room = s->room ? s->room * 2 : 4;
	}
	v[s->n_extents++] = x;
	return 0;
}

int shared_map(struct harvest *h, const struct captive *c, const struct proc_map *m, int pid,
	       struct image_map *x, struct err *e)
{
	uint64_t end = m->offset + (m->end - m->start);
	struct shared *s;
	uint32_t i;
	int r;

	if (!strncmp(m->path, "/SYSV", 5))
		REFUSE(e, ENOTSUP, "process %d: mapping %llx is System V shared memory", pid,
		       (unsigned long long)m->start);
	r = find_or_add(h, makedev(m->major, m->minor), m->ino, m->path, &i, e);
	if (r < 0)
		return r;
	s = &h->shared[i];
	if (!s->pid) {
		s->pid = c->pid;
		s->inside_pid = pid;
	}
	if (extent_add(s, (struct extent){c->pid, m->start, m->end, m->offset}))
		REFUSE(e, ENOMEM, "describe shared memory");
	if (record(h, i)->bytes < end)
		record(h, i)->bytes = end;
	x->kind = IMAGE_MAP_SHMEM;
	x->file = i;
	x->file_offset = m->offset;
	return 0;
}

static int fd_get(pid_t pid, int fd)
{
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

int shared_fd(struct harvest *h, pid_t pid, int fd, int inside_pid, const char *target,
	      uint32_t *ret, struct err *e)
{
	AUTO_FD int own = fd_get(pid, fd);
	struct statfs fs;
	struct stat st;
	int flags = own < 0 ? -1 : fcntl(own, F_GETFL), seals, r;

	if (own < 0 || flags < 0 || fstat(own, &st))
		REFUSE(e, errno, "look at descriptor %d of process %d", fd, inside_pid);
	if (flags & O_PATH)
		REFUSE(e, ENOENT, "process %d: descriptor %d is a file without a name (%.200s)",
		       inside_pid, fd, target);
	if (fstatfs(own, &fs) == 0 && fs.f_type == MQUEUE_MAGIC)
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is a message queue (%.200s)",
		       inside_pid, fd, target);
	if (st.st_nlink) /* a copy would be cut off from it */
		REFUSE(e, ENOENT,
		       "process %d: descriptor %d is a file that lost its name but has another "
		       "(%.200s)",
		       inside_pid, fd, target);
	r = find_or_add(h, st.st_dev, st.st_ino, target, ret, e);
	if (r < 0)
		return r;
	record(h, *ret)->bytes = (uint64_t)st.st_size;
	seals = fcntl(own, GET_SEALS);
	record(h, *ret)->seals = seals > 0 ? (uint32_t)seals & 31 : 0;
	if ((flags & O_ACCMODE) != O_WRONLY) {
		h->shared[*ret].pid = pid;
		h->shared[*ret].fd = fd;
		h->shared[*ret].inside_pid = inside_pid;
	}
	return 0;
}

static int too_big(const struct shared *s, uint64_t bytes, struct err *e)
{
	REFUSE(e, EFBIG, "process %d holds %llu MiB of shared memory or deleted files in one piece",
	       s->inside_pid, (unsigned long long)bytes >> 20);
}

/* Appends n bytes (rounded up to pages, the rest zero) as a run of the object at `at`. */
static int run_put(struct harvest *h, uint64_t at, uint8_t *buf, uint64_t n, struct err *e)
{
	uint64_t whole = (n + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE;
	struct image_run *x = image_builder_add(&h->b, IMAGE_RUN, NULL);

	if (!x)
		REFUSE(e, ENOMEM, "copy shared memory");
	memset(buf + n, 0, whole - n);
	*x = (struct image_run){at, at + whole, IMAGE_PAGE + h->b.pages_bytes};
	if (pwrite(h->image_fd, buf, whole, (off_t)x->offset) != (ssize_t)whole)
		REFUSE(e, errno ? errno : EIO, "copy shared memory");
	h->b.pages_bytes += whole;
	h->cap->runs++;
	h->cap->pages += whole / IMAGE_PAGE;
	/* how much there is of all objects is known only when it is read */
	h->unasked_bytes += whole;
	if (h->unasked_bytes < ASK_BYTES)
		return 0;
	h->unasked_bytes = 0;
	return host_holds(ASK_BYTES / 4, e);
}

static int copy_fd(struct harvest *h, int fd, uint64_t bytes, uint8_t *buf, struct err *e)
{
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < bytes) {
		char path[48];
		off_t data;
		ssize_t n;
		AUTO_FD int own = -EBADF;

		/* The position of a description is the workload's: look for data in one of ours. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_RDONLY | O_CLOEXEC);
		data = own < 0 ? (off_t)at : lseek(own, (off_t)at, SEEK_DATA);
		if (data < 0)
			break; /* ENXIO: holes to the end */
		at = (uint64_t)data / IMAGE_PAGE * IMAGE_PAGE;
		n = pread(fd, buf, bytes - at < PIECE ? bytes - at : PIECE, (off_t)at);
		if (n <= 0)
			break;
		r = run_put(h, at, buf, (uint64_t)n, e);
		at += ((uint64_t)n + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE;
	}
	return r;
}

/* The bytes of x from `from` on, an offset in the object. */
static int copy_extent(struct harvest *h, const struct extent *x, uint64_t from, uint8_t *buf,
		       struct err *e)
{
	char path[48];
	AUTO_FD int mem = -EBADF;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", x->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		REFUSE(e, errno, "read shared memory");
	for (uint64_t at = x->start + (from - x->offset); r == 0 && at < x->end; at += PIECE) {
		uint64_t want = x->end - at < PIECE ? x->end - at : PIECE;
		ssize_t n = pread(mem, buf, want, (off_t)at);

		if (n > 0) /* short: the object ends here */
			r = run_put(h, x->offset + (at - x->start), buf, (uint64_t)n, e);
		if (n != (ssize_t)want)
			break;
	}
	return r;
}

static int by_offset(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Each byte that anybody maps, once. */
static int copy_extents(struct harvest *h, struct shared *s, uint8_t *buf, struct err *e)
{
	uint64_t have = 0, bytes = 0;
	int r = 0;

	qsort(s->extent, s->n_extents, sizeof(*s->extent), by_offset);
	for (size_t i = 0; r == 0 && i < s->n_extents; i++) {
		const struct extent *x = &s->extent[i];
		uint64_t end = x->offset + (x->end - x->start),
			 from = x->offset > have ? x->offset : have;

		if (end <= from)
			continue;
		have = end;
		bytes += end - from;
		h->through_bytes += end - from;
		/* what was never touched is made by our reading: on the source's account too */
		r = bytes > THROUGH_MAPPING_MAX || h->through_bytes > OBJECT_MAX
			    ? too_big(s, bytes, e)
			    : copy_extent(h, x, from, buf, e);
	}
	return r;
}

static int object(struct harvest *h, uint32_t i, uint8_t *buf, struct err *e)
{
	struct shared *s = &h->shared[i];
	uint32_t first = image_builder_count(&h->b, IMAGE_RUN);
	AUTO_FD int fd = -EBADF;
	char path[80];
	int r;

	if (record(h, i)->bytes > OBJECT_MAX)
		return too_big(s, record(h, i)->bytes, e);
	if (s->fd >= 0) {
		fd = fd_get(s->pid, s->fd);
	} else if (s->n_extents) {
		snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", s->extent->pid,
			 (unsigned long long)s->extent->start, (unsigned long long)s->extent->end);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd >= 0) {
		struct stat st;

		if (s->fd < 0 && fstat(fd, &st) == 0) {
			if (st.st_nlink)
				REFUSE(e, ENOENT,
				       "process %d maps a file that lost its name but has another",
				       s->inside_pid);
			record(h, i)->bytes = (uint64_t)st.st_size;
		}
		if (record(h, i)->bytes > OBJECT_MAX)
			return too_big(s, record(h, i)->bytes, e);
		r = copy_fd(h, fd, record(h, i)->bytes, buf, e);
	} else if (!s->n_extents) {
		REFUSE(e, ENOTSUP, "a deleted file that is open for writing alone can't be read");
	} else {
		r = copy_extents(h, s, buf, e);
	}
	record(h, i)->runs =
		(struct image_span){first, image_builder_count(&h->b, IMAGE_RUN) - first};
	return r;
}

int shared_pages(struct harvest *h, struct err *e)
{
	AUTO_FREE uint8_t *buf = NULL;
	int r = 0;

	if (!image_builder_count(&h->b, IMAGE_SHARED))
		return 0;
	buf = malloc(PIECE);
	if (!buf)
		REFUSE(e, ENOMEM, "copy shared memory");
	for (uint32_t i = 0; r == 0 && i < image_builder_count(&h->b, IMAGE_SHARED); i++)
		r = object(h, i, buf, e);
	return r;
}
