/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/links.h"
#include "engine/place.h"
#include "engine/tar.h"

/* What fits into the octal fields of a plain header. */
#define MAX_ID 07777777u
#define MAX_SIZE 077777777777u

/* A file in more pieces than this is written whole from there on. */
#define MAX_PIECES (1u << 20)

struct piece {
	uint64_t start, end;
};

struct tar_writer {
	int fd;
	struct tree_report *report;
	char *buffer; /* PLACE_BUFFER: what waits to be written */
	size_t used;
	char *records; /* of the next extended header */
	size_t records_len, records_size;
	struct piece *pieces;
	size_t n_pieces, pieces_size;
	uint32_t uid, gid;
	struct links links;
};

struct tar_writer *tar_writer_new(int fd, struct tree_report *report)
{
	struct tar_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = fd;
	w->report = report;
	w->uid = getuid();
	w->gid = getgid();
	w->buffer = malloc(PLACE_BUFFER);
	if (w->buffer)
		return w;
	free(w);
	return NULL;
}

void tar_writer_free(struct tar_writer *w)
{
	if (!w)
		return;
	free(w->buffer);
	free(w->records);
	free(w->pieces);
	links_done(&w->links);
	free(w);
}

unsigned tar_checksum(const struct tar_header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	size_t from = offsetof(struct tar_header, checksum);
	unsigned sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= from && i < from + sizeof(h->checksum) ? ' ' : p[i];
	return sum;
}

static int flush(struct tar_writer *w)
{
	int r = place_write(w->fd, w->buffer, w->used);

	w->used = 0;
	return r;
}

