/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals of the sandbox's own devpts: either side's descriptors, modes, size, whose session's
 * terminal it is and which group is in the foreground. What is typed or printed and not read yet
 * stays behind. The master of the main process's terminal is the keeper's; where another one is
 * outside (a client of an exec), nobody would ever answer: in the clone that terminal hangs up.
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/descriptors.h"

#define PTY_MAJOR 136u /* to 143 */
#define TTY_MAJOR 5u   /* 0: one's own terminal, 2: the multiplexer */

_Static_assert(sizeof(struct termios2) == sizeof(((struct image_pty *)0)->termios), "the kernel's");

static bool is_side(dev_t rdev)
{
	return major(rdev) >= PTY_MAJOR && major(rdev) < PTY_MAJOR + 8;
}

bool pty_is(dev_t rdev)
{
	return is_side(rdev) || rdev == makedev(TTY_MAJOR, 0) || rdev == makedev(TTY_MAJOR, 2);
}

static uint32_t index_of(dev_t rdev)
{
	return (major(rdev) - PTY_MAJOR) * 256 + minor(rdev);
}

static int take(const struct open_file *f)
{
	AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);

	return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
}

/* The terminals of other devpts instances have the same numbers. */
static bool is_ours(const struct harvest *h, const struct stat *st)
{
	char path[48];
	struct stat own;

	snprintf(path, sizeof(path), "/proc/%d/root/dev/pts", h->src->init_pid);
	return st->st_rdev == makedev(TTY_MAJOR, 0) ||
	       (stat(path, &own) == 0 && own.st_dev == st->st_dev);
}

int pty_add(struct harvest *h, struct open_table *t, uint32_t file, const struct stat *st,
	    struct err *e)
{
	struct open_file *f = &t->file[file];
	struct image_ofd *o = ofd_at(h, f->ofd);
	bool master = st->st_rdev == makedev(TTY_MAJOR, 2);
	AUTO_FD int fd = take(f);
	unsigned device = 0, index = UINT32_MAX;

	if (!is_ours(h, st))
		REFUSE(e, ENOTSUP, "process %d: descriptor %d is the terminal %s of another place",
		       f->inside_pid, f->fd, f->target);
	if (fd >= 0 && master && ioctl(fd, TIOCGPTN, &index))
		index = UINT32_MAX;
	else if (fd >= 0 && !master && ioctl(fd, TIOCGDEV, &device) == 0 && is_side(device))
		index = index_of(device);
	if (index >= IMAGE_MAX_PTY)
		REFUSE(e, ENOTSUP,
		       "process %d: descriptor %d is the terminal %s, which can't be carried",
		       f->inside_pid, f->fd, f->target);
	if (!t->pty[index].used)
		t->pty[index] = (struct open_pty){true, IMAGE_NONE, IMAGE_NONE, IMAGE_NONE, 0};
	*(master ? &t->pty[index].master : &t->pty[index].side) = file;
	o->kind = IMAGE_OFD_PTY;
	o->ref = index; /* until ptys_settle knows the record */
	o->value = master;
	return 0;
}

/*
 * TIOCGPTPEER leaves O_CLOEXEC in the file itself, so that fdinfo shows it for its copies too. 0 to
 * 2 were made by dup2, to be kept; of others the flag is the better guess.
 */
bool pty_hides_cloexec(struct harvest *h, const struct open_table *t, uint32_t file)
{
	const struct open_file *f = &t->file[file];
	AUTO_FD int fd = ofd_at(h, f->ofd)->kind == IMAGE_OFD_PTY ? take(f) : -1;

	return fd >= 0 && fcntl(fd, F_GETFL) & O_CLOEXEC;
}

/* The terminal of each session by its leader; a process that let go of it is nobody's here. */
static int sessions(struct harvest *h, struct open_table *t, struct err *e)
{
	for (uint32_t i = 0; i < h->n_captives; i++) {
		const struct captive *c = &h->captive[i];
		const struct image_proc *p = harvest_proc(h, c);
		struct proc_stat stat;
		struct open_pty *y;
		dev_t device;

		if (proc_read(&h->text, c->pid, "stat") || proc_stat_parse(h->text.p, &stat))
			REFUSE(e, ESRCH, "read the terminal of process %d", p->pid);
		device = makedev(stat.field[7] >> 8 & 0xfff,
				 (stat.field[7] & 0xff) | (stat.field[7] >> 12 & 0xfff00));
		if (!stat.field[7])
			continue;
		if (!is_side(device) || index_of(device) >= IMAGE_MAX_PTY)
			REFUSE(e, ENOTSUP, "process %d has a terminal that can't be carried",
			       p->pid);
		y = &t->pty[index_of(device)];
		if (!y->used)
			*y = (struct open_pty){true, IMAGE_NONE, IMAGE_NONE, IMAGE_NONE, 0};
		if (p->sid == p->pid)
			y->session = c->pid;
	}
	return 0;
}

