/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four functions that the compiler may call on its own. Linked into freestanding programs only;
 * hosted code has its C library's. The barrier in each loop keeps gcc from turning the loop back
 * into a call of the very function (-fno-tree-loop-distribute-patterns is set as well, clang
 * ignores it).
 */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	while (n--) {
		*t++ = *f++;
		KEEP_LOOP();
	}
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if (t <= f)
		return memcpy(to, from, n);
	while (n--) {
		t[n] = f[n];
		KEEP_LOOP();
	}
	return to;
}

void *memset(void *to, int c, size_t n)
{
	unsigned char *t = to;

	while (n--) {
		*t++ = (unsigned char)c;
		KEEP_LOOP();
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
		KEEP_LOOP();
	}
	return 0;
}
