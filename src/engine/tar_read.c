/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/place.h"
#include "engine/tar.h"
#include "engine/tar_member.h"

#define MAX_PIECES (1u << 20)

struct reader {
	int fd;
	const struct side *side;
	int top_fd;
	struct tree_report *report;
	struct tar_member *m;
	char *buffer;      /* PLACE_BUFFER: read ahead */
	size_t have, used; /* bytes in it; bytes of them taken */
	/* the directory of the last member, for the next is often in it too */
	char parent[TAR_NAME_MAX];
	int parent_fd; /* -EBADF: none */
};

/* 0 with have == used: the end of the stream. */
static int fill(struct reader *r)
{
	ssize_t n;

	if (r->used < r->have)
		return 0;
	r->used = r->have = 0;
	do {
		n = read(r->fd, r->buffer, PLACE_BUFFER);
		if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = r->fd, .events = POLLIN};

			ignore_err(poll(&wait, 1, -1), "read() tells");
			errno = EINTR;
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r->have = (size_t)n;
	return 0;
}

/* At most n bytes that lie ready, without copying them: their number, or -EBADMSG at the end. */
static ssize_t take(struct reader *r, uint64_t n, const char **ret)
{
	int e = fill(r);
	size_t ready = r->have - r->used;

	if (e < 0)
		return e;
	if (!ready)
		return -EBADMSG;
	if (ready > n)
		ready = (size_t)n;
	*ret = r->buffer + r->used;
	r->used += ready;
	return (ssize_t)ready;
}

static int read_all(void *arg, void *data, size_t n)
{
	char *to = data;
	const char *from;

	while (n) {
		ssize_t part = take(arg, n, &from);

		if (part < 0)
			return (int)part;
		memcpy(to, from, (size_t)part);
		to += part;
		n -= (size_t)part;
	}
	return 0;
}

static int skip(struct reader *r, uint64_t n)
{
	const char *from;

	while (n) {
		ssize_t part = take(r, n, &from);

		if (part < 0)
			return (int)part;
		n -= (uint64_t)part;
	}
	return 0;
}

static uint64_t padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* The next n bytes of the stream to the file's present offset. */
static int write_stretch(struct reader *r, int fd, uint64_t n)
{
	const char *from;

	while (n) {
		ssize_t part = take(r, n, &from);
		int e = part < 0 ? (int)part : place_write(fd, from, (size_t)part);

		if (e < 0)
			return e;
		n -= (uint64_t)part;
	}
	return 0;
}

/* One line of the sparse map; *left: what remains of the content. */
static int map_number(struct reader *r, uint64_t *left, uint64_t *ret)
{
	uint64_t v = 0;
	const char *c;

	for (unsigned digits = 0; digits < 20; digits++) {
		ssize_t n = *left ? take(r, 1, &c) : -EBADMSG;

		if (n < 0)
			return (int)n;
		(*left)--;
		/* lint-allow: analyzer-use-of-uninitialized-value: take() gave it */
		if (*c == '\n' && digits) {
			*ret = v;
			return 0;
		}
		if (*c < '0' || *c > '9' || v > INT64_MAX / 10 - 1)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(*c - '0');
	}
	return -EBADMSG;
}

struct pieces {
	uint64_t *v; /* start, length, start, length ... */
	uint64_t n;
};

