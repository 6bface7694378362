/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tar_member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* What extended headers say about the member that follows them. */
struct extension {
	char path[TAR_NAME_MAX], link[TAR_NAME_MAX], sparse_name[TAR_NAME_MAX];
	bool has_path, has_link, has_size, has_mtime, has_sparse_name, has_real_size;
	uint64_t size, real_size, sparse_major, sparse_minor;
	int64_t mtime;
	bool has_sparse;
};

int tar_number(const char *field, size_t size, uint64_t *ret)
{
	const unsigned char *p = (const unsigned char *)field;
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] & 0x80) { /* base-256, and not negative */
		if (p[0] != 0x80)
			return -EINVAL;
		for (i = 1; i < size; i++) {
			if (v >> 55)
				return -EINVAL;
			v = v << 8 | p[i];
		}
		*ret = v;
		return 0;
	}
	while (i < size && p[i] == ' ')
		i++;
	for (; i < size && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0'); /* 12 digits are 36 bits */
	for (; i < size; i++)
		if (p[i] && p[i] != ' ')
			return -EINVAL;
	*ret = v;
	return 0;
}

int tar_clean_path(char *path)
{
	char *from = path, *to = path;

	while (*from) {
		size_t n = strcspn(from, "/");

		if (n == 2 && from[0] == '.' && from[1] == '.')
			return -EBADMSG;
		if (n && !(n == 1 && from[0] == '.')) {
			if (to != path)
				*to++ = '/';
			memmove(to, from, n);
			to += n;
		}
		from += n;
		while (*from == '/')
			from++;
	}
	*to = 0;
	return 0;
}

/* A name from a record or a GNU long name: no NUL in it, but perhaps one at its end. */
static int take_name(char out[TAR_NAME_MAX], bool *ret_has, const char *value, size_t n)
{
	if (n && !value[n - 1])
		n--;
	if (n >= TAR_NAME_MAX || memchr(value, 0, n))
		return -EBADMSG;
	memcpy(out, value, n);
	out[n] = 0;
	*ret_has = true;
	return 0;
}

static int take_number(uint64_t *ret, bool *ret_has, const char *value, size_t n)
{
	char text[24];

	if (n >= sizeof(text))
		return -EBADMSG;
	memcpy(text, value, n);
	text[n] = 0;
	*ret_has = true;
	return text_parse_uint(text, 0, INT64_MAX, ret) < 0 ? -EBADMSG : 0;
}

/* Seconds with a sign and a fraction; the fraction is dropped. */
static int take_time(int64_t *ret, bool *ret_has, const char *value, size_t n)
{
	bool negative = n && value[0] == '-', has;
	const char *dot = memchr(value, '.', n);
	uint64_t v;
	int r;

	n = (dot ? (size_t)(dot - value) : n) - negative;
	r = take_number(&v, &has, value + negative, n);
	if (r < 0)
		return r;
	*ret = negative ? -(int64_t)v : (int64_t)v;
	*ret_has = true;
	return 0;
}

static int take_record(struct extension *x, const char *key, size_t key_len, const char *value,
		       size_t n)
{
	bool has;
#define IS(k) (key_len == sizeof(k) - 1 && !memcmp(key, k, sizeof(k) - 1))

	if (IS("path"))
		return take_name(x->path, &x->has_path, value, n);
	if (IS("linkpath"))
		return take_name(x->link, &x->has_link, value, n);
	if (IS("size"))
		return take_number(&x->size, &x->has_size, value, n);
	if (IS("mtime"))
		return take_time(&x->mtime, &x->has_mtime, value, n);
	if (IS("GNU.sparse.major"))
		return take_number(&x->sparse_major, &x->has_sparse, value, n);
	if (IS("GNU.sparse.minor"))
		return take_number(&x->sparse_minor, &has, value, n);
	if (IS("GNU.sparse.name"))
		return take_name(x->sparse_name, &x->has_sparse_name, value, n);
	if (IS("GNU.sparse.realsize"))
		return take_number(&x->real_size, &x->has_real_size, value, n);
	if (IS("GNU.sparse.map") || IS("GNU.sparse.numblocks"))
		return -EOPNOTSUPP; /* the older sparse formats */
	return 0;                   /* owners, other times, comments: not for us */
#undef IS
}

static int take_records(struct extension *x, const char *text, size_t size)
{
	while (size) {
		const char *space = memchr(text, ' ', size < 8 ? size : 8), *equals;
		uint64_t len;
		bool has;
		int r;

		if (!space || take_number(&len, &has, text, (size_t)(space - text)) < 0)
			return -EBADMSG;
		if (len > size || len < (size_t)(space - text) + 4 || text[len - 1] != '\n')
			return -EBADMSG;
		equals = memchr(space, '=', len - (size_t)(space - text));
		if (!equals)
			return -EBADMSG;
		r = take_record(x, space + 1, (size_t)(equals - space - 1), equals + 1,
				(size_t)(text + len - 1 - (equals + 1)));
		if (r < 0)
			return r;
		text += len;
		size -= len;
	}
	return 0;
}

