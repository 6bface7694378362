/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to fork/: what descriptors.c and the kinds of descriptors share. */
#pragma once

#include <sys/stat.h>

#include "fork/harvest.h"

/* One open file description as it was first met. */
struct open_file {
	pid_t pid;      /* host */
	int fd;         /* there */
	int inside_pid; /* for messages */
	uint64_t dev, ino;
	uint32_t ofd;     /* its record */
	int stdio;        /* the lowest number 0-2 that names it anywhere, else -1 */
	char target[256]; /* of the link in /proc/PID/fd, shortened */
};

/* One pipe, its ends gathered from all processes. */
struct open_pipe {
	uint64_t ino;
	uint32_t record;
	uint32_t reader, writer; /* index of an open_file, IMAGE_NONE */
};

/* One terminal. Indexes of open_files, IMAGE_NONE: nobody inside has it. */
struct open_pty {
	bool used;
	uint32_t side, master;
	uint32_t record;
	pid_t session; /* its leader on the host; 0: none */
};

struct open_table {
	struct open_file *file;
	uint32_t n_files, room_files;
	uint32_t *sorted; /* files by device, inode and the kernel's order of descriptions */
	struct open_pipe *pipe;
	uint32_t n_pipes, room_pipes;
	struct open_pty pty[IMAGE_MAX_PTY]; /* by index */
};

/* "key:\tvalue" of an fdinfo text: points behind the colon, NULL when absent. */
const char *fdinfo_find(const char *text, const char *key);

/* pipes.c */
int pipe_add(struct harvest *h, struct open_table *t, uint32_t file, struct err *e);
int pipes_settle(struct harvest *h, struct open_table *t, struct err *e);

/* events.c: anon_inode objects. target is the link's text, text the fdinfo. */
int anon_record(struct harvest *h, struct open_table *t, uint32_t file, const char *target,
		const char *text, struct err *e);
/* After all descriptors are known: epoll sets refer to them. */
int events_settle(struct harvest *h, struct open_table *t, struct err *e);

/* sockets.c */
int socket_add(struct harvest *h, struct open_table *t, uint32_t file, struct err *e);
int sockets_settle(struct harvest *h, struct open_table *t, struct err *e);

/* pty.c: both sides of terminals. */
bool pty_is(dev_t rdev);
int pty_add(struct harvest *h, struct open_table *t, uint32_t file, const struct stat *st,
	    struct err *e);
/* /proc can't tell whether a descriptor of this file closes on exec: it says so of all. */
bool pty_hides_cloexec(struct harvest *h, const struct open_table *t, uint32_t file);
int ptys_settle(struct harvest *h, struct open_table *t, struct err *e);

/* Does (dev, ino) lead to the keeper? Its stream, or -1. */
int stdio_find(const struct harvest *h, uint64_t dev, uint64_t ino);

static inline struct image_ofd *ofd_at(struct harvest *h, uint32_t i)
{
	return image_builder_at(&h->b, IMAGE_OFD, i);
}
