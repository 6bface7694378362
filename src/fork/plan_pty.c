/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals of a clone: made by the opener in its devpts, which gives the lowest free index, so all
 * up to the highest one of the image are made and the rest closed. The terminal's side is opened
 * once for the sessions' leaders, who make it theirs.
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "fork/planner.h"

#define HERE ((uint64_t)-100) /* AT_FDCWD */

static uint32_t master_slot(const struct planner *p, const struct image_pty *x)
{
	return p->pty_slot + x->index;
}

void plan_pty_slots(struct planner *p)
{
	const struct image *im = p->im;

	p->pty_slot = p->next_slot;
	p->n_pty = im->pty_n ? im->pty[im->pty_n - 1].index + 1 : 0;
	p->tty_slot = p->pty_slot + p->n_pty;
	p->next_slot = p->tty_slot + im->pty_n;
	for (uint32_t i = 0; i < im->pty_n; i++)
		if (im->pty[i].flags & IMAGE_PTY_KEEPER)
			p->head.master_slot = master_slot(p, &im->pty[i]);
}

static void open_side(struct planner *p, const struct image_pty *x, uint32_t flags, uint32_t slot)
{
	char path[32];
	int n = snprintf(path, sizeof(path), "/dev/pts/%u", x->index);

	OP(p, OBJECTS, RESTORE_OP_TO_SLOT, slot);
	OP(p, OBJECTS, SYS_openat, HERE, planner_put(p, path, (uint64_t)n + 1),
	   (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC);
}

static bool is_in(const struct image *im, uint32_t index)
{
	for (uint32_t i = 0; i < im->pty_n; i++)
		if (im->pty[i].index == index)
			return true;
	return false;
}

/* Open and closed again is something else than never opened: the master reads an error. */
static bool has_side(const struct image *im, uint32_t pty)
{
	bool has = im->pty[pty].flags & IMAGE_PTY_CLOSED;

	for (uint32_t i = 0; i < im->ofd_n && !has; i++)
		has = im->ofd[i].kind == IMAGE_OFD_PTY && im->ofd[i].ref == pty &&
		      !im->ofd[i].value;
	for (uint32_t i = 0; i < im->proc_n && !has; i++)
		has = im->proc[i].pty == pty;
	return has;
}

void plan_ptys(struct planner *p)
{
	static const char path[] = "/dev/pts/ptmx";
	uint64_t at = p->n_pty ? planner_put(p, path, sizeof(path)) : 0;
	uint64_t zero = planner_put(p, &(uint32_t){0}, 4), one = planner_put(p, &(uint32_t){1}, 4);

	for (uint32_t i = 0; i < p->n_pty; i++) {
		OP(p, OBJECTS, RESTORE_OP_TO_SLOT, p->pty_slot + i);
		OP(p, OBJECTS, SYS_openat, HERE, at, O_RDWR | O_NOCTTY | O_CLOEXEC);
	}
	for (uint32_t i = 0; i < p->n_pty; i++)
		if (!is_in(p->im, i))
			OP(p, OBJECTS, SYS_close, p->pty_slot + i);
	for (uint32_t i = 0; i < p->im->pty_n; i++) {
		const struct image_pty *x = &p->im->pty[i];
		uint32_t slot = master_slot(p, x);

		OP(p, OBJECTS, SYS_ioctl, slot, TIOCSPTLCK, zero);
		OP(p, OBJECTS, SYS_ioctl, slot, TCSETS2,
		   planner_put(p, x->termios, sizeof(x->termios)));
		OP(p, OBJECTS, SYS_ioctl, slot, TIOCSWINSZ,
		   planner_put(p, x->size, sizeof(x->size)));
		if (x->flags & IMAGE_PTY_PACKET)
			OP(p, OBJECTS, SYS_ioctl, slot, TIOCPKT, one);
		if (has_side(p->im, i))
			open_side(p, x, O_RDWR, p->tty_slot + i);
	}
}

void pty_open(struct planner *p, const struct image_ofd *o, uint32_t slot)
{
	const struct image_pty *x = &p->im->pty[o->ref];

	if (!o->value) {
		open_side(p, x, o->status_flags, slot);
		return;
	}
	OP(p, OBJECTS, SYS_dup3, master_slot(p, x), slot, O_CLOEXEC);
	OP(p, OBJECTS, SYS_fcntl, slot, F_SETFL, o->status_flags & O_NONBLOCK);
}

void plan_ptys_lock(struct planner *p)
{
	uint64_t one = planner_put(p, &(uint32_t){1}, 4);

	for (uint32_t i = 0; i < p->im->pty_n; i++) {
		const struct image_pty *x = &p->im->pty[i];

		if (x->flags & IMAGE_PTY_LOCKED)
			OP(p, OBJECTS, SYS_ioctl, master_slot(p, x), TIOCSPTLCK, one);
	}
}

/* A session's leader, right after it became that: whom it starts later inherits the terminal. */
void plan_terminal(struct planner *p, const struct image_proc *x)
{
	if (x->pty != IMAGE_NONE)
		OP(p, SESSION, SYS_ioctl, p->tty_slot + x->pty, TIOCSCTTY, 0);
}

/* All groups exist now. All signals are blocked: no SIGTTOU. */
void plan_foreground(struct planner *p, const struct image_proc *x)
{
	int32_t group = x->pty == IMAGE_NONE ? 0 : p->im->pty[x->pty].foreground;

	if (group)
		OP(p, GROUP, SYS_ioctl, p->tty_slot + x->pty, TIOCSPGRP, planner_put(p, &group, 4));
}
