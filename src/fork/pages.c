/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows PAGES and SEAL: private pages that are not (or not any more) those of a file are copied into
 * the image, then the description follows and the image is sealed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"
#include "fork/kernel.h"
#include "kern/probe.h"

#define REGIONS 4096u
#define NAMELESS_MAX (1ull << 30) /* of all private mappings of files without a name */

/* What has to be copied of one process. */
struct copy {
	struct harvest *h;
	struct captive *c;
	struct err *e;
	int pid; /* inside, for messages */
	struct copier *copier;
	int pagemap_fd;
	bool scan;         /* PAGEMAP_SCAN works */
	bool guards;       /* and tells guard regions */
	uint32_t map_runs; /* the first run of the map in question */
};

/* Appends [start, end) of the process as a run of the map in question. */
static int run_add(struct copy *c, uint64_t start, uint64_t end)
{
	uint64_t offset = IMAGE_PAGE + c->h->b.pages_bytes;
	uint32_t have = image_builder_count(&c->h->b, IMAGE_RUN);
	struct image_run *x =
		have > c->map_runs ? image_builder_at(&c->h->b, IMAGE_RUN, have - 1) : NULL;

	if (x && x->offset && x->end == start && x->offset + (x->end - x->start) == offset) {
		x->end = end;
	} else {
		x = image_builder_add(&c->h->b, IMAGE_RUN, NULL);
		if (!x)
			REFUSE(c->e, ENOMEM, "describe process %d", c->pid);
		*x = (struct image_run){start, end, offset};
		c->h->cap->runs++;
	}
	c->h->cap->pages += (end - start) / IMAGE_PAGE;
	c->h->b.pages_bytes += end - start;
	if (copier_add(c->copier, c->c->pid, c->pid, start, end, offset))
		REFUSE(c->e, ENOMEM, "describe process %d", c->pid);
	return 0;
}

/* A region whose access is a SIGSEGV (glibc's threads end their stacks so): nothing to copy. */
static int guard_add(struct copy *c, uint64_t start, uint64_t end)
{
	struct image_run *x = image_builder_add(&c->h->b, IMAGE_RUN, NULL);

	if (!x)
		REFUSE(c->e, ENOMEM, "describe process %d", c->pid);
	*x = (struct image_run){start, end, 0};
	return 0;
}

static int scan_new(struct copy *c, uint64_t start, uint64_t end)
{
	static struct kernel_page_region region[REGIONS];
	struct kernel_pagemap_scan s = {
		.size = sizeof(s),
		.start = start,
		.end = end,
		.vec = (uint64_t)region,
		.vec_len = REGIONS,
		.category_mask = KERNEL_PAGE_IS_FILE | KERNEL_PAGE_IS_PFNZERO,
		.category_inverted = KERNEL_PAGE_IS_FILE | KERNEL_PAGE_IS_PFNZERO,
		.category_anyof_mask = KERNEL_PAGE_IS_PRESENT | KERNEL_PAGE_IS_SWAPPED,
		.return_mask = c->guards ? KERNEL_PAGE_IS_GUARD : 0,
	};
	int r = 0;

	while (r == 0 && s.start < end) {
		int n = ioctl(c->pagemap_fd, KERNEL_PAGEMAP_SCAN, &s);

		if (n < 0)
			return -errno;
		for (int i = 0; r == 0 && i < n; i++)
			r = region[i].categories & KERNEL_PAGE_IS_GUARD
				    ? guard_add(c, region[i].start, region[i].end)
				    : run_add(c, region[i].start, region[i].end);
		s.start = s.walk_end;
	}
	return r;
}

