/* SPDX-License-Identifier: Apache-2.0 */
/* Inside engine/: the records of a layer, written by layer_capture.c and read by layer_fill.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "engine/layer.h"
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
	/* FILE: its number, 0: no LINK names it; LINK: the number of the file that it names; DIR:
	 * 1, nothing of what the overlay has below shows through. GONE: a name of the directory
	 * below that is no more. */
	uint64_t index;
	uint32_t extents; /* FILE: how many struct extent are behind the name */
	uint32_t name_len;
};

/* A run of data of a file: its bytes lie at `at` in the layer, or follow when that is 0. */
struct extent {
	uint64_t offset, length, at;
};

/* A directory below root_fd, reached without following a link. Returns a descriptor or a negative
 * errno. */
int layer_open_place(int root_fd, const char *path);

/* The runs of data below size, malloc'd; their `at` is 0. 0 or a negative errno. */
int layer_extents(int fd, uint64_t size, struct extent **ret, uint32_t *ret_n);
/* Copies n bytes from *from on to the place where to_fd stands. -EIO: the file ends before. */
int layer_send(int to_fd, int from_fd, off_t *from, uint64_t n);

/* One that the first pass has copied. */
struct layer_ahead_file {
	uint64_t dev, ino, size;
	struct extent *extents;
	uint32_t n_extents;
	int wd;
	bool written; /* somebody changed it, or may have */
	bool used;    /* the layer refers to its copy */
};

struct layer_ahead_sum {
	uint64_t ns;
	uint64_t end; /* of what the first pass wrote: here the records begin */
};

struct layer_ahead_sum layer_ahead_sum(const struct layer_ahead *a);
/* Everything stands still: the copy of the open file that is still true, or NULL. */
const struct layer_ahead_file *layer_ahead_find(struct layer_ahead *a, int fd,
						const struct stat *st);
/* Gives the copies back that nobody asked for or that were not true any more. */
void layer_ahead_drop(struct layer_ahead *a);