/* The content of an extended header: read whole. */
static int take_extension(struct tar_stream *s, char type, uint64_t size, struct extension *x)
{
	uint64_t padded = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	AUTO_FREE char *text = NULL;
	int r;

	if (size > TAR_RECORDS_MAX)
		return -EBADMSG;
	text = malloc(padded + 1);
	if (!text)
		return -ENOMEM;
	r = s->read(s->arg, text, padded);
	if (r < 0)
		return r;
	switch (type) {
	case 'x':
		return take_records(x, text, size);
	case 'L':
		return take_name(x->path, &x->has_path, text, size);
	case 'K':
		return take_name(x->link, &x->has_link, text, size);
	default: /* 'g': defaults for all members; none that we would use */
		return 0;
	}
}

static void plain_name(const struct tar_header *h, char out[TAR_NAME_MAX])
{
	bool posix = !memcmp(h->magic, "ustar\0", 6);

	if (posix && h->prefix[0])
		snprintf(out, TAR_NAME_MAX, "%.*s/%.*s", (int)sizeof(h->prefix), h->prefix,
			 (int)sizeof(h->name), h->name);
	else
		snprintf(out, TAR_NAME_MAX, "%.*s", (int)sizeof(h->name), h->name);
}

/* Header and extension to the member; what the format forbids is refused. */
static int make_member(const struct tar_header *h, const struct extension *x, uint64_t size,
		       struct tar_member *m)
{
	uint64_t mode, mtime;
	size_t len;

	if (x->has_sparse_name)
		memcpy(m->path, x->sparse_name, sizeof(m->path));
	else if (x->has_path)
		memcpy(m->path, x->path, sizeof(m->path));
	else
		plain_name(h, m->path);
	if (tar_number(h->mode, sizeof(h->mode), &mode) < 0 ||
	    tar_number(h->mtime, sizeof(h->mtime), &mtime) < 0)
		return -EBADMSG;
	m->mode = (uint32_t)mode & 0777;
	m->mtime = x->has_mtime ? x->mtime : (int64_t)(mtime & INT64_MAX);
	m->type = h->type == 0 || h->type == '7' ? '0' : h->type;
	len = strlen(m->path);
	if (m->type == '0' && len && m->path[len - 1] == '/') /* as before POSIX */
		m->type = '5';
	if (x->has_link)
		memcpy(m->link, x->link, sizeof(m->link));
	else
		snprintf(m->link, sizeof(m->link), "%.*s", (int)sizeof(h->link), h->link);
	m->size = m->type >= '1' && m->type <= '6' ? 0 : size; /* links, devices, directories */
	m->sparse = x->has_sparse;
	m->real_size = x->real_size;
	if (m->type == 'S' || (x->has_sparse && (x->sparse_major != 1 || x->sparse_minor ||
						 !x->has_real_size || m->type != '0')))
		return -EOPNOTSUPP;
	if (size && (m->type == '1' || m->type == '2' || m->type == '5'))
		return -EBADMSG;
	if (tar_clean_path(m->path) < 0 || (m->type == '1' && tar_clean_path(m->link) < 0))
		return -EBADMSG;
	return m->path[0] || m->type == '5' ? 1 : -EBADMSG;
}

static int malformed(const struct tar_stream *s, const char *name, int code, const void *block,
		     struct err *e)
{
	const unsigned char *p = block;
	int r = err_set(e, ERR_SOURCE, code, "the tar stream, member %llu%s%s%s",
			(unsigned long long)s->members, *name ? " '" : "", name, *name ? "'" : "");

	if (p && ((p[0] == 0x1f && p[1] == 0x8b) || !memcmp(p, "BZh", 3) ||
		  !memcmp(p,
			  "\xfd"
			  "7zXZ",
			  5) ||
		  !memcmp(p, "\x28\xb5\x2f\xfd", 4)))
		err_hint(e, "it is compressed: unpack it on the way, as with `zcat`");
	else if (code == -EOPNOTSUPP)
		err_hint(e, "GNU tar --format=pax writes holes as cleave reads them");
	return r;
}

static bool is_end(const struct tar_header *h)
{
	const char *p = (const char *)h;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (p[i])
			return false;
	return true;
}

static int next(struct tar_stream *s, struct extension *x, struct tar_member *m, struct err *e)
{
	struct tar_header h = {0};
	uint64_t size, sum;
	int r;

	for (;;) {
		r = s->read(s->arg, &h, sizeof(h));
		if (r < 0)
			return malformed(s, "", r, &h, e);
		if (is_end(&h))
			return 0;
		s->members++;
		if (tar_number(h.checksum, sizeof(h.checksum), &sum) < 0 ||
		    sum != tar_checksum(&h) || memcmp(h.magic, "ustar", 5) ||
		    tar_number(h.size, sizeof(h.size), &size) < 0 || size > INT64_MAX)
			return malformed(s, "", -EBADMSG, &h, e);
		if (!strchr("xgLK", h.type) || !h.type)
			break;
		r = take_extension(s, h.type, size, x);
		if (r < 0)
			return malformed(s, "", r, NULL, e);
	}
	memset(m, 0, sizeof(*m));
	r = make_member(&h, x, x->has_size ? x->size : size, m);
	return r < 0 ? malformed(s, m->path, r, NULL, e) : 1;
}

int tar_next(struct tar_stream *s, struct tar_member *ret, struct err *e)
{
	struct extension *x = calloc(1, sizeof(*x));
	int r = x ? next(s, x, ret, e) : err_set(e, ERR_INTERNAL, ENOMEM, "read a tar stream");

	free(x);
	return r;
}