static int scan_old(struct copy *c, uint64_t start, uint64_t end)
{
	static uint64_t word[4096];
	uint64_t from = 0;
	int r = 0;

	for (uint64_t at = start; r == 0 && at < end;) {
		uint64_t n = (end - at) / IMAGE_PAGE;
		ssize_t got;

		if (n > ARRAY_LEN(word))
			n = ARRAY_LEN(word);
		got = pread(c->pagemap_fd, word, n * 8, (off_t)(at / IMAGE_PAGE * 8));
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		n = (uint64_t)got / 8;
		for (uint64_t i = 0; r == 0 && i < n; i++, at += IMAGE_PAGE) {
			bool own = !(word[i] & (KERNEL_PAGEMAP_FILE | KERNEL_PAGEMAP_GUARD)) &&
				   word[i] & (KERNEL_PAGEMAP_PRESENT | KERNEL_PAGEMAP_SWAPPED);

			if (own && !from)
				from = at;
			if (!own && from) {
				r = run_add(c, from, at);
				from = 0;
			}
			if (r == 0 && word[i] & KERNEL_PAGEMAP_GUARD)
				r = guard_add(c, at, at + IMAGE_PAGE);
		}
	}
	return r == 0 && from ? run_add(c, from, end) : r;
}

/* Can the page at `at` be read? Past the end of its file there is none. */
static bool page_is(int mem_fd, uint64_t at)
{
	char byte;

	return pread(mem_fd, &byte, 1, (off_t)at) == 1;
}

/*
 * A private mapping of a file that has no name any more: all of it up to the file's end, which may
 * lie long before the mapping's. What the program costs says nothing here, so there is a bound.
 */
static int nameless(struct copy *c, const struct proc_map *m)
{
	uint64_t low = m->start, high = m->end; /* pages below low can be read, high can't */
	char name[48];
	AUTO_FD int mem_fd = -EBADF;

	snprintf(name, sizeof(name), "/proc/%d/mem", c->c->pid);
	mem_fd = open(name, O_RDONLY | O_CLOEXEC);
	if (mem_fd < 0)
		return -errno;
	if (page_is(mem_fd, high - IMAGE_PAGE))
		low = high;
	while (low < high) {
		uint64_t at = low + (high - low) / IMAGE_PAGE / 2 * IMAGE_PAGE;

		if (page_is(mem_fd, at))
			low = at + IMAGE_PAGE;
		else
			high = at;
	}
	c->h->nameless_bytes += low - m->start;
	if (c->h->nameless_bytes > NAMELESS_MAX)
		REFUSE(c->e, EFBIG, "process %d: %llu MiB of files without a name are mapped",
		       c->pid, (unsigned long long)c->h->nameless_bytes >> 20);
	return low > m->start ? run_add(c, m->start, low) : 0;
}

static int map_pages(struct copy *c, const struct proc_map *m)
{
	struct image_map *x = image_builder_at(&c->h->b, IMAGE_MAP, m->index);
	uint32_t first = image_builder_count(&c->h->b, IMAGE_RUN);
	bool wiped = x->flags & (IMAGE_MAP_WIPEONFORK | IMAGE_MAP_DROPPABLE);
	bool memory = x->kind == IMAGE_MAP_ANON || x->kind == IMAGE_MAP_STACK;
	int r = 0;

	/* A map that was joined from pieces has runs already. */
	if (x->runs.count)
		first = x->runs.first;
	c->map_runs = first;
	if (memory && m->ino)
		r = nameless(c, m);
	else if ((memory && !wiped) ||
		 (x->kind == IMAGE_MAP_FILE && !(x->flags & IMAGE_MAP_SHARED))) {
		r = c->scan ? scan_new(c, m->start, m->end) : scan_old(c, m->start, m->end);
		if (r == -EINVAL && c->scan && c->guards) {
			c->guards = false; /* before 6.15 */
			r = scan_new(c, m->start, m->end);
		}
		if (r == -ENOTTY || (r == -EINVAL && c->scan)) {
			c->scan = false; /* before 6.7 */
			r = scan_old(c, m->start, m->end);
		}
	}
	if (r < 0)
		REFUSE(c->e, r, "read the page map of process %d", c->pid);
	x->runs = (struct image_span){first, image_builder_count(&c->h->b, IMAGE_RUN) - first};
	return 0;
}

static int process_pages(struct copy *c)
{
	char name[48];
	int r = 0;

	snprintf(name, sizeof(name), "/proc/%d/pagemap", c->c->pid);
	c->pagemap_fd = open(name, O_RDONLY | O_CLOEXEC);
	if (c->pagemap_fd < 0)
		r = err_set(c->e, ERR_UNFORKABLE, errno, "read the memory of process %d", c->pid);
	for (size_t i = 0; r == 0 && i < c->c->n_maps; i++)
		if (!(c->c->maps[i].flags & PROC_MAP_SKIP))
			r = map_pages(c, &c->c->maps[i]);
	close_fd(&c->pagemap_fd);
	return r;
}

