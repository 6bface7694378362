/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "engine/journal.h"

/* Whoever writes there waits for whoever sweeps: a name that is free must not be claimed and
 * unlinked at once. */
static int lock_names(struct err *e)
{
	AUTO_FD int names = state_open_dir("names", e);
	int r = names < 0 ? names : state_lock(names, e);

	return r < 0 ? r : take_fd(&names);
}

int registry_claim(const char *name, const char *id, struct err *e)
{
	AUTO_FD int names = lock_names(e);
	char snapshot[96];
	struct stat st;

	if (names < 0)
		return names;
	/* sandboxes and snapshots share one space of names */
	snprintf(snapshot, sizeof(snapshot), "../snapshots/%s", name);
	if (fstatat(names, snapshot, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		err_set(e, ERR_NAME, 0, "the name '%s' is taken by a snapshot", name);
		return -EEXIST;
	}
	if (symlinkat(id, names, name) == 0)
		return 0;
	if (errno != EEXIST)
		return err_set(e, ERR_HOST, errno, "claim the name '%s'", name);
	err_hint(e, "`cleave rm %s` frees it; `cleave gc` does when its keeper died", name);
	err_set(e, ERR_NAME, 0, "the name '%s' is taken", name);
	return -EEXIST;
}

static bool names_id(int names, const char *name, const char *id)
{
	char target[64];
	ssize_t n = readlinkat(names, name, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	return strcmp(target, id) == 0;
}

bool registry_has_name(const char *name)
{
	struct err ignored = ERR_INIT;
	AUTO_FD int names = state_open_dir("names", &ignored);
	struct stat st;

	return names >= 0 && text_is_name(name) &&
	       fstatat(names, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void registry_release(const char *name, const char *id)
{
	struct err ignored = ERR_INIT;
	AUTO_FD int names = lock_names(&ignored);

	if (names >= 0 && names_id(names, name, id))
		unlinkat(names, name, 0);
}

static void sweep_one(int names, const char *name, char **report)
{
	char target[64], path[96], *grown = NULL;
	struct stat st;
	ssize_t n = readlinkat(names, name, target, sizeof(target) - 1);

	if (n < 0)
		return;
	target[n] = 0;
	snprintf(path, sizeof(path), "../sandboxes/%s", target);
	/* the directory is made before its name and removed after it */
	if (fstatat(names, path, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT ||
	    unlinkat(names, name, 0) < 0)
		return;
	if (asprintf(&grown, "%sname %s: freed\n", *report ? *report : "", name) < 0)
		return;
	free(*report);
	*report = grown;
}

int registry_sweep(char **report, struct err *e)
{
	int names = lock_names(e);
	DIR *d = names < 0 ? NULL : fdopendir(names);
	struct dirent *entry;

	if (!d)
		return names < 0 ? names : err_set(e, ERR_HOST, errno, "read the names");
	while ((entry = readdir(d)))
		if (text_is_name(entry->d_name))
			sweep_one(dirfd(d), entry->d_name, report);
	closedir(d);
	return 0;
}

static bool is_id(const char *s, size_t *ret_len)
{
	*ret_len = strlen(s);
	return *ret_len >= 1 && *ret_len <= 12 && strspn(s, "0123456789abcdef") == *ret_len;
}

struct search {
	const char *prefix;
	size_t len;
	unsigned found;
	char *id;
};

static int match_id(void *arg, const char *id, int dir_fd)
{
	struct search *s = arg;

	(void)dir_fd;
	if (strncmp(id, s->prefix, s->len) == 0) {
		s->found++;
		snprintf(s->id, REGISTRY_ID, "%s", id);
	}
	return 0;
}

int registry_find(const char *name, char ret_id[REGISTRY_ID], struct err *e)
{
	AUTO_FD int names = state_open_dir("names", e);
	struct search s = {.prefix = name, .id = ret_id};
	ssize_t n;
	int r;

	if (names < 0)
		return names;
	if (!text_is_name(name)) {
		err_set(e, ERR_NAME, 0, "'%s' is no name of a sandbox", name);
		return -ENOENT;
	}
	n = readlinkat(names, name, ret_id, REGISTRY_ID - 1);
	if (n == REGISTRY_ID - 1) {
		ret_id[n] = 0;
		return 0;
	}
	if (is_id(name, &s.len) && s.len >= REGISTRY_PREFIX) {
		r = registry_each(match_id, &s, e);
		if (r < 0)
			return r;
	}
	if (s.found == 1)
		return 0;
	err_set(e, ERR_NO_SANDBOX, 0,
		s.found ? "'%s' is the beginning of several ids" : "there is no sandbox '%s'",
		name);
	return -ENOENT;
}

int registry_open(const char *id, struct err *e)
{
	AUTO_FD int state = state_open(e);
	char path[64];
	int fd;

	if (state < 0)
		return state;
	snprintf(path, sizeof(path), "sandboxes/%s", id);
	fd = openat(state, path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
		return err_set(e, ERR_HOST, errno, "open the state of '%s'", id);
	err_set(e, ERR_NO_SANDBOX, 0, "there is no sandbox '%s'", id);
	return -ENOENT;
}

int registry_open_name(const char *name, char ret_id[REGISTRY_ID], struct err *e)
{
	int r = registry_find(name, ret_id, e);

	return r < 0 ? r : registry_open(ret_id, e);
}

bool registry_exists(const char *id)
{
	struct err ignored = ERR_INIT;
	AUTO_FD int dir = registry_open(id, &ignored);

	return dir >= 0;
}

bool registry_alive(int dir_fd)
{
	/* a descriptor of our own: flock belongs to the open file, and ours must go with it */
	AUTO_FD int own = openat(dir_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);

	/* who can't be asked lives: the dead are removed */
	return own < 0 || flock(own, LOCK_SH | LOCK_NB) < 0;
}

int registry_write(int dir_fd, const char *file, const char *text, struct err *e)
{
	size_t len = strlen(text);
	char temp[64];
	AUTO_FD int fd = -EBADF;

	snprintf(temp, sizeof(temp), ".%s.new", file);
	fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len ||
	    renameat(dir_fd, temp, dir_fd, file) < 0) {
		int code = errno ? errno : ENOSPC;

		unlinkat(dir_fd, temp, 0);
		return err_set(e, ERR_HOST, code, "write %s", file);
	}
	return 0;
}

char *registry_read(int dir_fd, const char *file)
{
	AUTO_FD int fd = openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	char *text;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return NULL;
	if (!S_ISREG(st.st_mode) || st.st_size > REGISTRY_FILE_MAX) {
		errno = EINVAL;
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	n = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (n < 0) {
		int code = errno;

		free(text);
		errno = code;
		return NULL;
	}
	text[n] = 0;
	return text;
}

bool registry_is_lost(int code)
{
	return code != ENOMEM && code != EMFILE && code != ENFILE;
}

int registry_each(int (*fn)(void *arg, const char *id, int dir_fd), void *arg, struct err *e)
{
	int fd = state_open_dir("sandboxes", e), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d)
		return fd < 0 ? fd : err_set(e, ERR_HOST, errno, "read the state directory");
	while (!r && (entry = readdir(d))) {
		AUTO_FD int dir = -EBADF;
		size_t len;

		if (!is_id(entry->d_name, &len) || len != REGISTRY_ID - 1)
			continue;
		dir = openat(fd, entry->d_name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
		if (dir >= 0)
			r = fn(arg, entry->d_name, dir);
	}
	closedir(d);
	return r;
}

int registry_forget(const char *id, struct err *e)
{
	AUTO_FD int dir = registry_open(id, e), state = state_open(e);
	AUTO_FREE char *text = NULL;
	AUTO_FREE char *report = NULL;
	const char *name;
	json_t *o;
	int r;

	if (dir < 0 || state < 0)
		return dir < 0 ? dir : state;
	text = registry_read(dir, "state.json");
	if (!text && !registry_is_lost(errno))
		return err_set(e, ERR_HOST, errno, "read the state of %s", id);
	o = text ? json_loads(text, 0, NULL) : NULL;
	name = json_string_value(json_object_get(o, "name"));
	if (name)
		registry_release(name, id);
	r = state_remove(state, dir, id);
	/* it ended before it could write down its name, or nobody can read that */
	if (r == 0 && !name)
		ignore_err(registry_sweep(&report, e), "gc frees it");
	json_decref(o);
	return r < 0 ? err_set(e, ERR_HOST, r, "remove the state of %s", id) : 0;
}
