/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: the strict half of reading tar: from headers and extended records to a member's description.
 * Pure, but for reading the stream through `read`; nothing here touches a file system.
 */
#pragma once

#include "engine/tar.h"

#define TAR_NAME_MAX 4096
#define TAR_RECORDS_MAX (1u << 20)

struct tar_stream {
	/* All n bytes: 0, -EBADMSG at an early end, or another errno. */
	int (*read)(void *arg, void *data, size_t n);
	void *arg;
	uint64_t members;
};

struct tar_member {
	char type; /* '0' file, '1' hard link, '2' symbolic link, '5' directory, else something
		      special */
	char path[TAR_NAME_MAX]; /* relative, no empty, "." or ".." component; "" is the top */
	char link[TAR_NAME_MAX]; /* '1': like path; '2': as it stands */
	uint32_t mode;
	int64_t mtime;
	uint64_t size;      /* of the content in the stream, without padding */
	bool sparse;        /* content begins with the map of GNU sparse 1.0 */
	uint64_t real_size; /* sparse: of the file */
};

/* 1: *ret is the next member, its content follows; 0: the end mark; -EBADMSG: malformed, e names
 * the member. */
int tar_next(struct tar_stream *s, struct tar_member *ret, struct err *e);
/* Makes path relative and free of "." and doubled slashes, in place. -EBADMSG: it leads out. */
int tar_clean_path(char *path);
