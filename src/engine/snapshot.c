/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/portable.h"
#include "base/text.h"
#include "base/whole_json.h"
#include "engine/journal.h"

static const char *const files[] = {"image", "layer", "meta.json", "spec.json"};

static int open_one(const char *name, struct err *e)
{
	AUTO_FD int all = state_open_dir("snapshots", e);
	int fd = -1;

	if (all < 0)
		return all;
	if (text_is_name(name))
		fd = openat(all, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	err_set(e, ERR_NO_SANDBOX, 0, "there is no snapshot '%s'", name);
	return -ENOENT;
}

bool snapshot_exists(const char *name)
{
	struct err ignored = ERR_INIT;
	AUTO_FD int fd = open_one(name, &ignored);

	return fd >= 0;
}

static int copy_all(int from, int to)
{
	struct stat st;
	off_t at = 0;

	if (fstat(from, &st) < 0)
		return -errno;
	while (at < st.st_size) {
		ssize_t n = sendfile(to, from, &at, (size_t)(st.st_size - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

static int save_fd(int dir, const char *name, int from, struct err *e)
{
	AUTO_FD int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	int r = fd < 0 ? -errno : copy_all(from, fd);

	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(e, ERR_HOST, r, "write %s of the snapshot", name) : 0;
}

static int save_text(int dir, const char *name, const char *text, struct err *e)
{
	AUTO_FD int fd = -EBADF;
	int r = registry_write(dir, name, text, e);

	if (r < 0)
		return r;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, ERR_HOST, errno, "write %s of the snapshot", name);
	return 0;
}

/* Whatever lies there: one that was damaged may hold other files than ours. */
static int remove_dir(int all, const char *name)
{
	int fd = openat(all, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		int code = errno;

		close_fd(&fd);
		return -code;
	}
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	return unlinkat(all, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* A directory on the way to its name. It is locked before anybody who sweeps can look at it. */
static int make_temp(int all, const char *temp, struct err *e)
{
	int dir = state_lock(all, e);

	if (dir < 0)
		return dir;
	dir = mkdirat(all, temp, 0700) < 0
		      ? -errno
		      : openat(all, temp, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) < 0) {
		int code = errno;

		close_fd(&dir);
		unlinkat(all, temp, AT_REMOVEDIR);
		dir = -code;
	}
	flock(all, LOCK_UN);
	return dir;
}

/* One of make_temp, without a descriptor more. What stays has no name, and gc removes it. */
static void discard(int all, int dir, const char *temp)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlinkat(dir, files[i], 0);
	unlinkat(all, temp, AT_REMOVEDIR);
}

/* It gets its name when all of it is on the disk: after a power cut it is whole, or not there. */
static int publish(int all, int dir, const char *temp, const char *name, struct err *e)
{
	if (fsync(dir) < 0 || renameat2(all, temp, all, name, RENAME_NOREPLACE) < 0 ||
	    fsync(all) < 0)
		return err_set(e, ERR_HOST, errno, "name the snapshot '%s'", name);
	return 0;
}

int snapshot_save(const char *name, const struct clone_parts *parts, const struct spec *spec,
		  struct err *e)
{
	AUTO_FD int all = state_open_dir("snapshots", e);
	AUTO_FREE char *meta = whole_json_dumps(parts->meta, JSON_COMPACT);
	AUTO_FREE char *text = spec_encode(spec);
	AUTO_FD int dir = -EBADF;
	char temp[80];
	int r = 0;

	if (all < 0)
		return all;
	if (!meta || !text)
		return err_set(e, ERR_INTERNAL, ENOMEM, "write the snapshot");
	snprintf(temp, sizeof(temp), ".%s.%d", name, (int)getpid());
	dir = make_temp(all, temp, e);
	if (dir < 0)
		return err_set(e, ERR_HOST, -dir, "make the snapshot '%s'", name);
	r = save_fd(dir, "image", parts->image_fd, e);
	if (r == 0)
		r = save_fd(dir, "layer", parts->layer_fd, e);
	if (r == 0)
		r = save_text(dir, "meta.json", meta, e);
	if (r == 0)
		r = save_text(dir, "spec.json", text, e);
	if (r == 0)
		r = publish(all, dir, temp, name, e);
	if (r < 0)
		discard(all, dir, temp);
	return r;
}

static int load_fd(int dir, const char *name, struct err *e)
{
	AUTO_FD int from = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_FD int to = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = from < 0 || to < 0 ? -errno : copy_all(from, to);

	if (r == 0 &&
	    fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	return r < 0 ? err_set(e, ERR_HOST, r, "read %s of the snapshot", name) : take_fd(&to);
}

int snapshot_load(const char *name, struct clone_parts *ret, struct spec *spec, struct err *e)
{
	AUTO_FD int dir = open_one(name, e);
	AUTO_FREE char *meta = dir < 0 ? NULL : registry_read(dir, "meta.json");
	AUTO_FREE char *text = meta ? registry_read(dir, "spec.json") : NULL;

	if (dir < 0)
		return dir;
	if (!text && errno != ENOENT && errno != EINVAL)
		return err_set(e, ERR_HOST, errno, "read the snapshot '%s'", name);
	ret->meta = meta ? json_loads(meta, 0, NULL) : NULL;
	if (!ret->meta || !text)
		return err_set(e, ERR_IMAGE, 0, "the snapshot '%s' is incomplete", name);
	ret->image_fd = load_fd(dir, "image", e);
	if (ret->image_fd < 0)
		return ret->image_fd;
	ret->layer_fd = load_fd(dir, "layer", e);
	if (ret->layer_fd < 0)
		return ret->layer_fd;
	return spec_decode(text, strlen(text), spec, e);
}

static uint64_t changed_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* One that can't be used any more still takes its name: people must see it. */
static json_t *describe(int dir, const char *name)
{
	AUTO_FREE char *meta = registry_read(dir, "meta.json");
	json_t *m = meta ? json_loads(meta, 0, NULL) : NULL, *o;
	bool whole = json_is_object(m);
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		whole = whole && fstatat(dir, files[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode);
	if (fstatat(dir, whole ? "image" : ".", &st, 0) < 0)
		st = (struct stat){0};
	o = json_pack("{s:s,s:I,s:b}", "name", name, "created", (json_int_t)changed_ns(&st),
		      "broken", !whole);
	json_object_set(o, "source", json_object_get(m, "name"));
	json_object_set(o, "source_id", json_object_get(m, "id"));
	json_object_set(o, "memory", json_object_get(m, "memory"));
	json_object_set(o, "files", json_object_get(m, "files"));
	json_decref(m);
	return o;
}

static int sweep_one(int all, const char *temp, char **report)
{
	AUTO_FD int dir = openat(all, temp, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	char *grown = NULL;
	int r;

	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) < 0)
		return 0; /* gone meanwhile, or being written */
	r = remove_dir(all, temp);
	if (asprintf(&grown, "%ssnapshot %s: unfinished, %s\n", *report ? *report : "", temp + 1,
		     r < 0 ? strerror(-r) : "removed") < 0)
		return -ENOMEM;
	free(*report);
	*report = grown;
	return 0;
}

int snapshot_sweep(char **report, struct err *e)
{
	int all = state_open_dir("snapshots", e), r = 0;
	struct dirent *entry;
	DIR *d = all < 0 ? NULL : fdopendir(all);

	if (!d)
		return all < 0 ? all : err_set(e, ERR_HOST, errno, "read the snapshots");
	r = state_lock(all, e);
	while (r == 0 && (entry = readdir(d)))
		if (entry->d_name[0] == '.' && strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			r = sweep_one(all, entry->d_name, report);
	closedir(d);
	return r < 0 ? err_set(e, ERR_INTERNAL, -r, "tell what was removed") : 0;
}

char *snapshot_list(struct err *e)
{
	int fd = state_open_dir("snapshots", e);
	json_t *list = json_array();
	struct dirent *entry;
	char *text;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	while (d && (entry = readdir(d))) {
		AUTO_FD int dir = -EBADF;

		if (!text_is_name(entry->d_name))
			continue;
		dir = openat(fd, entry->d_name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
		if (dir >= 0)
			json_array_append_new(list, describe(dir, entry->d_name));
	}
	if (d)
		closedir(d);
	text = d ? whole_json_dumps(list, JSON_COMPACT) : NULL;
	json_decref(list);
	return text;
}

int snapshot_remove(const char *name, struct err *e)
{
	AUTO_FD int all = state_open_dir("snapshots", e);
	AUTO_FD int dir = open_one(name, e);
	int r;

	if (all < 0 || dir < 0)
		return all < 0 ? all : dir;
	r = remove_dir(all, name);
	return r < 0 ? err_set(e, ERR_HOST, -r, "remove the snapshot '%s'", name) : 0;
}