/* Ascending, apart, inside the file, and as much as the stream holds. */
static int read_map(struct reader *r, struct pieces *ret, uint64_t *left)
{
	uint64_t end = 0, bytes = 0, size = *left;
	int e = map_number(r, left, &ret->n);

	if (e < 0 || ret->n > MAX_PIECES)
		return e < 0 ? e : -EBADMSG;
	ret->v = calloc(ret->n + 1, 2 * sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (uint64_t i = 0; i < ret->n; i++) {
		uint64_t *p = ret->v + 2 * i;

		e = map_number(r, left, &p[0]);
		if (e == 0)
			e = map_number(r, left, &p[1]);
		if (e < 0)
			return e;
		if (p[0] < end || p[0] > r->m->real_size || p[1] > r->m->real_size - p[0])
			return -EBADMSG;
		end = p[0] + p[1];
		bytes += p[1];
	}
	if (*left < padding(size - *left))
		return -EBADMSG;
	e = skip(r, padding(size - *left));
	*left -= padding(size - *left);
	return e < 0 ? e : *left == bytes ? 0 : -EBADMSG;
}

static int write_sparse(struct reader *r, int fd)
{
	struct pieces map = {0};
	uint64_t left = r->m->size;
	int e = read_map(r, &map, &left);

	for (uint64_t i = 0; e == 0 && i < map.n; i++) {
		if (lseek(fd, (off_t)map.v[2 * i], SEEK_SET) < 0)
			e = -errno;
		else
			e = write_stretch(r, fd, map.v[2 * i + 1]);
	}
	free(map.v);
	return e;
}

/* The directory `path` below the top, made where it is missing: a descriptor. */
static int make_directories(struct reader *r, char *path)
{
	AUTO_FD int fd = side_open_below(r->side, r->top_fd, path, O_PATH | O_DIRECTORY);
	char *name = path, *slash;

	if (fd != -ENOENT)
		return take_fd(&fd);
	fd = fcntl(r->top_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	while (fd >= 0 && name) {
		int next;

		slash = strchr(name, '/');
		if (slash)
			*slash = 0;
		next = place_directory(r->side, fd, name, 0755);
		if (slash)
			*slash = '/';
		close_fd(&fd);
		fd = next;
		name = slash ? slash + 1 : NULL;
	}
	return take_fd(&fd);
}

/* The directory that path's last component goes to: borrowed until the next call. */
static int parent_of(struct reader *r, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return r->top_fd;
	if (r->parent_fd >= 0 && strlen(r->parent) == len && !memcmp(r->parent, path, len))
		return r->parent_fd;
	close_fd(&r->parent_fd);
	memcpy(r->parent, path, len);
	r->parent[len] = 0;
	r->parent_fd = make_directories(r, r->parent);
	return r->parent_fd;
}

static int extract_file(struct reader *r, int dir_fd, const char *name)
{
	const struct tar_member *m = r->m;
	int e, fd = place_file(r->side, dir_fd, name, m->mode);

	if (fd < 0)
		return fd;
	e = m->sparse ? write_sparse(r, fd) : write_stretch(r, fd, m->size);
	if (e == 0)
		e = place_finish(r->side, fd, m->sparse ? m->real_size : m->size,
				 (struct timespec){.tv_sec = (time_t)m->mtime});
	else
		close(fd);
	if (e < 0) {
		place_remove(r->side, dir_fd, name);
		return e;
	}
	return skip(r, padding(m->size));
}

static int extract_hard_link(struct reader *r, int dir_fd, const char *name)
{
	const struct tar_member *m = r->m;
	char parent[TAR_NAME_MAX];
	const char *slash = strrchr(m->link, '/');
	AUTO_FD int old_fd = -EBADF;

	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - m->link) : 1,
		 slash ? m->link : ".");
	old_fd = side_open_below(r->side, r->top_fd, parent, O_PATH | O_DIRECTORY);
	if (old_fd < 0)
		return old_fd;
	return place_hard_link(r->side, old_fd, slash ? slash + 1 : m->link, dir_fd, name);
}

static int extract(struct reader *r)
{
	const struct tar_member *m = r->m;
	const char *name;
	int dir_fd, fd;

	if (!strchr("0125", m->type)) {
		tree_skip(r->report, m->path, "is no file, directory or link");
		return skip(r, m->size + padding(m->size));
	}
	if (!m->path[0])
		return 0;
	dir_fd = parent_of(r, m->path, &name);
	if (dir_fd < 0)
		return dir_fd;
	r->report->visited++;
	switch (m->type) {
	case '0':
		return extract_file(r, dir_fd, name);
	case '1':
		return extract_hard_link(r, dir_fd, name);
	case '2':
		return place_link(r->side, dir_fd, name, m->link);
	default:
		fd = place_directory(r->side, dir_fd, name, m->mode);
		if (fd < 0)
			return fd;
		close(fd);
		return 0;
	}
}

static int extract_all(struct reader *r, struct err *e)
{
	struct tar_stream s = {.read = read_all, .arg = r};
	const char *rest;
	ssize_t n;
	int got, code;

	while ((got = tar_next(&s, r->m, e)) > 0) {
		if (++r->report->entries > TREE_ENTRIES)
			return err_set(e, ERR_SOURCE, E2BIG, "the tar stream");
		code = extract(r);
		if (code == -EBADMSG)
			return err_set(e, ERR_SOURCE, code, "the tar stream, at '%s'", r->m->path);
		if (code < 0)
			return err_set(e, r->side->inside ? ERR_TARGET : ERR_OUTPUT, code,
				       "write '%s'", r->m->path);
	}
	/* what writes the stream may pad it, and should not meet a closed pipe */
	do
		n = take(r, PLACE_BUFFER, &rest);
	while (got == 0 && n > 0);
	return got;
}

int tar_extract(int fd, const struct side *s, int dir_fd, struct tree_report *report, struct err *e)
{
	struct reader *r = calloc(1, sizeof(*r));
	int got = -ENOMEM;

	if (!r)
		return err_set(e, ERR_INTERNAL, ENOMEM, "read a tar stream");
	*r = (struct reader){
		.fd = fd, .side = s, .top_fd = dir_fd, .report = report, .parent_fd = -EBADF};
	r->m = malloc(sizeof(*r->m));
	r->buffer = malloc(PLACE_BUFFER);
	if (r->m && r->buffer)
		got = extract_all(r, e);
	else
		err_set(e, ERR_INTERNAL, ENOMEM, "read a tar stream");
	close_fd(&r->parent_fd);
	free(r->m);
	free(r->buffer);
	free(r);
	return got;
}
