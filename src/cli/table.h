/* SPDX-License-Identifier: Apache-2.0 */
/* L7: the library's JSON for people: tables, ages, indented objects. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Text of the library to JSON; NULL after a sentence on stderr (it is a defect, or we are out of
 * memory). */
json_t *json_read(const char *verb, const char *text);
/* Prints one JSON text, indented. Returns 0 or 125. */
int json_print(const char *verb, const char *text);
/* Prints a value in as few lines as json_dumps makes with these flags. Returns 0 or 125. */
int json_print_value(const char *verb, const json_t *value, size_t flags);
/* Prints a value where --json has it. Returns 0 or 125. */
struct out_json;
int json_write(struct out_json *json, const char *verb, const json_t *value);
/* The field as text, "-" when it is not there: a string as it is, a number in digits, an array of
 * strings joined by spaces. Written to out, escaped, cut to its size. Returns out. */
const char *json_text(const json_t *object, const char *field, char *out, size_t size);
uint64_t json_uint(const json_t *object, const char *field);

/* "12s", "3m", "5h", "2d" since a moment of CLOCK_REALTIME. */
const char *text_age(uint64_t since_ns, char *out, size_t size);
/* "1.50 ms" and such. */
const char *text_duration(uint64_t ns, char *out, size_t size);

/*
 * Rows of `columns` cells, each column as wide as its widest cell, the last one not padded. A table
 * starts zeroed but for columns; add copies. table_print frees it and returns 0 or 125.
 */
struct table {
	int columns;
	char **cells;
	size_t n;
	int failed;
};
void table_add(struct table *t, const char *const *cells);
int table_print(struct table *t, const char *verb);
