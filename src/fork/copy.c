/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long part of row PAGES: pieces of the captives' memory go into the image, at places that were
 * fixed before. The tasks stand still meanwhile, so it is shared out over the processors that this
 * process may use. Pieces are gathered into loads: what one process_vm_readv reads and one pwrite
 * writes, small enough that the second finds the bytes in the cache.
 *
 * The bytes do not come from the task itself, though it would copy once instead of twice: the pages
 * would be charged to the sandbox's memory limit, and its file size limit would apply.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/harvest.h"

#define LOAD_BYTES (256u << 10)
#define LOAD_PIECES 256u
#define WORKERS_MAX 8
#define ALONE_BYTES (2u << 20) /* a helper costs as much as copying this */

struct load {
	pid_t pid;  /* host */
	int inside; /* for messages */
	uint32_t first, n;
	uint64_t bytes, offset;
};

struct copier {
	struct iovec *piece; /* of the captives */
	size_t n_pieces, room_pieces;
	struct load *load;
	size_t n_loads, room_loads;
	/* while workers run */
	int image_fd;
	size_t next;
	int error, error_inside; /* the first */
};

static void *grow(void *v, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 256;
	void *p;

	if (n < *room)
		return v;
	p = reallocarray(v, more, size);
	if (p)
		*room = more;
	return p;
}

static struct load *load_for(struct copier *k, pid_t pid, int inside, uint64_t offset)
{
	struct load *l = k->n_loads ? &k->load[k->n_loads - 1] : NULL;

	if (l && l->pid == pid && l->bytes < LOAD_BYTES && l->n < LOAD_PIECES &&
	    l->offset + l->bytes == offset)
		return l;
	l = grow(k->load, k->n_loads, &k->room_loads, sizeof(*l));
	if (!l)
		return NULL;
	k->load = l;
	l = &l[k->n_loads++];
	*l = (struct load){
		.pid = pid, .inside = inside, .first = (uint32_t)k->n_pieces, .offset = offset};
	return l;
}

struct copier *copier_new(void)
{
	return calloc(1, sizeof(struct copier));
}

int copier_add(struct copier *k, pid_t pid, int inside, uint64_t start, uint64_t end,
	       uint64_t offset)
{
	while (start < end) {
		struct load *l = load_for(k, pid, inside, offset);
		struct iovec *v = grow(k->piece, k->n_pieces, &k->room_pieces, sizeof(*v));
		uint64_t n = end - start;

		if (v)
			k->piece = v;
		if (!l || !v)
			return -ENOMEM;
		if (n > LOAD_BYTES - l->bytes)
			n = LOAD_BYTES - l->bytes;
		k->piece[k->n_pieces++] = (struct iovec){(void *)start, n};
		l->n++;
		l->bytes += n;
		start += n;
		offset += n;
	}
	return 0;
}

/* Page by page through /proc/PID/mem: PROT_NONE memory, and the end of a file that was mapped past
 * it, where a page can't exist and counts as zero. */
static int slow_read(const struct copier *k, const struct load *l, uint8_t *to)
{
	char name[48];
	AUTO_FD int fd = -EBADF;

	snprintf(name, sizeof(name), "/proc/%d/mem", l->pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (uint32_t i = 0; i < l->n; i++) {
		const struct iovec *v = &k->piece[l->first + i];
		uint64_t at = (uint64_t)v->iov_base;

		for (uint64_t done = 0; done < v->iov_len; done += IMAGE_PAGE, to += IMAGE_PAGE) {
			ssize_t n = pread(fd, to, IMAGE_PAGE, (off_t)(at + done));

			if (n != IMAGE_PAGE && errno != EIO && errno != EFAULT)
				return -errno;
			if (n != IMAGE_PAGE)
				memset(to, 0, IMAGE_PAGE);
		}
	}
	return 0;
}

static int load_copy(const struct copier *k, const struct load *l, uint8_t *bounce)
{
	struct iovec local = {bounce, l->bytes};
	uint64_t done = 0;
	int r = 0;

	if (process_vm_readv(l->pid, &local, 1, &k->piece[l->first], l->n, 0) != (ssize_t)l->bytes)
		r = slow_read(k, l, bounce);
	while (r == 0 && done < l->bytes) {
		ssize_t n = pwrite(k->image_fd, bounce + done, l->bytes - done,
				   (off_t)(l->offset + done));

		if (n <= 0)
			r = n < 0 ? -errno : -EIO;
		else
			done += (uint64_t)n;
	}
	return r;
}

static void *work(void *arg)
{
	AUTO_FREE uint8_t *bounce = aligned_alloc(4096, LOAD_BYTES);
	struct copier *k = arg;

	/* whoever has no buffer leaves the work to the others, and the first one says so */
	while (bounce && !__atomic_load_n(&k->error, __ATOMIC_RELAXED)) {
		size_t i = __atomic_fetch_add(&k->next, 1, __ATOMIC_RELAXED);
		int none = 0, r;

		if (i >= k->n_loads)
			break;
		r = load_copy(k, &k->load[i], bounce);
		if (r < 0 && __atomic_compare_exchange_n(&k->error, &none, r, false,
							 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			k->error_inside = k->load[i].inside;
	}
	return bounce ? k : NULL;
}

/* Each helper on a processor of its own: ours is pinned to the one of the tasks. */
static int helpers_start(struct copier *k, const cpu_set_t *cpus, pthread_t *thread, int max)
{
	int own = sched_getcpu(), n = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++) {
		cpu_set_t one;

		if (cpu == own || !CPU_ISSET(cpu, cpus))
			continue;
		if (pthread_create(&thread[n], NULL, work, k))
			break;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		/* where it shall not run it is only slower */
		pthread_setaffinity_np(thread[n++], sizeof(one), &one);
	}
	return n;
}

int copier_run(struct copier *k, int image_fd, const cpu_set_t *cpus, struct err *e)
{
	uint64_t bytes = 0, useful;
	pthread_t thread[WORKERS_MAX];
	int n = 0, done;

	for (size_t i = 0; i < k->n_loads; i++)
		bytes += k->load[i].bytes;
	useful = bytes / ALONE_BYTES;
	k->image_fd = image_fd;
	if (useful > 0)
		n = helpers_start(k, cpus, thread,
				  useful < WORKERS_MAX ? (int)useful : WORKERS_MAX);
	done = work(k) != NULL;
	while (n > 0)
		pthread_join(thread[--n], NULL);
	if (!done)
		REFUSE(e, ENOMEM, "copy the memory");
	if (k->error)
		REFUSE(e, k->error, "copy the memory of process %d", k->error_inside);
	return 0;
}

void copier_free(struct copier *k)
{
	if (!k)
		return;
	free(k->piece);
	free(k->load);
	free(k);
}
