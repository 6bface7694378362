/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only in the static program, when it is linked to musl: what distributions' static libraries,
 * compiled against glibc with _FORTIFY_SOURCE, call besides standard C. The size that the compiler
 * knew is checked here as glibc does. And a memcpy in place of musl's
 * (docs/decisions/0001-libc.md).
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __vsnprintf_chk(char *s, size_t max, int flag, size_t size, const char *format, va_list ap);
int __snprintf_chk(char *s, size_t max, int flag, size_t size, const char *format, ...);
int __fprintf_chk(FILE *f, int flag, const char *format, ...);
char *__strncpy_chk(char *to, const char *from, size_t n, size_t size);

int __vsnprintf_chk(char *s, size_t max, int flag, size_t size, const char *format, va_list ap)
{
	(void)flag;
	if (max > size)
		abort();
	return vsnprintf(s, max, format, ap);
}

int __snprintf_chk(char *s, size_t max, int flag, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = __vsnprintf_chk(s, max, flag, size, format, ap);
	va_end(ap);
	return n;
}

int __fprintf_chk(FILE *f, int flag, const char *format, ...)
{
	va_list ap;
	int n;

	(void)flag;
	va_start(ap, format);
	n = vfprintf(f, format, ap);
	va_end(ap);
	return n;
}

char *__strncpy_chk(char *to, const char *from, size_t n, size_t size)
{
	if (n > size)
		abort();
	return strncpy(to, from, n); /* check-allow: strncpy, it stands for it */
}

/*
 * musl's begins every copy with "rep movs", which takes longer to begin than a short copy lasts;
 * JSON is thousands of copies of some bytes. The linker puts this one in its place for every caller
 * (--wrap). Short ones are two moves of a fixed size that may overlap. No stack protector: musl
 * copies before its canary is there.
 */
#define TWO(type)                                                                             \
	do {                                                                                  \
		type head, tail;                                                              \
		__builtin_memcpy(&head, from, sizeof(head));                                  \
		__builtin_memcpy(&tail, (const char *)from + n - sizeof(tail), sizeof(tail)); \
		__builtin_memcpy(to, &head, sizeof(head));                                    \
		__builtin_memcpy((char *)to + n - sizeof(tail), &tail, sizeof(tail));         \
		return start;                                                                 \
	} while (0)

struct block {
	uint64_t word[2];
};
struct block2 {
	uint64_t word[4];
};

__attribute__((no_stack_protector)) void *__wrap_memcpy(void *restrict start,
							const void *restrict from, size_t n);

void *__wrap_memcpy(void *restrict start, const void *restrict from, size_t n)
{
	void *to = start;

	if (n > 64) {
		size_t words = n / 8;

		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
		n %= 8;
	}
	if (n > 32)
		TWO(struct block2);
	if (n > 16)
		TWO(struct block);
	if (n >= 8)
		TWO(uint64_t);
	if (n >= 4)
		TWO(uint32_t);
	if (n >= 2)
		TWO(uint16_t);
	if (n)
		*(char *)to = *(const char *)from;
	return start;
}
