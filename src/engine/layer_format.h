/* SPDX-License-Identifier: Apache-2.0 */
/* Inside engine/: the records of a layer, written by layer_capture.c and read by layer_fill.c. */
#pragma once

#include <stdint.h>

#include "plan/plan.h"

#define LAYER_DEPTH_MAX 256

enum record_type {
	REC_PLACE = 1,
	REC_DIR,
	REC_FILE,
	REC_LINK,
	REC_SYMLINK,
	REC_FIFO,
	REC_UP,
	REC_GONE
};

/* Followed by name_len bytes of the name, then by what the type says. */
struct record {
	uint32_t type;
	uint32_t mode;
	uint32_t uid, gid;
	uint64_t size; /* FILE: its size; SYMLINK: length of the target behind the name */
	int64_t atime_ns, mtime_ns;
	/* FILE: its number; LINK: the number of the file that it names; DIR: 1, nothing of what the
	 * overlay has below shows through. GONE: a name of the directory below that is no more. */
	uint64_t index;
	uint32_t extents; /* FILE: data runs {offset, length, bytes} behind the name */
	uint32_t name_len;
};

struct extent {
	uint64_t offset, length;
};

/* A directory below root_fd, reached without following a link. Returns a descriptor or a negative
 * errno. */
int layer_open_place(int root_fd, const char *path);