/* An image that the host can't hold would end whatever the kernel chooses. */
int host_holds(uint64_t bytes, struct err *e)
{
	AUTO_FREE char *line = NULL;
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	size_t room = 0;
	bool known = false;

	while (f && !known && getline(&line, &room, f) > 0)
		known = sscanf(line, "MemAvailable: %llu kB", &kib) == 1;
	if (f)
		ignore_err(fclose(f), "it was read");
	if (known && bytes > kib << 10)
		REFUSE(e, ENOMEM, "the image would take %llu MiB, and the host has %llu left",
		       (unsigned long long)bytes >> 20, kib >> 10);
	return 0;
}

int row_pages(struct harvest *h, struct err *e)
{
	struct copier *copier = copier_new();
	uint64_t start = fork_now_ns();
	int r = 0;

	if (!copier)
		REFUSE(e, ENOMEM, "copy the memory");
	for (uint32_t i = 0; r == 0 && i < h->n_captives; i++) {
		struct copy c = {.h = h,
				 .c = &h->captive[i],
				 .e = e,
				 .copier = copier,
				 .scan = !probe_test_absent(PROBE_PAGEMAP_SCAN),
				 .guards = true,
				 .pagemap_fd = -EBADF};

		c.pid = harvest_proc(h, c.c)->pid;
		r = process_pages(&c);
	}
	ahead_stop(h, e);
	if (r == 0)
		r = host_holds(h->b.pages_bytes, e);
	if (r == 0)
		r = copier_run(copier, h->image_fd, &h->cpus, e);
	copier_free(copier);
	if (r == 0)
		r = shared_pages(h, e);
	h->cap->pages_ns = fork_now_ns() - start;
	return r;
}

static int write_all(int fd, const void *p, uint64_t n, uint64_t at)
{
	const char *s = p;

	while (n) {
		ssize_t w = pwrite(fd, s, n, (off_t)at);

		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		s += w;
		at += (uint64_t)w;
		n -= (uint64_t)w;
	}
	return 0;
}

/* What the report calls carried: how many of each thing, not their names. */
static int summary(struct harvest *h)
{
	static const struct {
		enum image_section section;
		const char *text;
	} counted[] = {
		{IMAGE_PROC, "tree: processes"},    {IMAGE_THREAD, "threads"},
		{IMAGE_MAP, "mem: mappings"},       {IMAGE_SHARED, "mem-shared: objects"},
		{IMAGE_ACTION, "signals: actions"}, {IMAGE_PENDING, "signals: pending"},
		{IMAGE_FD, "fd: descriptors"},      {IMAGE_PIPE, "fd-pipe: pipes"},
		{IMAGE_SOCKET, "fd-unix: sockets"}, {IMAGE_WATCH, "fd-epoll: watches"},
		{IMAGE_PTY, "fd-pty: terminals"},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(counted); i++) {
		uint32_t n = image_builder_count(&h->b, counted[i].section);

		if (n)
			r = note_add(&h->cap->carried, "%s: %u", counted[i].text, n);
	}
	return r;
}

int row_seal(struct harvest *h, struct err *e)
{
	struct image_header header = {0};
	AUTO_FREE void *desc = NULL;
	int r = summary(h);

	if (r == 0)
		r = image_encode(&h->b, &header, &desc);
	if (r == 0)
		r = write_all(h->image_fd, desc, header.desc_bytes, header.desc_offset);
	if (r == 0)
		r = write_all(h->image_fd, &header, sizeof(header), 0);
	/* without pages and processes the header is shorter than its page */
	if (r == 0 && ftruncate(h->image_fd, (off_t)header.file_bytes) < 0)
		r = -errno;
	if (r == 0 && fcntl(h->image_fd, F_ADD_SEALS,
			    F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		r = -errno;
	if (r < 0)
		return err_set(e, ERR_IMAGE, -r, "finish the image");
	h->cap->image_bytes = header.file_bytes;
	return 0;
}
