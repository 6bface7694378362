/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes: both ends and the unread bytes between them. A pipe whose other end is outside and that is
 * somebody's 0, 1 or 2 leads to the keeper: the clone's leads to its own. Content is copied with
 * tee, which takes nothing out.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/descriptors.h"

int pipe_add(struct harvest *h, struct open_table *t, uint32_t file, struct err *e)
{
	struct open_file *f = &t->file[file];
	struct image_ofd *o = ofd_at(h, f->ofd);
	struct open_pipe *p = NULL;
	uint32_t access = o->status_flags & O_ACCMODE;

	for (uint32_t i = 0; i < t->n_pipes; i++)
		if (t->pipe[i].ino == f->ino)
			p = &t->pipe[i];
	if (!p) {
		if (t->n_pipes == t->room_pipes) {
			uint32_t room = t->room_pipes ? t->room_pipes * 2 : 16;
			struct open_pipe *v = realloc(t->pipe, room * sizeof(*v));

			if (!v)
				REFUSE(e, ENOMEM, "describe a pipe");
			t->pipe = v;
			t->room_pipes = room;
		}
		p = &t->pipe[t->n_pipes++];
		*p = (struct open_pipe){f->ino, IMAGE_NONE, IMAGE_NONE, IMAGE_NONE};
		if (!image_builder_add(&h->b, IMAGE_PIPE, &p->record))
			REFUSE(e, ENOMEM, "describe a pipe");
	}
	o->kind = IMAGE_OFD_PIPE;
	o->ref = p->record;
	if (access == O_RDWR || (access == O_RDONLY && p->reader != IMAGE_NONE) ||
	    (access == O_WRONLY && p->writer != IMAGE_NONE))
		REFUSE(e, ENOTSUP, "process %d: descriptor %d opened a pipe a second time",
		       f->inside_pid, f->fd);
	if (access == O_RDONLY)
		p->reader = file;
	else
		p->writer = file;
	return 0;
}

/* Is somebody else holding the other end? */
static int other_end(const struct open_file *f, bool *ret, struct err *e)
{
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);
	AUTO_FD int fd = -EBADF;
	struct pollfd p;

	if (pidfd >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
	p = (struct pollfd){.fd = fd, .events = 0};
	if (fd < 0 || poll(&p, 1, 0) < 0)
		REFUSE(e, errno, "look at descriptor %d of process %d", f->fd, f->inside_pid);
	*ret = !(p.revents & (POLLERR | POLLHUP));
	return 0;
}

/*
 * What was written in packet mode is read packet by packet, and what a read leaves of one is lost:
 * then the last byte does not come. -EBADMSG: the image has no place for packets.
 */
static int take_bytes(int fd, char *buf, size_t n)
{
	size_t most = n > 1 ? n - 1 : n;
	ssize_t got = read(fd, buf, most);

	if (got < 0)
		return -errno;
	if ((size_t)got < most)
		return -EBADMSG;
	return most == n || read(fd, buf + most, 1) == 1 ? 0 : -EBADMSG;
}

static int content(struct harvest *h, const struct open_file *f, uint32_t record, struct err *e)
{
	AUTO_FREE char *buf = NULL;
	AUTO_FD int from = -EBADF, r0 = -EBADF, w0 = -EBADF;
	struct image_pipe *x = image_builder_at(&h->b, IMAGE_PIPE, record);
	int waiting = 0, size, ends[2], r;
	char name[48];
	ssize_t n;

	/* lint-allow: analyzer-null-dereference: f is one of the ends that pipe_add set */
	snprintf(name, sizeof(name), "/proc/%d/fd/%d", f->pid, f->fd);
	from = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (from < 0 || ioctl(from, FIONREAD, &waiting) || (size = fcntl(from, F_GETPIPE_SZ)) < 0)
		REFUSE(e, errno, "look into the pipe at descriptor %d of process %d", f->fd,
		       f->inside_pid);
	x->capacity = (uint64_t)size;
	if (waiting <= 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		REFUSE(e, errno, "copy a pipe");
	r0 = ends[0];
	w0 = ends[1];
	buf = malloc((size_t)waiting);
	if (!buf || fcntl(w0, F_SETPIPE_SZ, size) < 0)
		REFUSE(e, buf ? errno : ENOMEM, "copy a pipe of %d bytes", size);
	n = tee(from, w0, (size_t)waiting, SPLICE_F_NONBLOCK);
	r = n == waiting ? take_bytes(r0, buf, (size_t)waiting) : 0;
	if (r == -EBADMSG)
		REFUSE(e, ENOTSUP,
		       "process %d: descriptor %d is a pipe in packet mode with content",
		       f->inside_pid, f->fd);
	if (n != waiting || r < 0)
		REFUSE(e,
		       r < 0   ? r
		       : n < 0 ? errno
			       : EIO,
		       "copy the %d bytes in the pipe at descriptor %d of process %d", waiting,
		       f->fd, f->inside_pid);
	if (image_builder_bytes(&h->b, buf, (size_t)waiting, &x->content))
		REFUSE(e, ENOMEM, "copy a pipe");
	return 0;
}

static void to_stdio(struct harvest *h, const struct open_file *f, int which)
{
	struct image_ofd *o = ofd_at(h, f->ofd);

	o->kind = IMAGE_OFD_STDIO;
	o->ref = (uint32_t)which;
	note_add(&h->cap->recreated,
		 "fd-stdio: descriptor %d of process %d leads to the clone's keeper", f->fd,
		 f->inside_pid);
}

static int settle(struct harvest *h, struct open_table *t, struct open_pipe *p, struct err *e)
{
	const struct open_file *r = p->reader == IMAGE_NONE ? NULL : &t->file[p->reader];
	const struct open_file *w = p->writer == IMAGE_NONE ? NULL : &t->file[p->writer];
	const struct open_file *one = r ? r : w;
	/* lint-allow: analyzer-null-dereference, clang-analyzer-core.NullDereference: pipe_add set
	 * one end of each */
	int which = stdio_find(h, one->dev, one->ino), e2;
	bool outside = false;

	if (which >= 0) {
		if (r)
			to_stdio(h, r, which);
		if (w)
			to_stdio(h, w, which);
		return 0;
	}
	if (!r || !w) {
		e2 = other_end(one, &outside, e);
		if (e2 < 0)
			return e2;
		if (outside && (h->src->stdio || one->stdio < 0))
			REFUSE(e, ENOTSUP, "process %d: descriptor %d is a pipe that leads outside",
			       one->inside_pid, one->fd);
		if (outside) {
			to_stdio(h, one, one->stdio);
			return 0;
		}
	}
	return content(h, one, p->record, e);
}

int pipes_settle(struct harvest *h, struct open_table *t, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->n_pipes; i++)
		r = settle(h, t, &t->pipe[i], e);
	return r;
}
