/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: puts directories, files and links below a descriptor of one side, and content into files.
 *
 * A name that is taken is replaced, never written through: a file or a symbolic link is unlinked
 * first, a directory is gone into, anything else (a device, a fifo) is -EEXIST. What is made has no
 * set-id bits, no ACL and no extended attributes, and belongs to the caller on the host (who may
 * have a umask), to the workload inside.
 */
#pragma once

#include "engine/side.h"

/* The directory, made or found: a descriptor. Its owner can always use what we made: u+rwx. */
MUST_CHECK int place_directory(const struct side *s, int dir_fd, const char *name, mode_t mode);
/* A new empty file, open for writing. */
MUST_CHECK int place_file(const struct side *s, int dir_fd, const char *name, mode_t mode);
MUST_CHECK int place_link(const struct side *s, int dir_fd, const char *name, const char *text);
/* A second name for old_name. */
MUST_CHECK int place_hard_link(const struct side *s, int old_fd, const char *old_name, int dir_fd,
			       const char *name);
/* Ends a file: size, modification time. Closes fd in any case. */
MUST_CHECK int place_finish(const struct side *s, int fd, uint64_t size, struct timespec mtime);
void place_remove(const struct side *s, int dir_fd, const char *name);

#define PLACE_BUFFER (256u << 10)

/*
 * The next stretch of data of a file at or after `from`, below `size`: *ret_start, *ret_end. 0:
 * there is none. Always ahead of `from`, however the file changes.
 */
int place_next_data(int fd, uint64_t from, uint64_t size, uint64_t *ret_start, uint64_t *ret_end);
/* All n bytes, or a negative errno. */
MUST_CHECK int place_write(int fd, const void *data, size_t n);

struct place_copied {
	uint64_t size; /* what the target's size has to be */
	bool from;     /* it was the source that failed */
};

/* Data of `size` bytes of a file, holes left out, to the same offsets of another. buffer:
 * PLACE_BUFFER. */
MUST_CHECK int place_copy(int from_fd, int to_fd, uint64_t size, char *buffer,
			  struct place_copied *ret);
