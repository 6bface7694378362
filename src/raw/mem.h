/* SPDX-License-Identifier: Apache-2.0 */
/* L0: the few string helpers that freestanding code needs; hosted code may use them too. Context:
 * any. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* mem.c in freestanding programs, the C library elsewhere: the compiler calls them on its own as
 * well. */
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

static inline size_t raw_strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static inline bool raw_streq(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* Writes v in decimal and a NUL; buf holds at least 21 bytes. Returns the length without the NUL.
 */
static inline size_t raw_format_u64(char *buf, uint64_t v)
{
	char tmp[20];
	size_t n = 0, i;

	do {
		tmp[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	for (i = 0; i < n; i++)
		buf[i] = tmp[n - 1 - i];
	buf[n] = 0;
	return n;
}
