/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: tar streams: POSIX pax (ustar with extended headers), holes as GNU sparse 1.0, which GNU tar
 * and libarchive read. Ours and not libarchive's: a static libarchive brings xml, crypto and six
 * compressors into a program that handles hostile files, for a format of this size.
 *
 * Written: directories, files, links; the caller's ids, no set-id bits. Read: what we write, ustar,
 * GNU's long names, hard links; devices and fifos are skipped and counted; names that lead out are
 * refused.
 */
#pragma once

#include "engine/tree.h"

struct tar_writer;

/* fd is borrowed. NULL when out of memory. */
struct tar_writer *tar_writer_new(int fd, struct tree_report *report);
void tar_writer_free(struct tar_writer *w);
struct tree_visitor tar_visitor(struct tar_writer *w);
/* The end mark. */
int tar_finish(struct tar_writer *w, struct err *e);

/* Unpacks the stream below dir_fd and reads it to its end. */
int tar_extract(int fd, const struct side *s, int dir_fd, struct tree_report *report,
		struct err *e);

/* The format's fields, shared by both directions. */

#define TAR_BLOCK 512

struct tar_header {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12], mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[8]; /* "ustar\0" "00", or GNU's "ustar  " */
	char user[32], group[32];
	char major[8], minor[8];
	char prefix[155];
	char pad[12];
};

_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a tar header is one block");

/* The sum of the header's bytes, its checksum field taken as blanks. */
unsigned tar_checksum(const struct tar_header *h);
/* An octal or base-256 field. 0, or -EINVAL. */
int tar_number(const char *field, size_t size, uint64_t *ret);