/* The number inside of a group that the kernel told by the host's. */
static int32_t group_inside(struct harvest *h, uint64_t host)
{
	for (uint32_t i = 0; i < h->n_captives; i++) {
		struct proc_stat stat;

		if (proc_read(&h->text, h->captive[i].pid, "stat") == 0 &&
		    proc_stat_parse(h->text.p, &stat) == 0 && stat.field[5] == host)
			return harvest_proc(h, &h->captive[i])->pgid;
	}
	return 0;
}

/* Somebody's descriptor of it, else opened by its name: then a session has it, and no side. */
static int look(struct harvest *h, struct open_table *t, uint32_t index)
{
	const struct open_pty *y = &t->pty[index];
	char path[64];

	if (y->master != IMAGE_NONE)
		return take(&t->file[y->master]);
	if (y->side != IMAGE_NONE)
		return take(&t->file[y->side]);
	snprintf(path, sizeof(path), "/proc/%d/root/dev/pts/%u", h->src->init_pid, index);
	return open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

static int modes(struct image_pty *x, int fd, bool master)
{
	struct pollfd p = {fd, 0, 0};
	int on = 0;

	if (ioctl(fd, TCGETS2, x->termios) || ioctl(fd, TIOCGWINSZ, x->size))
		return -errno;
	if (ioctl(fd, TIOCGETD, &on) || on || (ioctl(fd, TIOCGEXCL, &on) == 0 && on))
		return -ENOTSUP; /* a line discipline, exclusive use */
	if (!master)
		return 0;
	x->flags |= IMAGE_PTY_MASTER;
	if (ioctl(fd, TIOCGPTLCK, &on) == 0 && on)
		x->flags |= IMAGE_PTY_LOCKED;
	if (ioctl(fd, TIOCGPKT, &on) == 0 && on)
		x->flags |= IMAGE_PTY_PACKET;
	if (poll(&p, 1, 0) == 1 && p.revents & POLLHUP)
		x->flags |= IMAGE_PTY_CLOSED;
	return 0;
}

static int32_t main_session(const struct harvest *h, const struct open_pty *y)
{
	for (uint32_t i = 0; y->session && i < h->n_captives; i++)
		if (h->captive[i].pid == y->session)
			return h->tracee[h->captive[i].first].status.ns_tgid;
	return 0;
}

static int record(struct harvest *h, struct open_table *t, uint32_t index, struct err *e)
{
	struct open_pty *y = &t->pty[index];
	struct image_pty *x = image_builder_add(&h->b, IMAGE_PTY, &y->record);
	AUTO_FD int fd = look(h, t, index);
	struct proc_stat stat;
	int r = fd < 0 ? -errno : x ? modes(x, fd, y->master != IMAGE_NONE) : -ENOMEM;

	if (r < 0)
		REFUSE(e, r, "the terminal /dev/pts/%u can't be carried", index);
	x->index = index;
	if (y->session && proc_read(&h->text, y->session, "stat") == 0 &&
	    proc_stat_parse(h->text.p, &stat) == 0)
		x->foreground = group_inside(h, stat.field[8]);
	if (y->master != IMAGE_NONE) {
		r = note_add(&h->cap->recreated,
			     "fd-pty: /dev/pts/%u, without what was unread in it", index);
	} else if (h->src->terminal && h->src->main_pid && main_session(h, y) == h->src->main_pid) {
		x->flags |= IMAGE_PTY_KEEPER;
		r = note_add(&h->cap->recreated, "fd-pty: /dev/pts/%u leads to the clone's keeper",
			     index);
	} else {
		r = note_add(&h->cap->broken,
			     "fd-pty: /dev/pts/%u has its other end outside: it hangs up", index);
	}
	return r < 0 ? err_set(e, ERR_INTERNAL, ENOMEM, "describe a terminal") : 0;
}

int ptys_settle(struct harvest *h, struct open_table *t, struct err *e)
{
	int r = sessions(h, t, e);

	for (uint32_t i = 0; r == 0 && i < IMAGE_MAX_PTY; i++)
		if (t->pty[i].used)
			r = record(h, t, i, e);
	for (uint32_t i = 0; r == 0 && i < t->n_files; i++) {
		struct image_ofd *o = ofd_at(h, t->file[i].ofd);

		if (o->kind == IMAGE_OFD_PTY)
			o->ref = t->pty[o->ref].record;
	}
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++)
		for (uint32_t k = 0; k < IMAGE_MAX_PTY; k++)
			if (t->pty[k].used && t->pty[k].session == h->captive[i].pid)
				harvest_proc(h, &h->captive[i])->pty = t->pty[k].record;
	return r;
}
