/* SPDX-License-Identifier: Apache-2.0 */
/* Filling a layer into a clone's root, before anybody lives there. The stream is checked as it is
 * read. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/portable.h"
#include "engine/layer.h"
#include "engine/layer_format.h"
#include "engine/layer_links.h"

struct reader {
	const char *at, *end;
	const char *layer; /* its beginning */
	uint64_t records;  /* where they begin in it */
	struct layer_owner owner;
	int dirs[LAYER_DEPTH_MAX + 2];
	struct record recs[LAYER_DEPTH_MAX + 2]; /* of the directories, for their times */
	unsigned depth;
	struct layer_names names;
	size_t names_dir[LAYER_DEPTH_MAX + 2]; /* the directories among the names; 0: not yet */
	char path[LAYER_DEPTH_MAX * 256 + 4096];
	size_t lens[LAYER_DEPTH_MAX + 2];
	int root_fd;
	uint64_t mount; /* of the place that is being filled */
	bool merged;    /* the place is an overlay: what lies below gives way */
	unsigned skip;  /* directories in one another that are mounted over: nothing of them is used
			 */
	struct err *e;
};

int layer_header_read(int layer_fd, struct layer_header *ret, struct err *e)
{
	struct stat st;

	if (pread(layer_fd, ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret) ||
	    fstat(layer_fd, &st) < 0 || ret->magic != LAYER_MAGIC ||
	    ret->end != (uint64_t)st.st_size || ret->files > ret->end ||
	    ret->records < sizeof(*ret) || ret->copies < ret->records || ret->copies > ret->end)
		return err_set(e, ERR_IMAGE, 0, "the layer of files is malformed");
	return 0;
}

static int malformed(struct reader *r)
{
	return err_set(r->e, ERR_IMAGE, 0, "the layer of files is malformed");
}

static const void *take(struct reader *r, uint64_t n)
{
	const char *p = r->at;

	if (n > (uint64_t)(r->end - r->at))
		return NULL;
	r->at += n;
	return p;
}

static void times(const struct record *rec, struct timespec ts[2])
{
	ts[0] = (struct timespec){rec->atime_ns / 1000000000, rec->atime_ns % 1000000000};
	ts[1] = (struct timespec){rec->mtime_ns / 1000000000, rec->mtime_ns % 1000000000};
}

static uid_t shifted(const struct reader *r, uint32_t id)
{
	return (uid_t)((int64_t)id + r->owner.shift);
}

/* Owner, mode and times, in the order in which they don't undo each other. */
static int settle(struct reader *r, int fd, const struct record *rec)
{
	struct timespec ts[2];

	times(rec, ts);
	if (r->owner.set && fchown(fd, shifted(r, rec->uid), shifted(r, rec->gid)) < 0)
		return -errno;
	if (fchmod(fd, rec->mode) < 0 || futimens(fd, ts) < 0)
		return -errno;
	return 0;
}

/* The next run of data and its bytes; NULL if there is none. */
static const char *take_extent(struct reader *r, struct extent *ret)
{
	const void *p = take(r, sizeof(*ret));

	if (!p)
		return NULL;
	memcpy(ret, p, sizeof(*ret));
	if (!ret->at)
		return take(r, ret->length);
	if (ret->at > r->records || ret->length > r->records - ret->at)
		return NULL;
	return r->layer + ret->at;
}

static int fill_data(struct reader *r, int fd, const struct record *rec)
{
	if (ftruncate(fd, (off_t)rec->size) < 0)
		return -errno;
	for (uint32_t i = 0; i < rec->extents; i++) {
		struct extent x;
		const char *data = take_extent(r, &x);

		if (!data || x.offset > rec->size || x.length > rec->size - x.offset)
			return -EBADMSG;
		for (uint64_t done = 0; done < x.length;) {
			ssize_t n =
				pwrite(fd, data + done, x.length - done, (off_t)(x.offset + done));

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
			done += (uint64_t)n;
		}
	}
	return 0;
}

/* The directories down to this one, as far as they are not among the names yet. */
static int remember_dirs(struct reader *r)
{
	for (unsigned d = 1; d <= r->depth; d++) {
		/* the place with its slash in front, what lies below without */
		size_t at = d == 1 ? 0 : r->lens[d - 1] + 1, end = r->lens[d];
		bool root = end <= at; /* an overlay's place: the root itself */
		long n = r->names_dir[d]
				 ? 0
				 : layer_names_dir(&r->names, r->names_dir[d - 1],
						   root ? "/" : r->path + at, root ? 1 : end - at);

		if (n < 0)
			return (int)n;
		if (n)
			r->names_dir[d] = (size_t)n;
	}
	return 0;
}

static int remember(struct reader *r, uint64_t index, const char *name)
{
	int rc = index ? remember_dirs(r) : 0;

	return rc < 0 || !index ? rc
				: layer_names_add(&r->names, index, r->names_dir[r->depth], name);
}

