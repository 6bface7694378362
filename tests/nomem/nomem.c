/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleave whose memory runs out once: linked with --wrap, so that each request for memory of our own
 * code passes here first, and jansson's, which come through it.
 *
 * CLEAVE_NOMEM=ROLE:FILE is for the processes whose first words are ROLE ("run", "keeper s"). FILE
 * holds one int64_t that all of them map: how many requests go well until one fails; it is counted
 * down, and from 0 on none fails. The test writes it while they run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
FILE *__real_open_memstream(char **p, size_t *n);
FILE *__real_fdopen(int fd, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);
DIR *__real_fdopendir(int fd);
DIR *__real_opendir(const char *path);
int __real_vasprintf(char **p, const char *format, va_list args);

static int64_t *left;

static bool refused(void)
{
	if (!left || __atomic_load_n(left, __ATOMIC_RELAXED) <= 0 ||
	    __atomic_sub_fetch(left, 1, __ATOMIC_RELAXED) != 0)
		return false;
	errno = ENOMEM;
	return true;
}

#define WRAP(type, name, parameters, arguments)                    \
	type __wrap_##name parameters;                             \
	type __wrap_##name parameters                              \
	{                                                          \
		return refused() ? NULL : __real_##name arguments; \
	}

WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size))
WRAP(char *, strdup, (const char *s), (s))
WRAP(char *, strndup, (const char *s, size_t n), (s, n))
WRAP(FILE *, open_memstream, (char **p, size_t *n), (p, n))
WRAP(FILE *, fdopen, (int fd, const char *mode), (fd, mode))
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode))
WRAP(DIR *, fdopendir, (int fd), (fd))
WRAP(DIR *, opendir, (const char *path), (path))

int __wrap_vasprintf(char **p, const char *format, va_list args);
int __wrap_vasprintf(char **p, const char *format, va_list args)
{
	return refused() ? -1 : __real_vasprintf(p, format, args);
}

int __wrap_asprintf(char **p, const char *format, ...);
int __wrap_asprintf(char **p, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = __wrap_vasprintf(p, format, args);
	va_end(args);
	return r;
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *word = getenv("CLEAVE_NOMEM"), *path = word ? strchr(word, ':') : NULL;
	char role[64];
	void *p;
	int fd;

	snprintf(role, sizeof(role), "%s %s", argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
	if (!path || strncmp(role, word, (size_t)(path - word)) != 0)
		return;
	fd = open(path + 1, O_RDWR | O_CLOEXEC);
	p = fd < 0 ? MAP_FAILED
		   : mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		perror(path + 1);
		_exit(99);
	}
	close(fd);
	left = p;
}
