/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The opener's list: every file, directory and object that any process of the tree has open, once
 * each, at a number of its own. The processes inherit them all, keep theirs, close the rest: what
 * was shared stays shared without anybody passing descriptors around.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "fork/planner.h"

/* Status flags that openat2 may be given for an image's file; never O_CREAT, O_TRUNC. */
#define OPEN_FLAGS                                                                               \
	(O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_NOATIME | O_DIRECT | O_DIRECTORY | O_PATH | \
	 O_LARGEFILE)
#define SETFL_FLAGS (O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT)

static uint64_t path_put(struct planner *p, const struct image_file *f)
{
	return planner_put(p, image_bytes(p->im, f->path), f->path.bytes);
}

/* O_NONBLOCK: a fifo that took a file's place must not hold the restore up before it is seen. */
static void open_op(struct planner *p, const struct image_file *f, uint64_t flags, uint32_t slot,
		    const struct restore_stat *want)
{
	struct open_how how = {.flags = flags | O_CLOEXEC | O_NOCTTY,
			       .resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};

	if (!(flags & O_PATH))
		how.flags |= O_NONBLOCK;
	else
		how.flags &= O_PATH | O_DIRECTORY | O_CLOEXEC;
	OP(p, OPEN, RESTORE_OP_OPEN, path_put(p, f), planner_put(p, &how, sizeof(how)), slot,
	   planner_put(p, want, sizeof(*want)));
}

static struct restore_stat identity(const struct image_file *f)
{
	return (struct restore_stat){.dev = f->dev,
				     .ino = f->ino,
				     .size = f->size,
				     .mtime_ns = f->mtime_ns,
				     .ctime_ns = f->ctime_ns,
				     .mode = f->mode,
				     .same = !(f->flags & IMAGE_FILE_CARRIED)};
}

static void mapped_files(struct planner *p)
{
	for (uint32_t i = 0; i < p->im->file_n; i++) {
		const struct image_file *f = &p->im->file[i];
		struct restore_stat want = identity(f);

		/* Code and data that a clone maps must be what its source ran on. */
		want.sized = 1;
		want.timed = want.same;
		if (p->file_slot[i])
			open_op(p, f, O_RDONLY, p->file_slot[i], &want);
		want.timed = 0; /* what is written to changes */
		if (p->write_slot[i])
			open_op(p, f, O_RDWR, p->write_slot[i], &want);
		want = (struct restore_stat){.mode = S_IFDIR};
		if (p->dir_slot[i])
			open_op(p, f, O_PATH | O_DIRECTORY, p->dir_slot[i], &want);
	}
}

static void open_file(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	const struct image_file *f = &p->im->file[o->ref];
	struct restore_stat want = identity(f);

	if (o->kind == IMAGE_OFD_DEV)
		want = (struct restore_stat){.mode = S_IFCHR, .rdev = (uint32_t)f->size};
	else if (o->kind == IMAGE_OFD_DIR)
		want = (struct restore_stat){.mode = S_IFDIR};
	open_op(p, f, o->status_flags & OPEN_FLAGS, slot, &want);
	if (o->status_flags & O_PATH)
		return;
	OP(p, OPEN, SYS_fcntl, slot, F_SETFL, o->status_flags & SETFL_FLAGS);
	if (o->kind != IMAGE_OFD_DEV && o->position)
		OP(p, OPEN, SYS_lseek, slot, o->position, 0);
}

static void pipe_ends(const struct image *im, uint32_t pipe, uint32_t *r, uint32_t *w)
{
	*r = *w = IMAGE_NONE;
	for (uint32_t i = 0; i < im->ofd_n; i++)
		if (im->ofd[i].kind == IMAGE_OFD_PIPE && im->ofd[i].ref == pipe) {
			if ((im->ofd[i].status_flags & O_ACCMODE) == O_RDONLY)
				*r = i;
			else
				*w = i;
		}
}

