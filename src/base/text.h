/* SPDX-License-Identifier: Apache-2.0 */
/* L1: text for people and from people: escaping, sizes, durations, names, nearest word. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies n bytes to out as one printable line: control bytes and invalid UTF-8 become \xNN. */
void text_escape(const char *s, size_t n, char *out, size_t size);

/* "64M", "1 GiB", "4096": powers of 1024, optional iB. Returns 0, -EINVAL or -ERANGE; nothing is
 * written unless 0. The same holds for the next two. */
int text_parse_size(const char *s, uint64_t *ret_bytes);
/* "1.5", "200ms", "2m", "1h": to nanoseconds. Returns 0, -EINVAL or -ERANGE. */
int text_parse_time(const char *s, uint64_t *ret_ns);
/* Decimal without sign or space in [min, max]. Returns 0, -EINVAL or -ERANGE. */
int text_parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/* Writes "64 MiB"-like text that parses back when exact. */
void text_format_size(uint64_t bytes, char *out, size_t size);

/* Sandbox, snapshot and template names: [A-Za-z0-9][A-Za-z0-9_.-]{0,62}. */
bool text_is_name(const char *s);
bool text_is_utf8(const char *s, size_t n);
/* malloc'd; NULL when out of memory. */
char *text_base64(const void *data, size_t n);

/* The word of list[0..n) nearest to s, NULL when nothing is near (edit distance > a third). */
const char *text_nearest(const char *s, const char *const *list, size_t n);
