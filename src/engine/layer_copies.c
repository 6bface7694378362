/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What --file brought into a place that nobody can write: it is no part of the sandbox's files, but
 * the host's may have changed or gone since the start. So it travels behind them in the layer.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "engine/layer.h"
#include "engine/layer_format.h"
#include "raw/syscall.h"

/* Followed by the place inside and the content. */
struct copy {
	uint64_t size, name_len;
};

static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return n == 1 || (strncmp(path, top, n) == 0 && (path[n] == '/' || !path[n]));
}

bool layer_has_copy(const struct plan *p, const struct plan_entry *file)
{
	const struct plan_entry *x = plan_entries(p);

	for (uint32_t i = 0; i < p->n_entries; i++)
		/* below --rw it lies in the host's directory, which the clone has too */
		if ((layer_is_place(&x[i]) || x[i].group == PLAN_BINDS) &&
		    is_below(plan_text(p, file->target), layer_place(p, &x[i])))
			return true;
	return false;
}

static int save(int root_fd, const char *name, int layer_fd, struct layer_header *head)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	AUTO_FD int fd = (int)SYS4(SYS_openat2, root_fd, name, &how, sizeof(how));
	struct copy c = {.name_len = strlen(name)};
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ESTALE;
	c.size = (uint64_t)st.st_size;
	if (write(layer_fd, &c, sizeof(c)) != sizeof(c) ||
	    write(layer_fd, name, c.name_len) != (ssize_t)c.name_len)
		return errno ? -errno : -ENOSPC;
	head->end += sizeof(c) + c.name_len + c.size;
	return layer_send(layer_fd, fd, NULL, c.size);
}

int layer_copies_save(const struct plan *p, int root_fd, int layer_fd, struct layer_header *head,
		      struct err *e)
{
	const struct plan_entry *x = plan_entries(p);

	for (uint32_t i = 0; i < p->n_entries; i++) {
		const char *name = plan_text(p, x[i].target);
		int r;

		if (x[i].group != PLAN_COPIES || layer_has_copy(p, &x[i]))
			continue;
		r = save(root_fd, name, layer_fd, head);
		if (r < 0)
			return err_set(e, ERR_HOST, -r, "keep '%s' for the fork", name);
	}
	return 0;
}

/* The content of one, as a memfd. Every length is checked against what is there. */
static int find(const char *at, const char *end, const char *name)
{
	while (end - at >= (ptrdiff_t)sizeof(struct copy)) {
		AUTO_FD int fd = -EBADF;
		struct copy c;

		memcpy(&c, at, sizeof(c));
		at += sizeof(c);
		if (c.name_len > (uint64_t)(end - at) || c.size > (uint64_t)(end - at) - c.name_len)
			return -EBADMSG;
		if (c.name_len != strlen(name) || memcmp(at, name, c.name_len)) {
			at += c.name_len + c.size;
			continue;
		}
		fd = memfd_create("cleave-file", MFD_CLOEXEC);
		if (fd < 0)
			return -errno;
		for (at += c.name_len; c.size;) {
			ssize_t n = write(fd, at, c.size);

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
			at += n;
			c.size -= (uint64_t)n;
		}
		if (lseek(fd, 0, SEEK_SET) < 0)
			return -errno;
		return take_fd(&fd);
	}
	return -EBADMSG;
}

int layer_copies_load(int layer_fd, struct plan *p, struct err *e)
{
	struct plan_entry *x = (struct plan_entry *)plan_entries(p);
	struct layer_header head;
	int r = layer_header_read(layer_fd, &head, e);
	char *map;

	if (r < 0)
		return r;
	map = mmap(NULL, head.end, PROT_READ, MAP_PRIVATE, layer_fd, 0);
	if (map == MAP_FAILED)
		return err_set(e, ERR_INTERNAL, errno, "read the layer of files");
	for (uint32_t i = 0; r >= 0 && i < p->n_entries; i++) {
		if (x[i].group != PLAN_COPIES)
			continue;
		r = find(map + head.copies, map + head.end, plan_text(p, x[i].target));
		x[i].fd = r;
		if (r == -EBADMSG)
			err_set(e, ERR_IMAGE, 0, "the layer of files is malformed");
		else if (r < 0)
			err_set(e, ERR_HOST, -r, "bring '%s' into the clone",
				plan_text(p, x[i].target));
	}
	munmap(map, head.end);
	return r < 0 ? r : 0;
}