static void pipes(struct planner *p)
{
	const struct image *im = p->im;

	for (uint32_t i = 0; i < im->pipe_n; i++) {
		const struct image_pipe *x = &im->pipe[i];
		uint32_t end[2];

		pipe_ends(im, i, &end[0], &end[1]);
		if (end[0] == IMAGE_NONE && end[1] == IMAGE_NONE)
			continue; /* it led to the keeper */
		OP(p, OBJECTS, RESTORE_OP_PIPE, end[0] == IMAGE_NONE ? ~0ull : p->ofd_slot[end[0]],
		   end[1] == IMAGE_NONE ? ~0ull : p->ofd_slot[end[1]], x->capacity,
		   planner_put(p, image_bytes(im, x->content), x->content.bytes), x->content.bytes);
		for (int k = 0; k < 2; k++)
			if (end[k] != IMAGE_NONE)
				OP(p, OBJECTS, SYS_fcntl, p->ofd_slot[end[k]], F_SETFL,
				   im->ofd[end[k]].status_flags & SETFL_FLAGS);
	}
}

static void event(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	uint64_t flags = (o->ref ? EFD_SEMAPHORE : 0) | (o->status_flags & O_NONBLOCK);

	OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
	OP(p, OBJECTS, SYS_eventfd2, 0, flags);
	if (o->value)
		OP(p, OBJECTS, SYS_write, slot, planner_put(p, &o->value, 8), 8);
}

static void timer(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	uint64_t v[4] = {o->interval / 1000000000u, o->interval % 1000000000u,
			 o->value / 1000000000u, o->value % 1000000000u};

	OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
	OP(p, OBJECTS, SYS_timerfd_create, o->ref, o->status_flags & O_NONBLOCK);
	if (o->value)
		OP(p, OBJECTS, SYS_timerfd_settime, slot, 0, planner_put(p, v, sizeof(v)), 0);
	if (o->position) /* TFD_IOC_SET_TICKS: expirations that nobody has read */
		OP(p, OBJECTS, SYS_ioctl, slot, 0x40085400, planner_put(p, &o->position, 8));
}

static void signals(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
	OP(p, OBJECTS, SYS_signalfd4, ~0ull, planner_put(p, &o->value, 8), 8,
	   o->status_flags & O_NONBLOCK);
}

static uint32_t socket_slot(const struct planner *p, uint32_t socket)
{
	for (uint32_t i = 0; i < p->im->ofd_n; i++)
		if (p->im->ofd[i].kind == IMAGE_OFD_SOCKET && p->im->ofd[i].ref == socket)
			return p->ofd_slot[i];
	return p->spare_slot; /* the end that nobody has: made, used, closed */
}

static void socket_state(struct planner *p, const struct image_socket *s, uint32_t slot,
			 uint32_t sender)
{
	uint32_t room = 1 << 30, one = 1;

	/* Room for what was queued: the kernel cuts it down to as much as it gives anybody. */
	if (s->content.bytes) {
		OP(p, OBJECTS, SYS_setsockopt, sender, 1 /* SOL_SOCKET */, 7 /* SO_SNDBUF */,
		   planner_put(p, &room, 4), 4);
		OP(p, OBJECTS, RESTORE_OP_FILL, sender,
		   planner_put(p, image_bytes(p->im, s->content), s->content.bytes),
		   s->content.bytes);
	}
	if (s->passcred)
		OP(p, OBJECTS, SYS_setsockopt, slot, 1, 16 /* SO_PASSCRED */,
		   planner_put(p, &one, 4), 4);
}

static void socket_pair(struct planner *p, uint32_t i)
{
	const struct image_socket *s = &p->im->socket[i];
	uint32_t peer = s->peer, a = socket_slot(p, i), b = p->spare_slot, half;

	if (a == p->spare_slot || (peer != IMAGE_NONE && peer < i))
		return; /* nobody's; or made with its peer */
	if (peer != IMAGE_NONE)
		b = socket_slot(p, peer);
	OP(p, OBJECTS, RESTORE_OP_SOCKETS, s->type & 0xf, a, b);
	socket_state(p, s, a, b);
	if (peer != IMAGE_NONE)
		socket_state(p, &p->im->socket[peer], b, a);
	half = s->sndbuf / 2;
	OP(p, OBJECTS, SYS_setsockopt, a, 1, 7 /* SO_SNDBUF */, planner_put(p, &half, 4), 4);
	if (s->shutdown)
		OP(p, OBJECTS, SYS_shutdown, a, s->shutdown - 1);
	if (peer == IMAGE_NONE) {
		OP(p, OBJECTS, SYS_close, b);
		return;
	}
	half = p->im->socket[peer].sndbuf / 2;
	OP(p, OBJECTS, SYS_setsockopt, b, 1, 7 /* SO_SNDBUF */, planner_put(p, &half, 4), 4);
	if (p->im->socket[peer].shutdown)
		OP(p, OBJECTS, SYS_shutdown, b, p->im->socket[peer].shutdown - 1);
}