/* The mount that it lies on: st_dev tells nothing inside an overlay. */
static int mount_of(int dir_fd, const char *name, uint64_t *ret, mode_t *ret_mode)
{
	struct statx st;

	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		  STATX_TYPE | STATX_MNT_ID, &st) < 0)
		return -errno;
	*ret = st.stx_mnt_id;
	*ret_mode = st.stx_mode;
	return 0;
}

static int remove_tree(const struct reader *r, int dir_fd, const char *name, unsigned depth);

static int empty_directory(const struct reader *r, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while (rc == 0) {
		errno = 0;
		entry = readdir(d);
		if (!entry) {
			rc = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = remove_tree(r, dirfd(d), entry->d_name, depth + 1);
	}
	closedir(d);
	return rc;
}

/* What the directory below an overlay has and the source had no more. Never what is mounted there:
 * it may be the host's. */
static int remove_tree(const struct reader *r, int dir_fd, const char *name, unsigned depth)
{
	uint64_t mount = 0;
	mode_t mode = 0;
	int fd, rc;

	if (unlinkat(dir_fd, name, 0) == 0)
		return 0;
	if (errno != EISDIR || depth > LAYER_DEPTH_MAX)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = mount_of(fd, "", &mount, &mode);
	if (rc < 0 || mount != r->mount) {
		close(fd);
		return rc < 0 ? rc : -EBUSY;
	}
	if (!r->owner.set && fchmod(fd, 0700) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = empty_directory(r, fd, depth);
	return rc < 0 ? rc : unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* What lies there already (--file, the mount point of a bind, a file below an overlay) gives way;
 * 1: something is mounted there, which stays. */
static int make_way(struct reader *r, const struct record *rec, const char *name)
{
	int dir = r->dirs[r->depth];
	uint64_t mount = 0;
	mode_t mode = 0;
	int rc = mount_of(dir, name, &mount, &mode);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (mount != r->mount)
		return r->merged ? 1 : rec->type == REC_DIR ? 0 : -EEXIST;
	if (rec->type == REC_DIR && S_ISDIR(mode) && !(r->merged && rec->index))
		return 0;
	if (r->merged)
		return remove_tree(r, dir, name, r->depth);
	if (S_ISDIR(mode))
		return -EEXIST;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int fill_file(struct reader *r, const struct record *rec, const char *name)
{
	AUTO_FD int fd = openat(r->dirs[r->depth], name,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : fill_data(r, fd, rec);

	if (rc == 0)
		rc = settle(r, fd, rec);
	return rc == 0 ? remember(r, rec->index, name) : rc;
}

static int fill_link(struct reader *r, const struct record *rec, const char *name)
{
	const char *first;
	AUTO_FD int fd = layer_names_open(&r->names, rec->index, r->root_fd, &first);

	if (fd < 0)
		return fd;
	return linkat(fd, first, r->dirs[r->depth], name, 0) < 0 ? -errno : 0;
}

static int fill_symlink(struct reader *r, const struct record *rec, const char *name)
{
	const char *text = rec->size < 4096 ? take(r, rec->size) : NULL;
	char target[4096];
	struct timespec ts[2];
	int dir = r->dirs[r->depth];

	if (!text)
		return -EBADMSG;
	memcpy(target, text, rec->size);
	target[rec->size] = 0;
	times(rec, ts);
	if (symlinkat(target, dir, name) < 0 ||
	    (r->owner.set && fchownat(dir, name, shifted(r, rec->uid), shifted(r, rec->gid),
				      AT_SYMLINK_NOFOLLOW) < 0) ||
	    utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int fill_fifo(struct reader *r, const struct record *rec, const char *name)
{
	int dir = r->dirs[r->depth];

	if (mkfifoat(dir, name, 0600) < 0 || fchmodat(dir, name, rec->mode, 0) < 0 ||
	    (r->owner.set && fchownat(dir, name, shifted(r, rec->uid), shifted(r, rec->gid),
				      AT_SYMLINK_NOFOLLOW) < 0))
		return -errno;
	return 0;
}

static int enter(struct reader *r, const struct record *rec, int fd, const char *name)
{
	size_t at;

	if (fd < 0)
		return -errno;
	if (r->depth + 1 > LAYER_DEPTH_MAX) {
		close(fd);
		return -EBADMSG;
	}
	at = r->lens[r->depth];
	r->lens[r->depth + 1] = at + (size_t)snprintf(r->path + at, sizeof(r->path) - at, "%s%s",
						      name[0] == '/' || !name[0] ? "" : "/", name);
	r->depth++;
	r->dirs[r->depth] = fd;
	r->recs[r->depth] = *rec;
	r->names_dir[r->depth] = 0;
	return 0;
}

static int fill_dir(struct reader *r, const struct record *rec, const char *name)
{
	int dir = r->dirs[r->depth], fd;
	uint64_t mount = 0;
	mode_t mode = 0;

	if (mkdirat(dir, name, 0700) < 0 &&
	    (errno != EEXIST || mount_of(dir, name, &mount, &mode) < 0 || mount != r->mount ||
	     !S_ISDIR(mode)))
		return errno ? -errno : -EEXIST;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* one from below may be closed to its owner, who writes here all the same */
	if (fd >= 0 && r->merged && fchmod(fd, 0700) < 0) {
		close(fd);
		fd = -1;
	}
	return enter(r, rec, fd, name);
}

static int fill_place(struct reader *r, const struct record *rec, const char *name)
{
	mode_t mode;
	int fd, rc;

	if (r->depth != 0 || name[0] != '/')
		return -EBADMSG;
	fd = layer_open_place(r->root_fd, name);
	rc = fd < 0 ? fd : mount_of(fd, "", &r->mount, &mode);
	if (rc < 0) {
		close_fd(&fd);
		return rc;
	}
	r->merged = !name[1];
	/* paths count from the root: that of the root itself is empty */
	return enter(r, rec, fd, r->merged ? "" : name);
}

/* The times of a directory can be set only when nothing is made in it any more. */
static int fill_up(struct reader *r)
{
	int rc;

	if (r->skip) {
		r->skip--;
		return 0;
	}
	if (r->depth == 0)
		return -EBADMSG;
	rc = settle(r, r->dirs[r->depth], &r->recs[r->depth]);
	close_fd(&r->dirs[r->depth]);
	r->depth--;
	return rc;
}

static bool good_name(const struct record *rec, const char *name)
{
	if (rec->type == REC_PLACE)
		return true;
	return !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Reads past a record that nothing is made of. */
static int skip_record(struct reader *r, const struct record *rec)
{
	r->skip += rec->type == REC_DIR;
	if (rec->type == REC_SYMLINK && !take(r, rec->size))
		return -EBADMSG;
	for (uint32_t i = 0; rec->type == REC_FILE && i < rec->extents; i++) {
		struct extent x;

		if (!take_extent(r, &x))
			return -EBADMSG;
	}
	return 0;
}

static int fill_record(struct reader *r, const struct record *rec, const char *name)
{
	int rc = rec->type == REC_PLACE || r->skip ? 0 : make_way(r, rec, name);

	if (rc < 0)
		return rc;
	if (rc > 0 || r->skip)
		return skip_record(r, rec);
	switch (rec->type) {
	case REC_PLACE:
		return fill_place(r, rec, name);
	case REC_DIR:
		return fill_dir(r, rec, name);
	case REC_FILE:
		return fill_file(r, rec, name);
	case REC_LINK:
		return fill_link(r, rec, name);
	case REC_SYMLINK:
		return fill_symlink(r, rec, name);
	case REC_FIFO:
		return fill_fifo(r, rec, name);
	case REC_GONE: /* made way */
		return r->merged ? 0 : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

static int fill_all(struct reader *r)
{
	while (r->at < r->end) {
		const void *p = take(r, sizeof(struct record));
		const char *text;
		struct record rec;
		char name[4096];
		int rc;

		if (!p)
			return malformed(r);
		memcpy(&rec, p, sizeof(rec));
		if (rec.type == REC_UP) {
			rc = fill_up(r);
		} else {
			text = rec.name_len && rec.name_len < sizeof(name) ? take(r, rec.name_len)
									   : NULL;
			if (!text || memchr(text, 0, rec.name_len))
				return malformed(r);
			memcpy(name, text, rec.name_len);
			name[rec.name_len] = 0;
			if (!good_name(&rec, name) || (r->depth == 0) != (rec.type == REC_PLACE))
				return malformed(r);
			rc = fill_record(r, &rec, name);
		}
		if (rc == -EBADMSG)
			return malformed(r);
		if (rc < 0)
			return err_set(r->e, ERR_HOST, -rc, "fill the clone's files below '%.*s'",
				       (int)r->lens[r->depth], r->path);
	}
	return r->depth || r->skip ? malformed(r) : 0;
}

int layer_fill(int layer_fd, int root_fd, struct layer_owner owner, struct err *e)
{
	struct reader *r = calloc(1, sizeof(*r));
	struct layer_header head;
	char *map;
	int rc = layer_header_read(layer_fd, &head, e);

	if (!r || rc < 0) {
		free(r);
		return rc < 0 ? rc : -ENOMEM;
	}
	map = mmap(NULL, head.end, PROT_READ, MAP_PRIVATE, layer_fd, 0);
	if (map == MAP_FAILED || layer_names_init(&r->names, head.files + 1) < 0) {
		if (map != MAP_FAILED)
			munmap(map, head.end);
		free(r);
		return err_set(e, ERR_INTERNAL, ENOMEM, "read the layer of files");
	}
	r->layer = map;
	r->records = head.records;
	r->at = map + head.records;
	r->end = map + head.copies;
	r->owner = owner;
	r->root_fd = root_fd;
	r->e = e;
	rc = fill_all(r);
	while (r->depth)
		close_fd(&r->dirs[r->depth--]);
	layer_names_done(&r->names);
	munmap(map, head.end);
	free(r);
	return rc;
}