/* data NULL: zeros. */
static int put(struct tar_writer *w, const void *data, uint64_t n)
{
	const char *p = data;

	while (n) {
		size_t part = PLACE_BUFFER - w->used;
		int r;

		if (part > n)
			part = (size_t)n;
		if (p)
			memcpy(w->buffer + w->used, p, part);
		else
			memset(w->buffer + w->used, 0, part);
		w->used += part;
		p = p ? p + part : NULL;
		n -= part;
		r = w->used == PLACE_BUFFER ? flush(w) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int pad(struct tar_writer *w, uint64_t size)
{
	return put(w, NULL, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

/* "LENGTH KEY=VALUE\n", the length counting itself. */
static int record(struct tar_writer *w, const char *key, const char *value, size_t value_len)
{
	size_t rest = strlen(key) + value_len + 3, len = rest + 1, digits = 1;
	char number[24];

	while ((size_t)snprintf(number, sizeof(number), "%zu", len) != digits)
		len = rest + ++digits;
	if (w->records_len + len + 1 > w->records_size) {
		size_t size = (w->records_len + len + 1) * 2;
		char *p = realloc(w->records, size);

		if (!p)
			return -ENOMEM;
		w->records = p;
		w->records_size = size;
	}
	snprintf(w->records + w->records_len, len + 1, "%zu %s=", len, key);
	memcpy(w->records + w->records_len + len - 1 - value_len, value, value_len);
	w->records[w->records_len + len - 1] = '\n';
	w->records_len += len;
	return 0;
}

static int record_number(struct tar_writer *w, const char *key, int64_t value)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRId64, value);

	return record(w, key, text, (size_t)n);
}

/* A name that a field can't hold; one that is not UTF-8 needs to say so. */
static int record_name(struct tar_writer *w, const char *key, const char *name, size_t len)
{
	int r = text_is_utf8(name, len) ? 0 : record(w, "hdrcharset", "BINARY", 6);

	return r < 0 ? r : record(w, key, name, len);
}

static void octal(char *field, size_t size, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%0*" PRIo64, (int)size - 1, value);
	memcpy(field, text, size);
}

static int put_header(struct tar_writer *w, struct tar_header *h)
{
	memcpy(h->magic, "ustar\00000", sizeof(h->magic));
	octal(h->checksum, 7, tar_checksum(h));
	h->checksum[7] = ' ';
	return put(w, h, sizeof(*h));
}

/* The extended header, if there are records for it. */
static int put_records(struct tar_writer *w)
{
	struct tar_header h = {.name = "pax", .type = 'x'};
	int r;

	if (!w->records_len)
		return 0;
	octal(h.mode, sizeof(h.mode), 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.size, sizeof(h.size), w->records_len);
	octal(h.mtime, sizeof(h.mtime), 0);
	r = put_header(w, &h);
	if (r == 0)
		r = put(w, w->records, w->records_len);
	if (r == 0)
		r = pad(w, w->records_len);
	w->records_len = 0;
	return r;
}

/* size: of the content that follows. Records may have been added before. */
static int put_member(struct tar_writer *w, const struct tree_entry *t, char type, uint64_t size)
{
	struct tar_header h = {.type = type};
	size_t len = strlen(t->path), link_len = t->link ? strlen(t->link) : 0;
	bool slash = type == '5';
	int64_t mtime = t->st.st_mtim.tv_sec;
	int r = 0;

	memcpy(h.name, t->path, len < sizeof(h.name) ? len : sizeof(h.name));
	if (len + slash > sizeof(h.name))
		r = record_name(w, "path", t->path, len);
	else if (slash)
		h.name[len] = '/';
	if (link_len)
		memcpy(h.link, t->link, link_len < sizeof(h.link) ? link_len : sizeof(h.link));
	if (r == 0 && link_len > sizeof(h.link))
		r = record_name(w, "linkpath", t->link, link_len);
	if (r == 0 && size > MAX_SIZE)
		r = record_number(w, "size", (int64_t)size);
	if (r == 0 && w->uid > MAX_ID)
		r = record_number(w, "uid", w->uid);
	if (r == 0 && w->gid > MAX_ID)
		r = record_number(w, "gid", w->gid);
	if (r == 0 && (mtime < 0 || mtime > (int64_t)MAX_SIZE))
		r = record_number(w, "mtime", mtime);
	if (r == 0)
		r = put_records(w);
	if (r < 0)
		return r;
	octal(h.mode, sizeof(h.mode), (t->st.st_mode & 0777) | (slash ? S_IRWXU : 0));
	octal(h.uid, sizeof(h.uid), w->uid > MAX_ID ? 0 : w->uid);
	octal(h.gid, sizeof(h.gid), w->gid > MAX_ID ? 0 : w->gid);
	octal(h.size, sizeof(h.size), size > MAX_SIZE ? 0 : size);
	octal(h.mtime, sizeof(h.mtime),
	      mtime < 0 || mtime > (int64_t)MAX_SIZE ? 0 : (uint64_t)mtime);
	return put_header(w, &h);
}

static int unwritable(int code, struct err *e)
{
	return err_set(e, code == -ENOMEM ? ERR_INTERNAL : ERR_OUTPUT, code,
		       "write the tar stream");
}

static int tar_enter(void *arg, const struct tree_entry *t, struct err *e)
{
	struct tar_writer *w = arg;
	int r = t->path[0] ? put_member(w, t, '5', 0) : 0;

	return r < 0 ? unwritable(r, e) : 0;
}

/* Where the file's data lies now; *ret_bytes: how much. */
static int find_pieces(struct tar_writer *w, int fd, uint64_t size, uint64_t *ret_bytes)
{
	uint64_t at = 0, start, end;

	w->n_pieces = 0;
	*ret_bytes = 0;
	while (place_next_data(fd, at, size, &start, &end)) {
		if (w->n_pieces == MAX_PIECES - 1)
			end = size;
		if (w->n_pieces == w->pieces_size) {
			size_t n = w->pieces_size ? w->pieces_size * 2 : 16;
			struct piece *p = realloc(w->pieces, n * sizeof(*p));

			if (!p)
				return -ENOMEM;
			w->pieces = p;
			w->pieces_size = n;
		}
		w->pieces[w->n_pieces++] = (struct piece){start, end};
		*ret_bytes += end - start;
		at = end;
	}
	return 0;
}

/* The map of GNU sparse 1.0: decimal numbers, a line each, at the start of the content. */
static char *sparse_map(const struct tar_writer *w, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	fprintf(f, "%zu\n", w->n_pieces);
	for (size_t i = 0; i < w->n_pieces; i++)
		fprintf(f, "%" PRIu64 "\n%" PRIu64 "\n", w->pieces[i].start,
			w->pieces[i].end - w->pieces[i].start);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

static int put_sparse_header(struct tar_writer *w, const struct tree_entry *t, uint64_t bytes)
{
	size_t len;
	AUTO_FREE char *map = sparse_map(w, &len);
	uint64_t map_bytes = (len + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	int r = map ? record_number(w, "GNU.sparse.major", 1) : -ENOMEM;

	if (r == 0)
		r = record_number(w, "GNU.sparse.minor", 0);
	if (r == 0)
		r = record_name(w, "GNU.sparse.name", t->path, strlen(t->path));
	if (r == 0)
		r = record_number(w, "GNU.sparse.realsize", t->st.st_size);
	if (r == 0)
		r = put_member(w, t, '0', map_bytes + bytes);
	if (r == 0)
		r = put(w, map, len);
	return r < 0 ? r : put(w, NULL, map_bytes - len);
}

/* Exactly the bytes that were announced: what the file no longer has becomes zeros. */
static int put_piece(struct tar_writer *w, const struct tree_entry *t, const struct piece *p)
{
	uint64_t at = p->start;
	bool gone = false;
	int r = 0;

	while (r == 0 && at < p->end && !gone) {
		size_t room = PLACE_BUFFER - w->used;
		ssize_t n = pread(t->fd, w->buffer + w->used,
				  p->end - at < room ? (size_t)(p->end - at) : room, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			tree_fail(w->report, t->path, errno);
		gone = n <= 0;
		if (gone)
			break;
		w->used += (size_t)n;
		at += (uint64_t)n;
		if (w->used == PLACE_BUFFER)
			r = flush(w);
	}
	return r < 0 ? r : put(w, NULL, p->end - at);
}

static int put_file(struct tar_writer *w, const struct tree_entry *t)
{
	uint64_t size = (uint64_t)t->st.st_size, bytes;
	int r = find_pieces(w, t->fd, size, &bytes);

	if (r == 0 && bytes == size)
		r = put_member(w, t, '0', size);
	else if (r == 0)
		r = put_sparse_header(w, t, bytes);
	for (size_t i = 0; r == 0 && i < w->n_pieces; i++)
		r = put_piece(w, t, &w->pieces[i]);
	return r < 0 ? r : pad(w, bytes);
}

/* A file with several names is written once; the others are links to the first. */
static int put_file_once(struct tar_writer *w, const struct tree_entry *t)
{
	const struct link_copy *first = t->st.st_nlink > 1 ? links_find(&w->links, &t->st) : NULL;
	struct tree_entry link = *t;
	int r;

	if (first) {
		link.link = first->path;
		return put_member(w, &link, '1', 0);
	}
	r = put_file(w, t);
	if (r == 0 && t->st.st_nlink > 1)
		links_add(&w->links, &t->st, NULL, t->path);
	return r;
}

static int tar_item(void *arg, const struct tree_entry *t, struct err *e)
{
	struct tar_writer *w = arg;
	int r = t->fd >= 0 ? put_file_once(w, t) : put_member(w, t, '2', 0);

	return r < 0 ? unwritable(r, e) : 0;
}

struct tree_visitor tar_visitor(struct tar_writer *w)
{
	return (struct tree_visitor){.arg = w, .enter = tar_enter, .item = tar_item};
}

int tar_finish(struct tar_writer *w, struct err *e)
{
	int r = put(w, NULL, (uint64_t)2 * TAR_BLOCK);

	if (r == 0)
		r = flush(w);
	return r < 0 ? unwritable(r, e) : 0;
}