/* Objects first: descriptors of them are opened through /proc, each with its own mode. */
static void shared_objects(struct planner *p)
{
	static const char unnamed[] = "cleave-shared";

	for (uint32_t i = 0; i < p->im->shared_n; i++) {
		const struct image_shared *s = &p->im->shared[i];
		uint32_t slot = p->shared_slot[i];
		uint64_t name = s->name.bytes > 1
					? planner_put(p, image_bytes(p->im, s->name), s->name.bytes)
					: planner_put(p, unnamed, sizeof(unnamed));

		OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
		OP(p, OBJECTS, SYS_memfd_create, name, 2 /* ALLOW_SEALING */);
		OP(p, OBJECTS, SYS_ftruncate, slot, s->bytes);
		for (uint32_t k = s->runs.first; k < s->runs.first + s->runs.count; k++) {
			const struct image_run *r = &p->im->run[k];
			uint64_t end = r->end < s->bytes ? r->end : s->bytes;

			if (end > r->start)
				OP(p, OBJECTS, RESTORE_OP_COPY, p->head.image_slot, r->offset, slot,
				   r->start, end - r->start);
		}
		if (s->seals)
			OP(p, OBJECTS, SYS_fcntl, slot, 1033 /* F_ADD_SEALS */, s->seals);
	}
}

static void shared_open(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	char path[32];
	int n = snprintf(path, sizeof(path), "/proc/self/fd/%u", p->shared_slot[o->ref]);

	OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
	OP(p, OBJECTS, SYS_openat, (uint64_t)-100, planner_put(p, path, (uint64_t)n + 1),
	   (o->status_flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_LARGEFILE)) | O_CLOEXEC);
	if (o->position)
		OP(p, OBJECTS, SYS_lseek, slot, o->position, 0);
}

void plan_opener(struct planner *p)
{
	plan_drop(p, RESTORE_OPENER_DROP);
	mapped_files(p);
	pipes(p);
	shared_objects(p);
	plan_ptys(p);
	for (uint32_t i = 0; i < p->im->ofd_n; i++) {
		const struct image_ofd *o = &p->im->ofd[i];

		switch ((enum image_ofd_kind)o->kind) {
		case IMAGE_OFD_FILE:
		case IMAGE_OFD_DIR:
		case IMAGE_OFD_DEV:
			open_file(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_EVENT:
			event(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_TIMER:
			timer(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_SIGNAL:
			signals(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_EPOLL:
			OP(p, OBJECTS, RESTORE_OP_TO_SLOT, p->ofd_slot[i]);
			OP(p, OBJECTS, SYS_epoll_create1, 0);
			break;
		case IMAGE_OFD_SHARED:
			shared_open(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_SOCKET:
			socket_pair(p, o->ref);
			break;
		case IMAGE_OFD_PTY:
			pty_open(p, o, p->ofd_slot[i]);
			break;
		case IMAGE_OFD_STDIO:
			if (o->status_flags & O_NONBLOCK)
				OP(p, OBJECTS, SYS_fcntl, p->ofd_slot[i], F_SETFL,
				   o->status_flags & (O_NONBLOCK | O_APPEND));
			break;
		case IMAGE_OFD_PIDFD:
		case IMAGE_OFD_PIPE:
		case IMAGE_OFD_KIND_N:
			break;
		}
	}
	plan_ptys_lock(p);
	for (uint32_t i = 0; i < p->im->ofd_n; i++)
		if (p->im->ofd[i].kind == IMAGE_OFD_SOCKET)
			OP(p, OBJECTS, SYS_fcntl, p->ofd_slot[i], F_SETFL,
			   p->im->ofd[i].status_flags & O_NONBLOCK);
}
