/* SPDX-License-Identifier: Apache-2.0 */
/* Reads /etc/subuid and /etc/subgid; see subid.h. Changes nothing. */
#include "kern/subid.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/probe.h"

#define FILE_MAX (4u << 20)
#define FIRST_FREE 100000 /* where useradd begins */

struct field {
	const char *at;
	size_t len;
};

/* NAME:FIRST:COUNT and nothing else. */
static bool split(const char *line, size_t len, struct field f[3])
{
	size_t n = 0;

	f[0] = (struct field){line, 0};
	for (size_t i = 0; i < len; i++) {
		if (line[i] != ':') {
			f[n].len++;
			continue;
		}
		if (++n == 3)
			return false;
		f[n] = (struct field){line + i + 1, 0};
	}
	return n == 2 && f[0].len;
}

static bool is_number(struct field f, uint64_t max, uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < f.len; i++) {
		if (f.at[i] < '0' || f.at[i] > '9')
			return false;
		*ret = *ret * 10 + (uint64_t)(f.at[i] - '0');
		if (*ret > max)
			return false;
	}
	return f.len;
}

static bool is_owner(struct field f, const char *name, const char *number)
{
	return (name && strlen(name) == f.len && memcmp(f.at, name, f.len) == 0) ||
	       (strlen(number) == f.len && memcmp(f.at, number, f.len) == 0);
}

int subid_find(const char *text, const char *name, uint32_t uid, uint32_t own, struct subid *ret,
	       uint64_t *ret_free)
{
	char number[16];
	int r = -ENOENT;

	*ret = (struct subid){0};
	*ret_free = FIRST_FREE;
	snprintf(number, sizeof(number), "%u", uid);
	while (*text) {
		size_t len = strcspn(text, "\n");
		struct field f[3];
		uint64_t first, count;
		/* the last id means "none" to the kernel */
		bool whole = split(text, len, f) && is_number(f[1], UINT32_MAX - 1, &first) &&
			     is_number(f[2], UINT32_MAX, &count) && count &&
			     first + count <= UINT32_MAX;

		text += len + (text[len] == '\n');
		if (!whole)
			continue;
		if (first + count > *ret_free)
			*ret_free = first + count;
		if (r == 0 || !first || (own >= first && own < first + count) ||
		    !is_owner(f[0], name, number))
			continue;
		r = count >= SUBID_NEEDED ? 0 : -ERANGE;
		if (r == 0 || count > ret->count)
			*ret = (struct subid){(uint32_t)first, (uint32_t)count};
	}
	return r;
}

/* The whole file as text; a missing one is empty. NULL with *e. */
static char *read_whole(const char *path, struct err *e)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st = {0};
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	char *whole;

	if ((fd < 0 && errno != ENOENT) || (fd >= 0 && fstat(fd, &st) < 0)) {
		err_set(e, ERR_HOST, errno, "--ids range: open %s", path);
		return NULL;
	}
	if (st.st_size > FILE_MAX) {
		err_set(e, ERR_HOST, EFBIG, "--ids range: read %s", path);
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	while (text && fd >= 0 && n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);

		if (got < 0) {
			err_set(e, ERR_HOST, errno, "--ids range: read %s", path);
			return NULL;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (!text) {
		err_set(e, ERR_INTERNAL, ENOMEM, "read %s", path);
		return NULL;
	}
	text[n] = 0;
	whole = text;
	text = NULL;
	return whole;
}

static int missing(int code, const char *path, const char *name, const struct subid *found,
		   uint64_t free_id, struct err *e)
{
	char who[64];

	if (name)
		snprintf(who, sizeof(who), "'%s'", name);
	else
		snprintf(who, sizeof(who), "uid %u", getuid());
	if (!name)
		err_hint(e, "it has no name in /etc/passwd, without which newuidmap does nothing");
	else if (free_id > UINT32_MAX - 65536)
		err_hint(e, "give it 65536 ids of its own in /etc/subuid and /etc/subgid");
	else
		err_hint(e,
			 "as root: usermod --add-subuids %llu-%llu --add-subgids %llu-%llu "
			 "%s",
			 (unsigned long long)free_id, (unsigned long long)free_id + 65535,
			 (unsigned long long)free_id, (unsigned long long)free_id + 65535, name);
	if (code == -ERANGE)
		err_set(e, ERR_HOST, 0, "--ids range: %s gives %s %u ids, %u are needed", path, who,
			found->count, SUBID_NEEDED);
	else
		err_set(e, ERR_HOST, 0, "--ids range: %s has no ids for %s", path, who);
	return code;
}

int subid_ranges(struct subid *ret_uid, struct subid *ret_gid, struct err *e)
{
	static const char *const paths[2] = {"/etc/subuid", "/etc/subgid"};
	static const char *const programs[2] = {SUBID_UID_PROGRAM, SUBID_GID_PROGRAM};
	struct subid *ret[2] = {ret_uid, ret_gid};
	uint32_t own[2] = {getuid(), getgid()};
	char room[1024];
	struct passwd entry, *pw = NULL;
	const char *name;
	uint64_t end[2];
	int code[2];

	ignore_err(getpwuid_r(getuid(), &entry, room, sizeof(room), &pw),
		   "whoever has no name may have a line by number");
	name = pw ? pw->pw_name : NULL;

	for (int i = 0; i < 2; i++) {
		AUTO_FREE char *text = NULL;

		if (probe_test_absent(PROBE_NEWUIDMAP) || access(programs[i], X_OK)) {
			err_hint(e, "as root: apt-get install uidmap");
			return err_set(e, ERR_HOST, ENOENT,
				       "--ids range: the program that maps them, %s", programs[i]);
		}
		text = read_whole(paths[i], e);
		if (!text)
			return -EIO;
		code[i] = subid_find(text, name, own[0], own[i], ret[i], &end[i]);
	}
	for (int i = 0; i < 2; i++)
		if (code[i] < 0)
			return missing(code[i], paths[i], name, ret[i],
				       end[0] > end[1] ? end[0] : end[1], e);
	return 0;
}
